"""LST, Ladder Side-Tuning: a thin transformer beside a frozen one (Sung et al., arXiv 2206.06522)."""

from __future__ import annotations

import math
from itertools import chain, islice

import torch
from pydantic import Field
from timm.models.swin_transformer import PatchMerging
from timm.models.vision_transformer import Block as ViTBlock
from torch import Tensor, nn

from peftcore.backbone.anatomy import Block
from peftcore.backbone.load import Backbone
from peftcore.methods import Method, SideNetwork


class LST(Method):
    r"""Paper: Sung et al., LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning, arXiv
        2206.06522
    Equation: h_i = T_i\big(\mu_i D_i z_i + (1 - \mu_i)\,h_{i-1}\big),\quad \mu_i = \sigma(a_i / 0.1),\quad y = z_L +
        U\,\mathrm{LN}(h_m)
    Trains: Per rung, a projection D down to width d / reduction, a gate a, and a transformer block T of that width; at
        the end, a projection U up.
    Choose: As LAST where memory is short, with transformer blocks beside the backbone, which take more time and memory.
    Keeps: The frozen features at the rungs, and the thin ladder's own activations; nothing inside the backbone.
    Ours: y adds to the backbone's last tokens with U zero at the start, so that training begins at the linear probe
        (residual off: y is the ladder's alone, as in the paper). Ladder weights start at random (the paper prunes the
        backbone's). Heads: as many of the backbone's as divide the thin width. On Swin each stage is a ladder of its
        own width, with a trained patch merging between stages.
    """

    title = "LST"
    kind = "side"
    colour = "#A98BD6"

    limits = {"reduction": "width", "gap": "depth"}

    reduction: int = Field(8, ge=1, le=256, description="The ladder's width is the backbone's over this.")
    gap: int = Field(1, ge=1, le=64, description="Blocks of the backbone per rung; above 1, rungs are dropped.")
    temperature: float = Field(0.1, gt=0, le=100, description="Gates are sigmoid(a / temperature).")
    mlp_ratio: float = Field(4.0, gt=0, le=16, description="Hidden width of the ladder's MLPs over the ladder's width.")
    residual: bool = Field(True, description="Add the ladder's output to the backbone's last tokens.")

    def install(self, backbone: Backbone) -> SideNetwork:
        return Ladder(backbone, self)


class Rung(nn.Module):
    """(h (B, N, w), z (B, N, d)) -> the ladder's next state (B, N, w)."""

    def __init__(self, beside: Block, thin: int, method: LST):
        super().__init__()
        self.temperature = method.temperature
        self.gate = nn.Parameter(torch.zeros(()))
        self.down = nn.Linear(beside.width, thin)
        self.block = ViTBlock(thin, math.gcd(beside.heads, thin), mlp_ratio=method.mlp_ratio, qkv_bias=True)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        mu = (self.gate / self.temperature).sigmoid()
        return self.block(mu * self.down(z) + (1 - mu) * h)


class Ladder(SideNetwork):
    """Reads the tokens after the patch embedding and at each rung; per stage on Swin."""

    def __init__(self, backbone: Backbone, method: LST):
        super().__init__()
        self.residual, self.finish = method.residual, backbone.finish
        self.groups = self.grouped(backbone, method.gap)  # by stage, the blocks that have a rung
        blocks = [backbone.blocks[ends[-1]] for ends in self.groups]  # one of each stage
        thin = [block.width // method.reduction for block in blocks]
        self.start = nn.Linear(blocks[0].width, thin[0])
        self.rungs = nn.ModuleList(
            Rung(block, width, method)
            for ends, block, width in zip(self.groups, blocks, thin, strict=True)
            for _ in ends
        )
        self.merging = nn.ModuleList(PatchMerging(a, b) for a, b in zip(thin, thin[1:], strict=False))
        self.norm = nn.LayerNorm(thin[-1])
        self.up = nn.Linear(thin[-1], blocks[-1].width)
        if method.residual:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)
        rungs = (f"{backbone.blocks[end].path}:out" for end in chain(*self.groups))
        self.taps = (f"{backbone.blocks[0].path}:in", *rungs)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        above = zip(self.rungs, features[1:], strict=True)
        z = features[0]  # (B, N, d), or (B, H, W, d) on Swin
        h = self.start(z).flatten(1, -2)  # (B, N, w)
        for stage, ends in enumerate(self.groups):
            if stage:
                h = self.merging[stage - 1](h.view(*z.shape[:-1], -1)).flatten(1, -2)  # (B, N/4, w')
            for rung, z in islice(above, len(ends)):
                h = rung(h, z.flatten(1, -2))
        added = self.up(self.norm(h)).view_as(z)
        return self.finish(z + added if self.residual else added)  # (B, d)


METHOD = LST
