"""Finds methods and tasks by their files: one file is one thing of that name, wherever in its package it lies.

Names are read from the folders, so listing them imports nothing.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from peftcore.errors import InvalidSetting, unknown


class Registry:
    """The modules of one package, each imported when it is first asked for. `needs`: the names that each must have."""

    def __init__(self, package: str, kind: str, needs: str = ""):
        self.package, self.kind, self.needs = package, kind, needs.split()
        self.folders = [Path(__file__).parent.joinpath(*package.split("."))]

    def add_folder(self, folder: str | Path) -> None:
        """Makes the files in `folder` part of the package, in this process.

        Raises:
            InvalidSetting: there is no such folder, or a file in it has a name that is taken.
        """
        if not (folder := Path(folder)).is_dir():
            raise InvalidSetting(f"There is no folder {str(folder)!r} with a {self.kind}.")
        if taken := sorted({file.stem for file in folder.rglob("[!_]*.py")} & set(self._files)):
            raise InvalidSetting(f"There is a {self.kind} {taken[0]!r} already; {folder} needs another file name.")
        importlib.import_module(f"{__package__}.{self.package}").__path__.append(str(folder))
        self.folders.append(folder)
        del self._files

    @cached_property
    def _files(self) -> dict[str, tuple[str, Path]]:
        """Name of each thing -> its module and its file."""
        found: dict[str, tuple[str, Path]] = {}
        for folder, file in ((at, file) for at in self.folders for file in at.rglob("[!_]*.py")):
            if (name := file.stem) in found:
                raise InvalidSetting(f"{found[name][1]} and {file} are both the {self.kind} {name!r}; rename one.")
            parts = file.relative_to(folder).with_suffix("").parts
            found[name] = ".".join((__package__, self.package, *parts)), file
        return dict(sorted(found.items()))

    def names(self) -> tuple[str, ...]:
        return tuple(self._files)

    def _find(self, name: str) -> tuple[str, Path]:
        if name not in self._files:
            raise unknown(self.kind, name, self.names())
        return self._files[name]

    def load(self, name: str) -> ModuleType:
        """The module of `name`.

        Raises:
            UnknownName: no file has that name; the message names the nearest.
            InvalidSetting: the file cannot be imported, or lacks a name that each must have.
        """
        path, file = self._find(name)
        try:
            module = importlib.import_module(path)
        except Exception as error:
            raise InvalidSetting(f"{file} cannot be imported: {type(error).__name__}: {error}.") from error
        if missing := [needed for needed in self.needs if not hasattr(module, needed)]:
            raise InvalidSetting(f"{file} has no {missing[0]}; a {self.kind} has {', '.join(self.needs)}.")
        return module

    def list_when_called(self, package: str) -> None:
        """Lets the package itself be called: `peftcore.methods` is the folder, `peftcore.methods()` lists it."""

        sys.modules[package].__class__ = type("Listing", (ModuleType,), {"__call__": lambda _: list(self.names())})


@dataclass(frozen=True)
class Facts:
    """What a method's class declares in literals, read from its source, so that listing or drawing needs no torch."""

    name: str
    title: str
    kind: Literal["in-backbone", "side"]  # decides the mark as well: solid and round, or dashed and a diamond
    colour: str = ""  # "#RRGGBB"; empty: one of its kind's, by its name
    dark_colour: str = ""  # on dark pages, where `colour` would not be seen there
    called: str = ""  # in the middle of a sentence, where that is not the title
    baseline: Literal["", "upper", "lower"] = ""  # trains everything, or the classifier alone: a measure for others
    shows: Literal["", "attention", "heads"] = ""  # in its runs: a side network's attention, or scores of heads


class Methods(Registry):
    def facts(self, name: str) -> Facts:
        """Raises UnknownName, or InvalidSetting where the file does not declare them, or cannot be read."""
        return _facts(self._find(name)[1])

    def names(self, **facts: str) -> tuple[str, ...]:
        """All methods, or those of which these facts are true: names(kind="side")."""
        return tuple(n for n in super().names() if all(getattr(self.facts(n), k) == v for k, v in facts.items()))

    def baseline(self, bound: Literal["upper", "lower"]) -> str:
        """The method whose costs ("upper") or accuracy ("lower") others are compared with."""
        return self.names(baseline=bound)[0]


@cache
def _facts(file: Path) -> Facts:
    """Of the class that the file exposes as METHOD."""
    try:
        body = ast.parse(file.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError) as error:  # a ValueError: it is no text
        raise InvalidSetting(f"{file} is no Python that can be read: {error}.") from None
    exposed = getattr(_assigned(body).get("METHOD"), "id", "")
    classes = {node.name: node.body for node in body if isinstance(node, ast.ClassDef)}
    values = _assigned(classes.get(exposed, []))
    found: dict[str, Any] = {"name": file.stem}
    found |= {f.name: value.value for f in fields(Facts) if isinstance(value := values.get(f.name), ast.Constant)}
    if found["name"] != file.stem or "title" not in found or found.get("kind") not in ("in-backbone", "side"):
        raise InvalidSetting(
            f"{file}: METHOD must be a class of this file whose body has, as literals, a title and a kind, "
            f"'in-backbone' or 'side', and no name but name = {file.stem!r}; it has {found}."
        )
    return Facts(**found)


def _assigned(body: list[ast.stmt]) -> dict[str, ast.expr]:
    """Each name that the body gives a value, with a type beside it or without."""
    plain = {ast.unparse(to): node.value for node in body if isinstance(node, ast.Assign) for to in node.targets}
    return plain | {ast.unparse(n.target): n.value for n in body if isinstance(n, ast.AnnAssign) and n.value}


METHODS = Methods("methods", "method", "METHOD")
TASKS = Registry("tasks", "task", "TITLE DESCRIPTION GROUP CLASSES SOURCE load")
FETCH = Registry("fetch", "part of fetch")  # asked for what is not on this machine


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: each public name imports its module when it is first used.

    `homes`: module -> its public names, separated by spaces; where there are none, the module itself is public.
    """
    home = {name: module for module, names in homes.items() for name in names.split() or [module]}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{home[name]}")
        return module if name == home[name] else getattr(module, name)

    return get
