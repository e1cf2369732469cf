"""timm, imported so that it works with a torchvision built for another torch.

Where torch is a CPU build and torchvision a CUDA build, `import torchvision` stops at the operators that its C++
library would have declared. Headroom uses none of them, so declaring their names is enough. A pair that matches
imports untouched.
"""

from __future__ import annotations

import torch

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library = None  # kept alive: the declarations live as long as this object


def _import_torchvision() -> None:
    global _library
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        _library = torch.library.Library("torchvision", "DEF")
        for schema in _OPERATORS:
            _library.define(schema)
        import torchvision  # noqa: F401


_import_torchvision()

import timm  # noqa: E402

__all__ = ["timm"]
