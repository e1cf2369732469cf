"""The class and the split of each image in a folder: by folders, by train/val/test, or by a table.

    cats/1.png  dogs/2.png                      a folder for each class
    train/cats/1.png  val/...  test/...         the same in splits; missing ones are drawn later
    cats/train/1.png  cats/test/2.png           the other way round
    labels.csv  images/1.png                    a table with a line for each image: file, label (and split)
    train.csv  test.csv  train/1.png            a table for each split

A folder that holds nothing but another folder is looked into; folders within a class's folder belong to that class.
kinds.py decides what is an image, splits.py what names a split. Only tables are opened, and files whose names say
nothing.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from peftcore import errors
from peftcore.uploads import kinds, table
from peftcore.uploads.limits import Limits, more
from peftcore.uploads.names import means_nothing, shown
from peftcore.uploads.splits import SPLITS, joins_train_and_val, split_of, splits_of

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
    found = _by_table(folder, files, images, inner, limits) or _by_folder(images, inner)
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


class _Found(NamedTuple):
    """What one way of reading a folder found."""

    kind: str
    placed: list[Placed]
    skipped: list[Skipped]
    tables: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return _classes(self.placed)


def _no_class(found: _Found, files: Sequence[str], images: Sequence[str]) -> str:
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
        if not is_folder or _is_split(head) or not (holds_folders or head.casefold() in CONTAINERS):
            return inner
        inner = deeper


def _is_split(name: str) -> bool:
    return split_of(name) is not None


# ------------------------------------------------------------------------------------------- by folder


def _by_folder(images: Sequence[str], inner: str) -> _Found:
    paths = {image: image[len(inner) :].split("/")[:-1] for image in images}  # the folders above each image
    heads = {above[0] for above in paths.values() if above}
    said = splits_of(heads)
    deep = {said[above[0]] for above in paths.values() if len(above) > 1 and above[0] in said}
    if heads and heads <= said.keys() and deep and 0 not in said.values():
        raise errors.BadData(
            f"It has folders of classes in {_listed(heads)}, but none to train on; rename one of them to train, or "
            "use a folder for each class."
        )
    # Other folders beside two splits are not classes; beside one split they are, since a class may be called train.
    if heads and heads <= said.keys() or 0 in said.values() and len({*said.values()}) > 1:
        return _by_split(paths, said)
    if below := _splits_within(paths):
        placed, skipped = [], []
        for file, above in paths.items():
            if len(above) > 1 and above[1] not in below or not above:
                skipped.append(Skipped(file, "it is not in a folder of a split") if above else _stray(file))
            else:
                placed.append(Placed(file, above[0], below[above[1]] if len(above) > 1 else -1))
        return _Found("splits", placed, skipped, (), (f"Within each class, {_listed({*below})} are read as splits.",))
    if deeper := _holder_of_splits(paths):
        found = _by_folder([file for file in images if file.startswith(inner + deeper)], inner + deeper)
        rest = [_stray(file) for file in images if not file.startswith(inner + deeper)]
        return found._replace(skipped=[*found.skipped, *rest])
    placed = [Placed(file, above[0], -1) for file, above in paths.items() if above]
    return _Found("folders", placed, [_stray(file) for file, above in paths.items() if not above])


def _splits_within(paths: Mapping[str, list[str]]) -> dict[str, int]:
    """The split folders inside at least two classes, and their splits; empty where there are none."""
    children: defaultdict[str, set[str]] = defaultdict(set)
    for above in paths.values():
        children[above[0] if above else ""] |= {*above[1:2]}
    found = [said for names in children.values() if {0} < {*(said := splits_of(names)).values()}]
    return {name: split for said in found for name, split in said.items()} if len(found) > 1 else {}


def _holder_of_splits(paths: Mapping[str, list[str]]) -> str:
    """The one folder below, as 'a/b/', with splits side by side; '' where there is none, or several.

    Folders beside it (unlabelled images, pictures of the documentation) do not turn it into a class.
    """
    children: defaultdict[str, set[str]] = defaultdict(set)
    for above in paths.values():
        for depth in range(1, len(above)):
            children["/".join(above[:depth]) + "/"].add(above[depth])
    holders = [folder for folder, names in children.items() if {0} < {*splits_of(names).values()}]
    least = min((folder.count("/") for folder in holders), default=0)
    holders = [folder for folder in holders if folder.count("/") == least]
    return holders[0] if len(holders) == 1 else ""


def _by_split(paths: Mapping[str, list[str]], said: Mapping[str, int]) -> _Found:
    """Classes within split folders; folders between a split and its classes are skipped."""
    placed, skipped = [], []
    for head, split in said.items():
        below = {file: above[1:] for file, above in paths.items() if above[:1] == [head]}
        while _wraps(below, head, split):
            below = {file: above[1:] for file, above in below.items()}
        placed += [Placed(file, above[0], split) for file, above in below.items() if above]
        skipped += [_stray(file) for file, above in below.items() if not above]
    skipped += [_stray(file) for file, above in paths.items() if not above or above[0] not in said]
    order = {file: at for at, file in enumerate(paths)}
    return _Found("splits", sorted(placed, key=lambda one: order[one.file]), skipped)


def _wraps(below: Mapping[str, list[str]], outer: str, split: int) -> bool:
    """Whether a split holds a further folder that is not a class: 'seg_train/seg_train/', 'train/images/'."""
    heads = {above[0] for above in below.values() if above}
    if len(heads) != 1:
        return False
    head = min(heads)
    return head == outer or head.casefold() in CONTAINERS or split_of(head) == split


def _stray(file: str) -> Skipped:
    return Skipped(file, "it is not in a folder of a class")


def _listed(names: set[str]) -> str:
    return " and ".join(sorted(name.casefold() for name in names))


# ------------------------------------------------------------------------------------------- by table


def _by_table(folder: Path, files: Sequence[str], images: Sequence[str], inner: str, limits: Limits) -> _Found | None:
    """What tables beside the images say; None where there are none, or the folders say more."""
    parts = {part for image in images for part in image[len(inner) :].split("/")[:-1]}
    said = splits_of(parts)
    far = {
        tuple(
            part
            for part in image[len(inner) :].split("/")[:-1]
            if part not in said and part.casefold() not in CONTAINERS
        )
        for image in images
    }
    has_classes = len(far - {()}) > 1
    tables = [file for file in files if file.casefold().endswith((".csv", ".tsv"))]
    beside = [file for file in tables if inner.startswith(file[: file.rfind("/") + 1])]
    tables = beside or ([] if has_classes else tables)
    if not tables and not has_classes:
        lists = [file for file in files if file.casefold().endswith(".txt") and "/" not in file.removeprefix(inner)]
        tables = [file for file in lists if _is_split(_stem(file)) or _stem(file) in ("labels", "annotations")]
    if not tables:
        return None
    named = splits_of([_stem(file) for file in tables])
    of_splits = {file: named[_stem(file)] for file in tables if _stem(file) in named}
    both = [file for file in of_splits if joins_train_and_val(_stem(file))]
    if not {of_splits[file] for file in of_splits if file not in both} >= {0, 1}:
        both = []  # no table of its own for each
    of_splits = {file: split for file, split in of_splits.items() if file not in both}
    tables = sorted(of_splits, key=of_splits.__getitem__) or tables
    if not of_splits and len(tables) > 1:
        tables = [file for file in tables if "submission" not in _stem(file)] or tables  # Kaggle's empty answers
    tables = [file for file in tables if file not in both]
    if len(tables) > 1 and not of_splits:
        raise errors.BadData(
            f"It holds {len(tables)} tables, such as {shown(tables[0])} and {shown(tables[1])}; keep only the one with "
            "the labels, or name them train.csv, val.csv and test.csv."
        )
    entries: dict[str, tuple[str, int, str]] = {}
    skipped: list[Skipped] = []
    used: list[str] = []
    notes: list[str] = []
    column = ""
    for name in tables:
        split = of_splits.get(name, -1)
        own = [image for image in images if {said.get(part) for part in image.split("/")[:-1]} & {split}]
        known = table.Known(own or images, images)  # both train/1.png and test/1.png may be 1 in their tables
        try:
            found = table.read(folder / name, name, known, limits, column)
        except errors.BadData as error:
            if has_classes:
                return None  # a table of something else, beside folders of classes
            if not used:
                raise
            notes.append(f"{shown(name)} has no labels, so its images are left out. {error}")
            continue
        if has_classes and not found.column:
            return None
        used.append(name)
        column = found.column
        notes += [found.note] if found.note else []
        for row in found.rows:
            _enter(row, name, known, entries, skipped, split)
    if has_classes and not entries:
        return None
    placed = [Placed(image, *entries[image][:2]) for image in images if image in entries]
    skipped += [Skipped(image, "no table has a label for it") for image in images if image not in entries]
    whose = ", ".join(shown(name) for name in used)
    notes += [f"{shown(name)} is not read: train and val have tables of their own." for name in both]
    return _Found("table", placed, skipped, [*used, *both], (f"Labels are from {whose}.", *notes))


def _enter(
    row: table.Row,
    name: str,
    known: table.Known,
    entries: dict[str, tuple[str, int, str]],
    skipped: list[Skipped],
    split: int,
) -> None:
    """Adds one line of a table to `entries`, by its image: label, split, and where they stand."""
    own = split_of(row.split) if row.split else split
    if own is None:
        raise errors.BadData(
            f"Line {row.number} of {shown(name)} puts {shown(row.file)} into the split {shown(row.split)}; "
            "it should be train, val or test."
        )
    split, file = own, known.find(row.file)
    if file is None:
        skipped.append(Skipped(row.file, f"{name} lists it, but it is missing"))
    elif row.label:
        label, before, where = entries.setdefault(file, (row.label, split, f"line {row.number} of {shown(name)}"))
        if (label, before) != (row.label, split):
            ours, theirs = (
                f"{shown(one)} in {SPLITS[of] if of >= 0 else 'no split'}" if before != split else shown(one)
                for one, of in ((label, before), (row.label, split))
            )
            raise errors.BadData(
                f"Two lines of the tables disagree on {shown(file)}: {where} says {ours}, line {row.number} of "
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
