"""Finds methods and tasks from their files: one file is one thing by that name, wherever in its package it lies.

Names are read off the folders, so listing what there is imports nothing.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from peftcore.errors import unknown


class Registry:
    """The modules of one package, each imported when it is first asked for."""

    def __init__(self, package: str, kind: str):
        self.package, self.kind = package, kind

    @cached_property
    def _modules(self) -> dict[str, str]:
        """Name of each thing -> the module that is it."""
        root = Path(__file__).parent
        files = sorted((root / self.package).rglob("*.py"), key=lambda file: file.stem)
        return {
            file.stem: ".".join((__package__, *file.relative_to(root).with_suffix("").parts))
            for file in files
            if not file.stem.startswith("_")
        }

    def names(self) -> tuple[str, ...]:
        return tuple(self._modules)

    def load(self, name: str) -> ModuleType:
        """The module of `name`.

        Raises:
            UnknownName: no file has that name; the message names the nearest.
        """
        if name not in self._modules:
            raise unknown(self.kind, name, self.names())
        return importlib.import_module(self._modules[name])

    def list_when_called(self, package: str) -> None:
        """Lets the package itself be called: `peftcore.methods` is the folder and `peftcore.methods()` what is in it."""

        class Listing(ModuleType):
            def __call__(_) -> list[str]:
                return list(self.names())

        sys.modules[package].__class__ = Listing


METHODS = Registry("methods", "method")
TASKS = Registry("tasks", "task")


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: each public name imports its module of the package when it is first used."""

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return get
