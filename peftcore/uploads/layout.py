"""The class and the split of each image in a folder: by folders, by train/val/test, or by a table.

    cats/1.png  dogs/2.png                      a folder for each class
    train/cats/1.png  val/...  test/...         the same in splits; missing ones are drawn later
    cats/train/1.png  cats/test/2.png           the other way round
    labels.csv  images/1.png                    a table with a line for each image: file, label (and split)
    train.csv  test.csv  train/1.png            a table for each split

A folder that holds nothing but another folder is looked into; folders within a class's folder belong to that class.
by_folder.py and by_table.py read them; kinds.py decides what is an image, splits.py what names a split. Only tables are
opened, and files whose names say nothing.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftcore import errors
from peftcore.uploads import kinds
from peftcore.uploads.by_folder import by_folder
from peftcore.uploads.by_table import by_table
from peftcore.uploads.limits import Limits, more
from peftcore.uploads.names import means_nothing, shown
from peftcore.uploads.placed import CONTAINERS, FAR, PARTS, Found, Placed, Skipped
from peftcore.uploads.splits import split_of


@dataclass(frozen=True)
class Layout:
    """What the names in a folder mean. `kind`: 'folders', 'splits' or 'table'.

    `skipped`: images without a class, and lines of a table without a file. `others`: neither images nor the table.
    """

    kind: str
    placed: tuple[Placed, ...]
    skipped: tuple[Skipped, ...]
    others: tuple[str, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def walk(folder: Path, limits: Limits) -> list[str]:
    """All files under a folder, as paths from it with '/', in order, without hidden ones and the systems' own.

    Raises BadData: too many files, or a path that cannot be read.
    """
    found: list[str] = []

    def refuse(error: OSError) -> None:
        raise errors.BadData(f"The folder {error.filename} cannot be read: {error.strerror}.")

    for here, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not means_nothing(name))
        if link := next((name for name in folders if (Path(here) / name).is_symlink()), None):
            raise errors.BadData(f"{Path(here) / link} is a link to a folder; replace it by the folder itself.")
        above = Path(here).relative_to(folder).as_posix()
        found += [name if above == "." else f"{above}/{name}" for name in sorted(files) if not means_nothing(name)]
        if len(found) > limits.files:
            raise errors.BadData(f"{folder} holds more than {limits.files:,} files; use fewer, {more('files')}.")
    return found


def read(folder: Path, files: Sequence[str], limits: Limits) -> Layout:
    """The layout of these files of a folder.

    Raises BadData: no image, no classes, only one, too many, or a table that contradicts itself.
    """
    images = [file for file in files if kinds.is_image(folder, file)]
    if not images:
        if nested := next((file for file in files if file.casefold().endswith(kinds.ARCHIVES)), None):
            raise errors.BadData(f"It holds another archive, {shown(nested)}, and no images; unpack that one first.")
        raise errors.BadData(f"It holds no images. {FAR}")
    inner = _inside(images)
    found = by_table(folder, files, images, inner, limits) or by_folder(images, inner)
    if not found.placed:
        raise errors.BadData(_no_class(found, files, images))
    if len(found.classes) == 1:
        raise errors.BadData(f"It holds only one class, {shown(found.classes[0])}; a task needs at least two. {FAR}")
    if all(name.casefold() in (*CONTAINERS, *PARTS) for name in found.classes):
        names = " and ".join(map(shown, found.classes))
        raise errors.BadData(f"Its folders {names} hold images and what accompanies them, not classes. {FAR}")
    if len(found.classes) > limits.classes:
        raise errors.BadData(
            f"It has {len(found.classes):,} classes, more than {limits.classes:,}; is that column really the label? "
            f"Use fewer, {more('classes')}."
        )
    used = {*images, *found.tables}
    others = tuple(file for file in files if file not in used)
    notes = (*found.notes, *_alike(found.classes))
    return Layout(found.kind, tuple(found.placed), tuple(found.skipped), others, found.classes, notes)


def _no_class(found: Found, files: Sequence[str], images: Sequence[str]) -> str:
    """The error for a set without classes."""
    first = shown(found.skipped[0].file if found.skipped else images[0])
    if found.kind == "splits":
        return (
            f"Its folders are splits that hold images without a class, such as {first}: put a folder for each class "
            "into each of them, or add a table with the columns file and label."
        )
    sheet = next((file for file in files if file.casefold().endswith((".xlsx", ".xls", ".ods", ".numbers"))), None)
    remedy = f"If {shown(sheet)} has the labels, save it as CSV with the columns file and label." if sheet else FAR
    return f"No image in it has a class: {first} is in no folder and in no table. {remedy}"


def _alike(classes: Sequence[str]) -> Iterator[str]:
    """Notes on classes whose names are so similar that one may be a slip."""
    groups = defaultdict(list)
    for name in classes:
        plain = unicodedata.normalize("NFKC", name).casefold()
        groups[re.sub(r"[\W_]+", "", plain) or plain].append(name)
    for names in groups.values():
        if len(names) > 1:
            are = "'".join(("", "' and '".join(names), ""))
            yield (
                f"The classes {are} differ only in case, spaces or punctuation and are kept apart; if they are one "
                "class, give them the same name."
            )


def _inside(images: Sequence[str]) -> str:
    """The folder, '' or 'a/b/', that all images share and that is not a class: it holds folders, or just images."""
    inner = ""
    while True:
        heads = {image[len(inner) :].partition("/")[0] for image in images}
        head = min(heads)
        deeper = inner + head + "/"
        is_folder = all(image.startswith(deeper) for image in images)
        holds_folders = any("/" in image[len(deeper) :] for image in images)
        if not is_folder or split_of(head) is not None or not (holds_folders or head.casefold() in CONTAINERS):
            return inner
        inner = deeper
