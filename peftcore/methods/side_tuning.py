"""Side-Tuning: a small encoder of the image, blended with the frozen feature (Zhang et al., arXiv 1912.13503)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peftcore.backbone.load import Backbone
from peftcore.methods import Method, SideNetwork


class SideTuning(Method):
    r"""Paper: Zhang et al., Side-Tuning: A Baseline for Network Adaptation via Additive Side Networks, arXiv 1912.13503
    Equation: y = \alpha\,B(x) + (1 - \alpha)\,S(x),\quad \alpha = \sigma(a)
    Trains: A small encoder S of the image, and the one number a that blends it with the frozen feature B(x).
    Choose: A baseline of side methods: the image itself is read again, the backbone gives one vector.
    Keeps: One pooled vector per image, the image itself, and the side encoder's own activations; nothing of the
        backbone.
    Ours: The side encoder: one convolution per patch of the backbone's last grid, blocks of a 3x3 depthwise
        convolution, LayerNorm and a two-layer GELU MLP, mean over patches, LayerNorm, and a linear layer to the
        feature's width. Its weights start at random (the paper: copied or distilled from the backbone).
    """

    title = "Side-Tuning"
    kind = "side"
    colour = "#6A3D9A"
    dark_colour = "#8E63C7"

    width: int = Field(64, ge=1, le=1024, description="Channels of the side encoder.")
    depth: int = Field(2, ge=0, le=24, description="Blocks of the side encoder.")
    alpha: float = Field(0.5, gt=0, lt=1, description="Share of the frozen feature at the start; it is learned.")

    def install(self, backbone: Backbone) -> SideNetwork:
        return Blend(backbone, self)


class Blend(SideNetwork):
    """(image, pooled feature) -> alpha * feature + (1 - alpha) * side(image)."""

    taps = ("image", "pooled")

    def __init__(self, backbone: Backbone, method: SideTuning):
        super().__init__()
        self.side = SideEncoder(backbone, method.width, method.depth)
        self.alpha = nn.Parameter(torch.tensor(math.log(method.alpha / (1 - method.alpha))))

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        image, base = features  # (B, C, H, W), (B, d)
        alpha = self.alpha.sigmoid()
        return alpha * base + (1 - alpha) * self.side(image)  # (B, d)


class SideEncoder(nn.Module):
    """Image (B, C, H, W) -> (B, d)."""

    def __init__(self, backbone: Backbone, width: int, depth: int):
        super().__init__()
        channels, *size = backbone.input_size
        patch = tuple(math.ceil(s / g) for s, g in zip(size, backbone.blocks[-1].grid, strict=True))
        self.patch = nn.Conv2d(channels, width, patch, stride=patch)
        self.blocks = nn.Sequential(*(ConvBlock(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, backbone.width)

    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(self.patch(image))  # (B, w, h, w')
        return self.out(self.norm(x.mean((2, 3))))  # (B, d)


class ConvBlock(nn.Module):
    """x (B, w, h, w') -> x + what a depthwise 3x3 convolution and a two-layer MLP per position add."""

    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))  # (B, h, w', w)
        return x + self.fc2(F.gelu(self.fc1(h))).permute(0, 3, 1, 2)


METHOD = SideTuning
