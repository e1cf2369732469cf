"""The class and the split of images by tables beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from peftcore import errors
from peftcore.uploads import table
from peftcore.uploads.limits import Limits
from peftcore.uploads.names import shown
from peftcore.uploads.placed import CONTAINERS, Found, Placed, Skipped
from peftcore.uploads.splits import SPLITS, joins_train_and_val, split_of, splits_of

LISTS = ("labels", "annotations")  # names of text files that are tables, beside those of splits


def by_table(folder: Path, files: Sequence[str], images: Sequence[str], inner: str, limits: Limits) -> Found | None:
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
        tables = [
            file for file in lists if split_of(_stem(file)) is not None or _stem(file) in ("labels", "annotations")
        ]
    if not tables:
        return None
    named = splits_of([_stem(file) for file in tables])
    of_splits = {file: named[_stem(file)] for file in tables if _stem(file) in named}
    both = [file for file in of_splits if joins_train_and_val(_stem(file))]
    if not {of_splits[file] for file in of_splits if file not in both} >= {0, 1}:
        both = []  # no table of its own for each
    of_splits = {file: split for file, split in of_splits.items() if file not in both}
    tables = sorted(of_splits, key=of_splits.__getitem__) or tables
    if not of_splits:  # Kaggle's empty answers
        tables = [file for file in tables if "submission" not in _stem(file)] or ([] if has_classes else tables)
    tables = [file for file in tables if file not in both]
    if len(tables) > 1 and not of_splits:
        raise errors.BadData(
            f"It holds {len(tables)} tables, such as {shown(tables[0])} and {shown(tables[1])}; keep only the one with "
            "the labels, or name them train.csv, val.csv and test.csv."
        )
    of_folders = said if {0} < {*said.values()} else {}  # one alone may be anything's name
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
            _enter(row, name, known, entries, skipped, split, of_folders)
    if has_classes and len({label for label, *_ in entries.values()}) < 2:
        return None
    placed = [Placed(image, *entries[image][:2]) for image in images if image in entries]
    skipped += [Skipped(image, "no table has a label for it") for image in images if image not in entries]
    whose = ", ".join(shown(name) for name in used)
    notes += [f"{shown(name)} is not read: train and val have tables of their own." for name in both]
    return Found("table", placed, skipped, [*used, *both], (f"Labels are from {whose}.", *notes))


def _enter(
    row: table.Row,
    name: str,
    known: table.Known,
    entries: dict[str, tuple[str, int, str]],
    skipped: list[Skipped],
    split: int,
    of_folders: Mapping[str, int],
) -> None:
    """Adds one line of a table to `entries`, by its image: label, split, and where they stand. Where neither the line
    nor its table has a split, the image's folder may."""
    own = split_of(row.split) if row.split else split
    if own is None:
        raise errors.BadData(
            f"Line {row.number} of {shown(name)} puts {shown(row.file)} into the split {shown(row.split)}; "
            "it should be train, val or test."
        )
    split, file = own, known.find(row.file)
    if file is not None and split < 0:
        split = next((of_folders[part] for part in file.split("/")[:-1] if part in of_folders), -1)
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
