"""What `import peftcore` arranges for modules that are imported later.

`after_import` lets timm learn of the embedded backbones. The guard lets torchvision (timm imports it) be imported
beside a torch of another build: where torch is a CPU build and torchvision a CUDA build, `import torchvision` stops at
the operators that its C++ library would have declared. Headroom uses none of them, so declaring their names is enough.
A pair that matches imports untouched, and nothing is imported before somebody asks for torchvision.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_OPERATORS = ("nms", "qnms")
_kept_alive: list[Any] = []  # declarations live as long as their Library object


class _FirstImport(MetaPathFinder):
    """Finds one module as Python would; `run` decides what happens around the execution of its code.

    Finders are called under Python's global import lock, so nothing may be imported here: a thread that forks (Ray
    starting its processes) takes the logging lock and then that one, and an import takes them the other way round.
    """

    def __init__(self, name: str, run: Callable[[Callable[[], None]], None]):
        self.name, self.run = name, run

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == self.name else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module
            around = lambda module: self.run(partial(execute, module))  # noqa: E731
            spec.loader.exec_module = around  # type: ignore[method-assign]  # of this one loader
        return spec


def guard_torchvision() -> None:
    """Installs the guard; harmless where torchvision is already imported or absent."""
    if "torchvision" not in sys.modules:
        sys.meta_path.insert(0, _FirstImport("torchvision", _declare_what_is_missing))


def after_import(name: str, act: Callable[[], Any]) -> None:
    """Calls `act` once the module `name` has been imported: at once where it has been."""
    if name in sys.modules:
        act()
        return

    def run(execute: Callable[[], None]) -> None:
        execute()
        act()

    sys.meta_path.insert(0, _FirstImport(name, run))


def _declare_what_is_missing(execute: Callable[[], None]) -> None:
    try:
        execute()
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        from torch.library import Library

        _kept_alive.append(library := Library("torchvision", "DEF"))
        for operator in _OPERATORS:
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        execute()
