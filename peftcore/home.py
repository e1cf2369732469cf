"""Where Headroom keeps what it makes, and the variables of the environment that it reads."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from peftcore import errors

# Variable: (default, meaning). docs/settings.md is made of it; limits on uploads are in peftcore/uploads/limits.py.
VARIABLES = {
    "HEADROOM_HOME": ("the user's own data folder", "Folder of runs, uploads, data sets and features on disk."),
    "HEADROOM_WEIGHTS": ("`weights` in HEADROOM_HOME", "Folder in which pretrained weights are looked for, and kept."),
    "HEADROOM_DATA": ("unset: any folder", "Folder below which tasks read folders; paths of tasks then begin there."),
    "HEADROOM_CACHE_GB": ("40 % of what is free", "Most memory for frozen features, of a GPU and of the host each."),
    "HEADROOM_CACHE_DISK_GB": ("20", "Most disk space for frozen features; the least recently used go first."),
    "HEADROOM_IMAGES_GB": ("a quarter of what is free", "Most memory for decoded image files; the rest is streamed."),
    "HEADROOM_CPUS_PER_RUN": ("all, at most 4", "CPUs and threads of each run that the app or the engine starts."),
    "RAY_ADDRESS": ("unset: a Ray of its own", "A Ray cluster on which runs execute."),
    "HF_ENDPOINT": ("https://huggingface.co", "The model hub, or a mirror of it."),
    "HF_TOKEN": ("unset", "Your token of the hub, for models and data sets that ask for one."),
}


def home() -> Path:
    """The folder of everything Headroom keeps: HEADROOM_HOME, else the user's own data folder."""
    if chosen := os.environ.get("HEADROOM_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "headroom"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "headroom"


def gigabytes(variable: str) -> float | None:
    """A size in GB from the environment; None where it is not set.

    Raises:
        InvalidSetting: it is set to something that is not a number of at least 0.
    """
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < float("inf"):
        raise errors.InvalidSetting(
            f"{variable}={text!r} is not a size; give a number of gigabytes such as 8, or 0 for none."
        )
    return size
