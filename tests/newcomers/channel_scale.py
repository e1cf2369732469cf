"""An in-backbone method that no other file knows: one factor for each channel that an MLP adds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from peftcore.backbone.load import Backbone
from peftcore.methods import Method, graft
from peftcore.model import TunedModel


class ChannelScale(Method):
    r"""Equation: h \leftarrow (1 + s) \odot h
    Trains: A factor per channel on the output of each block's MLP.
    Keeps: The activations of every block above the first factor.
    """

    title = "Channel scale"
    kind = "in-backbone"

    def install(self, backbone: Backbone) -> nn.Module:
        tuner = nn.Module()
        for block in backbone.blocks:
            scale = graft(tuner, f"{block.path}.mlp.fc2", Scale(block.width))
            backbone.part(block, "mlp.fc2").register_forward_hook(scale.after)
        return tuner

    def merge(self, model: TunedModel, module: nn.Module) -> None:
        with torch.no_grad():
            for path, part in model.tuner.named_modules():
                if isinstance(part, Scale):
                    linear = module.get_submodule(path)
                    linear.weight *= 1 + part.s[:, None]
                    linear.bias *= 1 + part.s


class Scale(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.s = nn.Parameter(torch.zeros(width))

    def forward(self, h: Tensor) -> Tensor:
        return (1 + self.s) * h  # (B, N, d)

    def after(self, _layer: nn.Module, _args: tuple, out: Tensor) -> Tensor:
        """A forward hook: a method of the module, so that it is copied with the model."""
        return self(out)


METHOD = ChannelScale
