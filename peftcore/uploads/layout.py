"""Which image of a folder is of which class and in which split: by folders, by train/val/test, or by a table.

    cats/1.png  dogs/2.png                      a folder for each class
    train/cats/1.png  val/...  test/...         the same in splits; those that are missing are drawn later
    labels.csv  images/1.png                    a table with a line for each image: file, label (and split)
    train.csv  test.csv  images/1.png           a table for each split

Folders that hold nothing but one folder are looked into; folders within a class's folder count as that class. Nothing
is opened but tables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from peftcore import errors
from peftcore.uploads import table
from peftcore.uploads.limits import Limits, more
from peftcore.uploads.names import shown

SPLITS = ("train", "val", "test")
NAMED = {
    "train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2, "eval": 2,
}  # fmt: skip
IMAGES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".jp2", ".avif", ".mpo",
)  # fmt: skip
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".rar", ".zst")
FAR = "Give a folder for each class, or a table with the columns file and label."


class Placed(NamedTuple):
    """An image: its path from the folder, its class's name, and the number of its split, -1 where it has none."""

    file: str
    label: str
    split: int


class Skipped(NamedTuple):
    """A file that is left out, and why."""

    file: str
    why: str


@dataclass(frozen=True)
class Layout:
    """What the names in a folder say. `kind`: 'folders', 'splits' or 'table'."""

    kind: str
    placed: tuple[Placed, ...]
    skipped: tuple[Skipped, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def walk(folder: Path, limits: Limits) -> list[str]:
    """All files under a folder, as paths from it with '/', in order; hidden ones and the systems' own left out.

    Raises BadData: too many, or a path that cannot be read.
    """
    found: list[str] = []

    def refuse(error: OSError) -> None:
        raise errors.BadData(f"The folder {error.filename} cannot be read: {error.strerror}.")

    for here, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        above = Path(here).relative_to(folder).as_posix()
        found += [name if above == "." else f"{above}/{name}" for name in sorted(files) if not _hidden(name)]
        if len(found) > limits.files:
            raise errors.BadData(f"{folder} holds more than {limits.files:,} files; give fewer, {more('files')}.")
    return found


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in ("__macosx", "thumbs.db", "desktop.ini")


def read(folder: Path, files: Sequence[str], limits: Limits) -> Layout:
    """The layout of these files of a folder.

    Raises BadData: no image at all, no classes, one class only, too many, or a table that contradicts itself.
    """
    inner = _inside(files)
    images = [file for file in files if os.path.splitext(file)[1].casefold() not in (*table.SUFFIXES, *ARCHIVES)]
    if not images:
        if nested := next((file for file in files if file.casefold().endswith(ARCHIVES)), None):
            raise errors.BadData(f"It holds another archive, {shown(nested)}, and no images; unpack that one first.")
        raise errors.BadData(f"There is no image in it. {FAR}")
    layout = _by_table(folder, files, inner, limits) or _by_folder(files, inner)
    if not layout.placed:
        first = layout.skipped[0].file if layout.skipped else images[0]
        raise errors.BadData(f"No image in it has a class; {shown(first)} lies in no folder and no table. {FAR}")
    if len(layout.classes) == 1:
        raise errors.BadData(
            f"It holds one class only, {shown(layout.classes[0])}; telling apart takes at least two. {FAR}"
        )
    if len(layout.classes) > limits.classes:
        raise errors.BadData(
            f"It has {len(layout.classes):,} classes, more than {limits.classes:,}; is that column really the label? "
            f"Give fewer, {more('classes')}."
        )
    return layout


def _inside(files: Sequence[str]) -> str:
    """The folder, '' or 'a/b/', that all files share and that is no class: there is more than files in it."""
    inner = ""
    while True:
        heads = {file[len(inner) :].partition("/")[0] for file in files}
        deeper = inner + (min(heads) + "/" if heads else "")
        below = [file[len(deeper) :] for file in files if file.startswith(deeper)]
        is_set = any("/" in file or file.casefold().endswith(table.SUFFIXES) for file in below)
        if len(heads) != 1 or not is_set or min(heads).casefold() in NAMED:
            return inner
        inner = deeper


# ------------------------------------------------------------------------------------------- by folder


def _by_folder(files: Sequence[str], inner: str) -> Layout:
    paths = {file: file[len(inner) :].split("/")[:-1] for file in files}  # the folders that each lies in
    heads = {above[0].casefold() for above in paths.values() if above}
    kinds = {NAMED[above[0].casefold()] for above in paths.values() if len(above) > 1 and above[0].casefold() in NAMED}
    if kinds and heads <= NAMED.keys() and 0 not in kinds:
        raise errors.BadData(
            f"It has folders of classes in {' and '.join(sorted(heads))}, but none to train on; call one of them train, or "
            "give a folder for each class."
        )
    in_splits = 0 in kinds and (heads <= NAMED.keys() or len(kinds) > 1)  # other folders beside them are no classes
    placed, skipped = [], []
    for file, above in paths.items():
        split = NAMED.get(above[0].casefold(), -1) if in_splits and above else -1
        labels = (above[1:] if split >= 0 else []) if in_splits else above
        if file.casefold().endswith(table.SUFFIXES):
            skipped.append(Skipped(file, "it is no image"))
        elif labels:
            placed.append(Placed(file, labels[0], split))
        else:
            skipped.append(Skipped(file, "it lies in no folder of a class"))
    return Layout("splits" if in_splits else "folders", tuple(placed), tuple(skipped), _classes(placed))


# ------------------------------------------------------------------------------------------- by table


def _by_table(folder: Path, files: Sequence[str], inner: str, limits: Limits) -> Layout | None:
    """What tables beside the images say; None where there are none, or folders say more."""
    beside = [file for file in files if file.startswith(inner) and "/" not in file[len(inner) :]]
    far = {file[len(inner) :].rpartition("/")[0] for file in files if not file.casefold().endswith(table.SUFFIXES)}
    has_classes = len(far - {""}) > 1
    tables = [file for file in beside if file.casefold().endswith((".csv", ".tsv"))]
    if not tables and not has_classes:
        tables = [file for file in files if file.casefold().endswith((".csv", ".tsv"))]
        tables = tables or [f for f in beside if f.casefold().endswith(".txt") and _stem(f) in (*NAMED, "labels")]
    in_splits = [file for file in tables if _stem(file) in NAMED]
    tables = in_splits or tables
    if not tables:
        return None
    if len(tables) > 1 and not in_splits:
        raise errors.BadData(
            f"It holds {len(tables)} tables, {shown(tables[0])} and {shown(tables[1])} among them; keep the one with "
            "the labels, or name them train.csv, val.csv and test.csv."
        )
    pictures = [file for file in files if file not in tables]
    known, said, skipped, notes = table.Known(pictures), {}, [], []
    for name in tables:
        try:
            rows, is_named, note = table.read(folder / name, name, known, limits)
        except errors.BadData:
            if has_classes:
                return None  # a table of something else, beside folders of classes
            raise
        if has_classes and not is_named:
            return None
        notes += [note] if note else []
        for row in rows:
            _enter(row, name, known, said, skipped, NAMED.get(_stem(name), -1) if in_splits else -1)
    placed = [Placed(file, *said[file][:2]) for file in pictures if file in said]
    skipped += [Skipped(file, "no table has a label for it") for file in pictures if file not in said]
    whose = ", ".join(shown(name) for name in tables)
    return Layout("table", tuple(placed), tuple(skipped), _classes(placed), (f"Labels are those of {whose}.", *notes))


def _enter(row: table.Row, name: str, known: table.Known, said: dict, skipped: list[Skipped], split: int) -> None:
    if row.split:
        if row.split.casefold() not in NAMED:
            raise errors.BadData(
                f"Line {row.number} of {shown(name)} puts {shown(row.file)} into the split {shown(row.split)}; "
                "it should be train, val or test."
            )
        split = NAMED[row.split.casefold()]
    file = known.find(row.file)
    if file is None:
        skipped.append(Skipped(row.file, f"{name} names it, but it is missing"))
    elif row.label:
        label, before, where = said.setdefault(file, (row.label, split, f"line {row.number} of {shown(name)}"))
        if (label, before) != (row.label, split):
            ours, theirs = (
                f"{shown(one)} in {SPLITS[of] if of >= 0 else 'no split'}" if before != split else shown(one)
                for one, of in ((label, before), (row.label, split))
            )
            raise errors.BadData(
                f"Two lines of the tables differ about {shown(file)}: {where} says {ours}, line {row.number} of "
                f"{shown(name)} says {theirs}; keep one of them."
            )


def _stem(file: str) -> str:
    return Path(file).stem.casefold()


def _classes(placed: Sequence[Placed]) -> tuple[str, ...]:
    """In the order people count: '2' before '10', 'a2' before 'a10'."""
    return tuple(sorted({one.label for one in placed}, key=_natural))


def _natural(name: str) -> list[tuple[int, int | str]]:
    return list(_pieces(name))


def _pieces(name: str) -> Iterator[tuple[int, int | str]]:
    for piece in re.split(r"([0-9]+)", name.casefold()):
        if piece:
            yield (0, int(piece)) if piece.isdecimal() and piece.isascii() else (1, piece)
    yield (2, name)
