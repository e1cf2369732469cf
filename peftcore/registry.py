"""Finds methods and tasks from their files: one file in the folder is one thing by that name.

Names are read off the folder, so listing what there is imports nothing.
"""

from __future__ import annotations

import importlib
import sys
from functools import cached_property
from pathlib import Path
from types import ModuleType

from .errors import unknown


class Registry:
    """The modules of one package, each imported when it is first asked for."""

    def __init__(self, package: str, kind: str):
        self.package, self.kind = package, kind

    @cached_property
    def _names(self) -> tuple[str, ...]:
        folder = Path(__file__).parent / self.package
        return tuple(sorted(f.stem for f in folder.glob("*.py") if not f.stem.startswith("_")))

    def names(self) -> tuple[str, ...]:
        return self._names

    def load(self, name: str) -> ModuleType:
        """The module of `name`.

        Raises:
            UnknownName: no file has that name; the message names the nearest.
        """
        if name not in self._names:
            raise unknown(self.kind, name, self._names)
        return importlib.import_module(f"{__package__}.{self.package}.{name}")

    def list_when_called(self, package: str) -> None:
        """Lets the package itself be called: `peftcore.methods` is the folder and `peftcore.methods()` what is in it."""

        class Listing(ModuleType):
            def __call__(_) -> list[str]:
                return list(self.names())

        sys.modules[package].__class__ = Listing


METHODS = Registry("methods", "method")
TASKS = Registry("tasks", "task")
