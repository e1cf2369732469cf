"""Where Headroom keeps its files, and sizes from the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from peftcore import errors


def home() -> Path:
    """The folder of everything that Headroom keeps: HEADROOM_HOME, else the user's own data folder."""
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
