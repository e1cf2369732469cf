"""Images that were uploaded in the app and kept: `upload:NAME` or `upload:NAME?setting=value&...`.

Settings are those of folder.py without skip: unusable files were left out when the set was kept.
"""

from __future__ import annotations

from functools import lru_cache

from peftcore.task import Task
from peftcore.tasks.files import _folders, folder
from peftcore.uploads.sets import Kept, kept_set

TITLE = "Your images"
DESCRIPTION = "Images that you uploaded on the Tasks page and kept."
GROUP = "natural"
CLASSES = ()
ARGUMENT = "NAME"
SOURCE = folder.SOURCE
SETTINGS = folder.DIVIDING


def load(argument: str = "") -> Task:
    """The task of a kept set; images are decoded when they are read.

    Raises:
        UnknownName: no such set, or an unknown setting.
        InvalidSetting: no name, or an invalid value.
        BadData: an image that is gone.
    """
    name, said = _folders.parse_settings("upload", argument, SETTINGS, "the name of a kept set", ARGUMENT)
    kept = kept_set(name)
    return _task(argument, str(kept.folder), kept.made, tuple(said.items()))


@lru_cache(maxsize=4)
def _task(argument: str, where: str, made: float, said: tuple) -> Task:
    kept: Kept = kept_set(argument.partition("?")[0])
    settings = dict(said)
    settings["bits"] = settings["bits"] or kept.bits
    return folder.make(
        f"upload:{argument}", kept.folder, kept.files, kept.labels, kept.given, kept.classes, settings, kept.name,
        kept.left_out,
    )  # fmt: skip
