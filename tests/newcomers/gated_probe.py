"""A side method that no other file knows: a gated bottleneck on the pooled feature."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from peftcore.backbone.load import Backbone
from peftcore.methods import Method, SideNetwork


class GatedProbe(Method):
    r"""Equation: y = z + U\,(\sigma(W_g z) \odot W z)
    Trains: Two thin layers on the pooled feature, one of them the other's gate, and a layer back up.
    Keeps: One pooled vector per image: no gradient enters the backbone.
    """

    title = "Gated probe"
    kind = "side"

    hidden: int = Field(16, ge=1, le=1024, description="Width of the bottleneck.")

    def install(self, backbone: Backbone) -> SideNetwork:
        return Gated(backbone.width, self.hidden)


class Gated(SideNetwork):
    taps = ("pooled",)

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.down, self.up = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        value, gate = self.down(features[0]).chunk(2, -1)  # (B, h) each
        return features[0] + self.up(value * torch.sigmoid(gate))  # (B, d)


METHOD = GatedProbe
