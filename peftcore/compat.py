"""Lets torchvision be imported beside a torch of another build (timm imports it).

Where torch is a CPU build and torchvision a CUDA build, `import torchvision` stops at the operators that its C++
library would have declared. Headroom uses none of them, so declaring their names is enough. A pair that matches imports
untouched, and nothing is imported before somebody asks for torchvision.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from typing import Any

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept_alive = []  # declarations live as long as their Library object


class _TorchvisionGuard(MetaPathFinder):
    """Gives torchvision's first import a loader that knows the cure.

    Finders are called under Python's global import lock, so nothing may be imported here: a thread that forks (Ray
    starting its processes) takes the logging lock and then that one, and an import takes them the other way round.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _CuringLoader(spec.loader)
        return spec


class _CuringLoader(Loader):
    """Runs the module; where just those operators are missing, declares them and runs it again."""

    def __init__(self, loader: Any):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module) -> None:
        try:
            self._loader.exec_module(module)
        except RuntimeError as error:
            if "operator torchvision::" not in str(error):
                raise
            self._declare()
            self._loader.exec_module(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # its source, its files

    @staticmethod
    def _declare() -> None:
        from torch.library import Library

        library = Library("torchvision", "DEF")
        for schema in _OPERATORS:
            library.define(schema)
        _kept_alive.append(library)


def guard_torchvision() -> None:
    """Installs the guard once; harmless where torchvision is already imported or absent."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _TorchvisionGuard) for f in sys.meta_path):
        sys.meta_path.insert(0, _TorchvisionGuard())
