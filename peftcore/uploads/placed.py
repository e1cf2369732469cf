"""Images with the class and the split that were found for them, and files that are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Folders that merely contain images, and those with what accompanies images: neither are classes.
CONTAINERS = (
    "images", "image", "imgs", "img", "data", "dataset", "pictures", "pics", "photos", "jpg", "jpeg", "png",
    "jpegimages", "raw", "files",
)  # fmt: skip
PARTS = (
    "mask", "masks", "label", "labels", "annotation", "annotations", "gt", "ground_truth", "groundtruth",
    "segmentation", "segmentations", "depth", "edges",
)  # fmt: skip
FAR = "Use a folder for each class, or a table with the columns file and label."


class Placed(NamedTuple):
    """An image: its path from the folder, its class's name, and the number of its split, or -1."""

    file: str
    label: str
    split: int


class Skipped(NamedTuple):
    """A file that is left out, and the reason."""

    file: str
    why: str


class Found(NamedTuple):
    """What one way of reading a folder found."""

    kind: str
    placed: list[Placed]
    skipped: list[Skipped]
    tables: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return classes_of(self.placed)


def classes_of(placed: Sequence[Placed]) -> tuple[str, ...]:
    """In the order people count: '2' before '10', 'a2' before 'a10'."""
    return tuple(sorted({one.label for one in placed}, key=_natural))


def _natural(name: str) -> list[tuple[int, int | str]]:
    return list(_pieces(name))


def _pieces(name: str) -> Iterator[tuple[int, int | str]]:
    for piece in re.split(r"([0-9]+)", name.casefold()):
        if piece:
            yield (0, int(piece)) if piece.isdecimal() and piece.isascii() else (1, piece)
    yield (2, name)
