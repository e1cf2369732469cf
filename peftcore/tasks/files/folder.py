"""Any folder of images: `folder:PATH` or `folder:PATH?setting=value&...`.

A folder for each class, train/val/test folders of such, or a table of labels (uploads/layout.py has the layouts).
Images without a class, and missing files that a table lists, are an error unless skip=yes; other files are left out.
Settings:

    val, test  shares of all images, drawn with every class in proportion; 0.2 each by default
    seed       of the drawing, 0 to 999
    split      given (default): train, val and test as the folders or the table say; drawn: all three drawn anew
    skip       no (default), or yes: images without a class are left out
    size, fit  as in vtab.py
    bits       actual depth of the values in 16-bit images, 8 to 16; 16 by default
    symmetries what augmentation may do to an image without changing its label, as in vtab.py; all by default
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from peftcore import errors
from peftcore.task import Task
from peftcore.tasks.files import _folders
from peftcore.uploads import kinds, layout, notes
from peftcore.uploads.decoding import largest_grey
from peftcore.uploads.division import SHARES, divide
from peftcore.uploads.images import bits_of
from peftcore.uploads.limits import Limits
from peftcore.uploads.placed import Skipped, classes_of

TITLE = "Folder of images"
DESCRIPTION = "Images in a folder for each class, or with a table of labels, from a folder on this machine."
GROUP = "natural"
CLASSES = ()
ARGUMENT = "PATH"
LOOKED_AT = 8  # images, for the depth of their values
SOURCE = "A folder of the user's own"
DIVIDING = {
    "val": (0.2, SHARES),
    "test": (0.2, SHARES),
    "seed": (0, range(1000)),
    "split": ("given", ("given", "drawn")),
    "symmetries": ("all", tuple(_folders.SYMMETRIES_SAID)),
    **_folders.DECODING,
    "bits": (None, (range(8, 17),)),
}
SETTINGS = {**DIVIDING, "skip": ("no", ("no", "yes"))}


def load(argument: str = "") -> Task:
    """The task of a folder, kept until a file in it changes; images are decoded when they are read.

    Raises:
        UnknownName, InvalidSetting: an unknown setting or an invalid value.
        BadData: a missing folder; no images, or only one class; a table that cannot be read; images without a class; a
            link out of the folder; later, when it is read, a broken image.
    """
    folder, said = _folders.parse("folder", argument, SETTINGS)
    limits = Limits.here()
    files = tuple(layout.walk(folder, limits))
    stamps = _folders.stamps([folder / file for file in files])
    return _task(argument, folder, files, stamps, tuple(said.items()), limits)


@lru_cache(maxsize=4)
def _task(argument: str, folder: Path, files: tuple[str, ...], stamps: tuple, said: tuple, limits: Limits) -> Task:
    settings = dict(said)
    found = layout.read(folder, files, limits)
    placed = [one for one in found.placed if not kinds.is_unread(one.file)]
    unread = [
        Skipped(one.file, kinds.why_unreadable(one.file, b"")) for one in found.placed if kinds.is_unread(one.file)
    ]
    skipped, classes = [*found.skipped, *unread], classes_of(placed)
    if skipped and (settings["skip"] == "no" or len(classes) < 2):
        first, more = skipped[0], f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        remedy = "or leave such files out with skip=yes" if len(classes) > 1 else "since too few classes are left"
        raise errors.BadData(f"{folder}: {first.file} cannot be used: {first.why}{more}. Fix this, {remedy}.")
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[one.label] for one in placed], np.int64)
    given = np.array([one.split for one in placed], np.int8)
    left_out = len(found.others) + sum(one.file in files for one in skipped)
    task = make(
        f"folder:{argument}", folder, [one.file for one in placed], labels, given, classes, settings,
        folder.name, left_out,
    )  # fmt: skip
    dark = [] if settings["bits"] else _almost_black(folder, [one.file for one in placed])
    split = given if settings["split"] == "given" else np.full_like(given, -1)
    few = notes.of_classes(classes, classes, labels, split)
    return replace(task, description=" ".join((task.description, *found.notes, *dark, *few)))


def _almost_black(folder: Path, files: Sequence[str]) -> list[str]:
    """A note on 16-bit images with the values of fewer bits, from a few of them: another reading would be another task
    under the same name."""
    few = files[:: max(1, len(files) // LOOKED_AT)][:LOOKED_AT]
    found = [value for file in few if (value := largest_grey(folder / file)) is not None]
    if not found or (bits := bits_of(max(found))) == 16:
        return []
    return [
        f"Of {len(few)} images that were looked at, {len(found)} have 16 bits and no value above {max(found):,} of "
        f"65,535: they are almost black as they are read. With bits={bits} they are read as {bits}-bit images."
    ]


def make(
    name: str,
    folder: Path,
    files: Sequence[str],
    labels: np.ndarray,
    given: np.ndarray,
    classes: tuple[str, ...],
    said: Mapping[str, Any],
    title: str,
    left_out: int = 0,
) -> Task:
    """A task of these files: divided, and checked to be in the folder; nothing is decoded."""
    decoding = {"size": said["size"], "fit": said["fit"], "bits": said["bits"] or 16}
    parts = divide(labels, given, said["val"], said["test"], said["seed"], said["split"] == "drawn")
    lines = ([(files[index], int(labels[index])) for index in part] for part in parts.values())
    train, val, test = (_folders.read_split(folder, folder, str(folder), part, **decoding) for part in lines)
    text = f"Which of {len(classes)} classes is it? {len(files):,} images of your own."
    if left_out:
        text += f" {left_out:,} other {'file is' if left_out == 1 else 'files are'} left out."
    symmetries = _folders.SYMMETRIES_SAID[said["symmetries"]]
    return Task(name, f"Your images: {title}", text, GROUP, classes, train, val, test, SOURCE, symmetries)
