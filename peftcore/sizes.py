"""Sizes that the environment sets."""

from __future__ import annotations

import os

from . import errors


def gigabytes(variable: str, default: float | None) -> float | None:
    """A size in GB from the environment.

    Raises:
        InvalidSetting: it is set to something that is no number of at least 0.
    """
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < float("inf"):
        raise errors.InvalidSetting(
            f"{variable}={text!r} is no size; give a number of gigabytes such as 8, or 0 for none."
        )
    return size
