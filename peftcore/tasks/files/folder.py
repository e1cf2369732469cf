"""Any folder of images: `folder:PATH` or `folder:PATH?setting=value&...`.

A folder for each class, train/val/test folders of such, or a table of labels (uploads/layout.py has the layouts).
Files that have no class, and files that a table names but are missing, are an error unless skip=yes. Settings:

    val, test  shares of all images, drawn with every class in proportion; 0.2 each by default
    seed       of the drawing, 0 to 999
    split      given (default): train, val and test as folders or table say, where they do; drawn: all three anew
    skip       no (default), or yes: what has no class is left out
    size, fit  as in vtab.py
    symmetries what augmentation may do to an image without changing its label, as in vtab.py; all by default
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from peftcore import errors
from peftcore.task import Split, Task
from peftcore.tasks.files import _folders
from peftcore.uploads import layout
from peftcore.uploads.division import SHARES, divide
from peftcore.uploads.limits import Limits

TITLE = "Folder of images"
DESCRIPTION = "Images in a folder for each class, or with a table of labels, from a folder on this machine."
GROUP = "natural"
CLASSES = ()
ARGUMENT = "PATH"
SOURCE = "A folder of the user's own"
DIVIDING = {
    "val": (0.2, SHARES),
    "test": (0.2, SHARES),
    "seed": (0, range(1000)),
    "split": ("given", ("given", "drawn")),
    "symmetries": ("all", tuple(_folders.SYMMETRIES_SAID)),
    **_folders.DECODING,
}
SETTINGS = {**DIVIDING, "skip": ("no", ("no", "yes"))}
ENDINGS = layout.IMAGES


def load(argument: str = "") -> Task:
    """The task of a folder, kept until a file in it comes, goes or changes; images are decoded when they are read.

    Raises:
        UnknownName, InvalidSetting: a setting or a value there is not.
        BadData: a missing folder; no images, or of one class only; a table that cannot be read; files without a class;
            a link that leaves the folder; later, when it is read, an image that is broken.
    """
    folder, said = _folders.parse("folder", argument, SETTINGS)
    limits = Limits.here()
    files = tuple(layout.walk(folder, limits))
    stamps = _folders.stamps([folder / file for file in files])
    return _task(argument, folder, files, stamps, tuple(said.items()), limits)


@lru_cache(maxsize=4)
def _task(argument: str, folder: Path, files: tuple[str, ...], stamps: tuple, said: tuple, limits: Limits) -> Task:
    settings = dict(said)
    pictures = [file for file in files if file.casefold().endswith((*ENDINGS, *layout.table.SUFFIXES))]
    found = layout.read(folder, pictures, limits)
    skipped = [one for one in found.skipped if not one.file.casefold().endswith(layout.table.SUFFIXES)]
    if skipped and settings["skip"] == "no":
        first, more = skipped[0], f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise errors.BadData(
            f"{folder}: {first.file} cannot be used: {first.why}{more}. Mend that, or leave such files out with skip=yes."
        )
    number = {name: index for index, name in enumerate(found.classes)}
    placed = [one for one in found.placed if one.file.casefold().endswith(ENDINGS)]
    labels = np.array([number[one.label] for one in placed], np.int64)
    given = np.array([one.split for one in placed], np.int8)
    name = f"folder:{argument}"
    classes, tables = found.classes, [file for file in pictures if file.casefold().endswith(layout.table.SUFFIXES)]
    others = len(files) - len(placed) - len(tables)
    return make(name, folder, [one.file for one in placed], labels, given, classes, settings, folder.name, others)


def make(
    name: str,
    folder: Path,
    files: list[str] | tuple[str, ...],
    labels: np.ndarray,
    given: np.ndarray,
    classes: tuple[str, ...],
    said: Mapping[str, Any],
    title: str,
    left_out: int = 0,
) -> Task:
    """A task of these files: divided, and checked to lie in the folder; nothing is decoded."""
    parts = divide(labels, given, said["val"], said["test"], said["seed"], said["split"] == "drawn")
    splits = [_split(folder, files, labels, part, said["size"], said["fit"]) for part in parts.values()]
    told = f"Which of {len(classes)} classes is it? {len(files):,} images of your own."
    if left_out:
        told += f" {left_out:,} other {'file is' if left_out == 1 else 'files are'} left out."
    symmetries = _folders.SYMMETRIES_SAID[said["symmetries"]]
    return Task(name, f"Your images: {title}", told, GROUP, classes, *splits, source=SOURCE, symmetries=symmetries)


def _split(folder: Path, files: Any, labels: np.ndarray, part: np.ndarray, size: int, fit: str) -> Split:
    lines = [(files[index], int(labels[index])) for index in part]
    return _folders.read_split(folder, folder, str(folder), lines, size, fit)
