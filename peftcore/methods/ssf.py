"""SSF: a learned scale and shift after every operation of the backbone (Lian et al., arXiv 2210.08823)."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from timm.layers import RmsNorm
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from peftcore.backbone.load import Backbone
from peftcore.methods import Method, graft

_OPERATIONS = (nn.Linear, nn.Conv2d, nn.LayerNorm, RmsNorm)


class SSF(Method):
    r"""Paper: Lian et al., Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning, arXiv
        2210.08823
    Equation: y \leftarrow \gamma \odot y + \beta
    Trains: A scale and a shift per channel after each norm, each linear layer and the patch embedding.
    Counts: 22 * L * d + 4 * d
    Choose: Small shifts between domains, merged without cost; in training it keeps more activations than any
        other method here.
    Keeps: The activations of every block, and the output of every operation that is scaled: the scale's gradient needs
        it.
    Ours: Where timm's operation has no bias (patch merging, some patch embeddings) there is a scale but no shift, so
        that merging is exact; a hybrid, which standardises its convolutions' weights, cannot be merged. EVA, BEiT
        and Swin V2 read the weight of qkv without calling the layer: there qkv itself is left out, and the norm before
        it and the projection after it are scaled. Scales start at N(1, std) and shifts at N(0, std) with std 0.02, as
        in the authors' code.
    """

    title = "SSF"
    kind = "in-backbone"
    colour = "#4DB6AC"

    init_std: float = Field(0.02, ge=0, le=1, description="Spread of scales around 1 and shifts around 0 at the start.")

    def install(self, backbone: Backbone) -> nn.Module:
        tuner = nn.Module()
        for path, operation in _called(backbone):
            operation.register_forward_hook(graft(tuner, path, ScaleShift(operation, self.init_std)).after)
        return tuner

    def merge(self, model: Any, module: nn.Module) -> None:
        with torch.no_grad():
            for path, part in model.tuner.named_modules():
                if isinstance(part, ScaleShift):
                    part.fold_into(module.get_submodule(path))


class ScaleShift(nn.Module):
    """y -> scale * y + shift, per channel: the last axis, or the first after the batch where y is an image."""

    def __init__(self, operation: nn.Module, std: float):
        super().__init__()
        channels = operation.weight.shape[0]
        self.shape = (-1, 1, 1) if "2d" in type(operation).__name__ else (-1,)  # Conv2d, ViTamin's LayerNormAct2d
        self.scale = nn.Parameter(torch.ones(channels).add_(std * torch.randn(channels)))
        self.shift = nn.Parameter(std * torch.randn(channels)) if getattr(operation, "bias", None) is not None else None

    def forward(self, y: Tensor) -> Tensor:
        y = y * self.scale.view(self.shape)
        return y if self.shift is None else y + self.shift.view(self.shape)

    def after(self, _operation: nn.Module, _args: tuple, y: Tensor) -> Tensor:
        """A forward hook: the operation's output, scaled and shifted."""
        return self(y)

    def fold_into(self, operation: nn.Module) -> None:
        weight = operation.weight
        weight *= self.scale.view(-1, *[1] * (weight.dim() - 1))
        if self.shift is not None:
            operation.bias.mul_(self.scale).add_(self.shift)


def _called(backbone: Backbone) -> list[tuple[str, nn.Module]]:
    """The operations, by path, that a forward really calls; some families read a layer's weight past it."""
    called: set[nn.Module] = set()
    with register_module_forward_hook(lambda module, *_: called.add(module)), torch.no_grad():
        backbone.pooled(next(backbone.module.parameters()).new_zeros(1, *backbone.input_size))
    operations = ((path, m) for path, m in backbone.module.named_modules() if isinstance(m, _OPERATIONS))
    return [(path, m) for path, m in operations if m in called and m.weight is not None]


METHOD = SSF
