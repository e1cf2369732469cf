"""An in-backbone method that no other file knows: one factor for each channel that an MLP adds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from peftcore.backbone.load import Backbone
from peftcore.methods import Card, Method, Tuned, graft


class ChannelScale(Method):
    name = "channel_scale"
    title = "Channel scale"
    kind = "in-backbone"
    card = Card(
        title=title,
        paper="",
        equation=r"h \leftarrow (1 + s) \odot h",
        trains="A factor per channel on the output of each block's MLP.",
        keeps="The activations of every block above the first factor.",
        mergeable=True,
    )

    def install(self, backbone: Backbone) -> nn.Module:
        tuner = nn.Module()
        for block in backbone.blocks:
            scale = graft(tuner, f"{block.path}.mlp.fc2", Scale(block.width))
            backbone.part(block, "mlp.fc2").register_forward_hook(lambda _, args, out, scale=scale: scale(out))
        return tuner

    def merge(self, model: Tuned, module: nn.Module) -> None:
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


METHOD = ChannelScale
