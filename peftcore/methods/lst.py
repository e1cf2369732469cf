"""LST, Ladder Side-Tuning: a thin transformer beside a frozen one (Sung et al., arXiv 2206.06522)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pydantic import Field
from timm.models.swin_transformer import PatchMerging
from timm.models.vision_transformer import Block as ViTBlock
from torch import Tensor, nn

from peftcore.methods import Method, SideNetwork


class LST(Method):
    r"""Paper: Sung et al., LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning, arXiv
        2206.06522
    Equation: h_i = T_i\big(\mu_i D_i z_i + (1 - \mu_i)\,h_{i-1}\big),\quad \mu_i = \sigma(a_i / 0.1),\quad y = z_L +
        U\,\mathrm{LN}(h_m)
    Trains: Per rung, a projection D down to width d / reduction, a gate a, and a transformer block T of that width; at
        the end, a projection U up.
    Keeps: The frozen features at the rungs, and the thin ladder's own activations; nothing inside the backbone.
    Ours: y adds to the backbone's last tokens with U zero at the start, so that training begins at the linear probe
        (residual off: y is the ladder's alone, as in the paper). Ladder weights start at random (the paper prunes the
        backbone's). Heads: as many of the backbone's as divide the thin width. On Swin each stage is a ladder of its
        own width, with a trained patch merging between stages.
    """

    name = "lst"
    title = "LST"
    kind = "side"
    colour = "#A98BD6"

    limits = {"reduction": "width", "gap": "depth"}

    reduction: int = Field(8, ge=1, le=256, description="The ladder's width is the backbone's over this.")
    gap: int = Field(1, ge=1, le=64, description="Blocks of the backbone per rung; above 1, rungs are dropped.")
    temperature: float = Field(0.1, gt=0, le=100, description="Gates are sigmoid(a / temperature).")
    mlp_ratio: float = Field(4.0, gt=0, le=16, description="Hidden width of the ladder's MLPs over the ladder's width.")
    residual: bool = Field(True, description="Add the ladder's output to the backbone's last tokens.")

    def install(self, backbone) -> SideNetwork:
        return Ladder(backbone, self)


class Rung(nn.Module):
    """(h (B, N, w), z (B, N, d)) -> the ladder's next state (B, N, w)."""

    def __init__(self, width: int, thin: int, heads: int, method: LST):
        super().__init__()
        self.temperature = method.temperature
        self.gate = nn.Parameter(torch.zeros(()))
        self.down = nn.Linear(width, thin)
        self.block = ViTBlock(thin, heads, mlp_ratio=method.mlp_ratio, qkv_bias=True)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        mu = (self.gate / self.temperature).sigmoid()
        return self.block(mu * self.down(z) + (1 - mu) * h)


class Ladder(SideNetwork):
    """Reads the tokens after the patch embedding and at each rung; per stage on Swin."""

    def __init__(self, backbone, method: LST):
        super().__init__()
        self.residual = method.residual
        self.finish: Callable[[Tensor], Tensor] = backbone.finish
        self.stages: list[int] = []  # rungs per stage
        widths = [backbone.blocks[stage[0]].width for stage in backbone.stages]
        thin = [width // method.reduction for width in widths]
        self.start = nn.Linear(widths[0], thin[0])
        self.rungs = nn.ModuleList()
        taps = [f"{backbone.blocks[0].path}:in"]
        for stage, width, narrow in zip(backbone.stages, widths, thin, strict=True):
            ends = [*stage[method.gap - 1 :: method.gap]]
            if ends[-1:] != [stage[-1]]:
                ends.append(stage[-1])  # the last tokens of a stage always have a rung
            taps += [f"{backbone.blocks[end].path}:out" for end in ends]
            heads = math.gcd(backbone.blocks[stage[0]].heads, narrow)
            self.rungs.extend(Rung(width, narrow, heads, method) for _ in ends)
            self.stages.append(len(ends))
        self.merging = nn.ModuleList(PatchMerging(a, b) for a, b in zip(thin, thin[1:], strict=False))
        self.norm = nn.LayerNorm(thin[-1])
        self.up = nn.Linear(thin[-1], widths[-1])
        if method.residual:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)
        self.taps = tuple(taps)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        features, rungs = iter(features), iter(self.rungs)
        z = next(features)  # (B, N, d), or (B, H, W, d) on Swin
        h = self.start(z).flatten(1, -2)  # (B, N, w)
        for stage, count in enumerate(self.stages):
            if stage:
                h = self.merging[stage - 1](h.view(*z.shape[:-1], -1)).flatten(1, -2)  # (B, N/4, w')
            for _ in range(count):
                z = next(features)
                h = next(rungs)(h, z.flatten(1, -2))
        added = self.up(self.norm(h)).view_as(z)
        return self.finish(z + added if self.residual else added)  # (B, d)


METHOD = LST
