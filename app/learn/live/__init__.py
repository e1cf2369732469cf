"""Figures that a lesson's reader moves: one file each, with `draw(settings)`, found by its file's name.

`settings` is what the lesson's ```live block says beside `figure`. A file draws its own controls, bound to the address
(app/links.py) by names that begin with the figure's, its figure (app/theme.py's `show`) and a caption. Files that begin
with an underscore are what figures share.

A figure on which a reader can predict by a click also has `marks(settings)`, the `customdata` of the marks that can be
chosen by what they are called, and `pick(settings, key, chosen, on_click)`, which draws them by app/theme.py's `show`
with this key and on_click; `chosen` is one of their names, or None. On paper, where nobody clicks, on_click is None.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from peftcore.errors import unknown


def names() -> tuple[str, ...]:
    """The figures there are."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def figure(name: str) -> Callable[[Mapping[str, Any]], None]:
    """The function that draws a figure. Raises UnknownName."""
    return module(name).draw


def module(name: str) -> ModuleType:
    """The file of a figure. Raises UnknownName."""
    if name not in names():
        raise unknown("live figure", name, names())
    return importlib.import_module(f"{__name__}.{name}")
