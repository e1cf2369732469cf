"""What `import peftcore` arranges for modules that are imported later.

`after_import` lets timm learn of the embedded backbones. The guard lets torchvision (timm imports it) be imported
beside a torch of another build: where torch is a CPU build and torchvision a CUDA build, `import torchvision` stops at the operators that its C++
library would have declared. Headroom uses none of them, so declaring their names is enough. A pair that matches imports
untouched, and nothing is imported before somebody asks for torchvision.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from typing import Any

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept_alive = []  # declarations live as long as their Library object


class _Finder(MetaPathFinder):
    """Gives one module's first import a loader of ours.

    Finders are called under Python's global import lock, so nothing may be imported here: a thread that forks (Ray
    starting its processes) takes the logging lock and then that one, and an import takes them the other way round.
    """

    def __init__(self, name: str, wrap: Callable[[Loader], Loader]):
        self.name, self.wrap = name, wrap

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = self.wrap(spec.loader)
        return spec


class _Wrapper(Loader):
    """The module's own loader, but for what a subclass changes."""

    def __init__(self, loader: Any):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module) -> None:
        self._loader.exec_module(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # its source, its files


class _ActingLoader(_Wrapper):
    """Runs the module, then does what was asked for."""

    def __init__(self, loader: Any, act: Callable[[], Any]):
        super().__init__(loader)
        self._act = act

    def exec_module(self, module) -> None:
        super().exec_module(module)
        self._act()


class _CuringLoader(_Wrapper):
    """Runs the module; where just those operators are missing, declares them and runs it again."""

    def exec_module(self, module) -> None:
        try:
            super().exec_module(module)
        except RuntimeError as error:
            if "operator torchvision::" not in str(error):
                raise
            self._declare()
            super().exec_module(module)

    @staticmethod
    def _declare() -> None:
        from torch.library import Library

        library = Library("torchvision", "DEF")
        for schema in _OPERATORS:
            library.define(schema)
        _kept_alive.append(library)


def guard_torchvision() -> None:
    """Installs the guard once; harmless where torchvision is already imported or absent."""
    _install("torchvision", _CuringLoader)


def after_import(name: str, act: Callable[[], Any]) -> None:
    """Calls `act` once the module `name` has been imported: at once where it has been."""
    if name in sys.modules:
        act()
    else:
        _install(name, lambda loader: _ActingLoader(loader, act))


def _install(name: str, wrap: Callable[[Loader], Loader]) -> None:
    there = any(isinstance(finder, _Finder) and finder.name == name for finder in sys.meta_path)
    if name not in sys.modules and not there:
        sys.meta_path.insert(0, _Finder(name, wrap))
