"""Lets torchvision be imported beside a torch of another build (timm imports it).

Where torch is a CPU build and torchvision a CUDA build, `import torchvision` stops at the operators that its C++ library
would have declared. Headroom uses none of them, so declaring their names is enough. A pair that matches imports
untouched, and nothing is imported before somebody asks for torchvision.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept_alive = []  # declarations live as long as their Library object


class _TorchvisionGuard(MetaPathFinder):
    """On the first import of torchvision: try it, and declare the operators if just those are missing."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            try:
                importlib.import_module(name)
            except RuntimeError as error:
                if "operator torchvision::" not in str(error):
                    raise
                self._declare()
        return None  # the ordinary finders go on

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
