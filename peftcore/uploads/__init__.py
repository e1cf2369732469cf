"""Users' own images: archives and folders are examined, shown, and kept; nothing they hold can harm the machine.

    survey = uploads.examine("flowers.zip")    # unpacked beside the shelf, every image decoded once
    survey.classes, survey.sizes, survey.skipped, survey.duplicates
    kept = uploads.keep(survey, "flowers", consent=True)    # now the task upload:flowers

From the bottom: limits (settings), names (of files that others chose), intake (into a folder, within the limits),
archives (zip, tar), table (a CSV of labels), layout (which image is of which class), survey (what is whole), division
(train, val, test), shelf (what is kept), images (whether one is whole; one for the probes).
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Limits": "limits",
    "Survey": "survey",
    "examine": "survey",
    "Kept": "shelf",
    "keep": "shelf",
    "kept": "shelf",
    "remove": "shelf",
    "keep_picture": "images",
    "picture": "images",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
