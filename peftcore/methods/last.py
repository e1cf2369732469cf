"""LAST: a side network of low-rank attention that only reads a frozen backbone (arXiv 2402.04009)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from .. import errors
from . import Card, Method, SideNetwork


class LAST(Method):
    name = "last"
    kind = "side"
    card = Card(
        title="LAST",
        paper="Tang et al., Low-rank Attention Side-Tuning for Parameter-Efficient Fine-Tuning, arXiv 2402.04009",
        equation=r"u_i = F_i(u_{i-1} + z_i),\quad y = u_m - \sum_{i=0}^{m-1} z_i,\quad "
        r"\mathrm{LSA}(x) = x + U\,\mathrm{softmax}(QK^\top/\sqrt r)\,V",
        trains="Per group of blocks, a stack of attention modules of rank r beside the backbone.",
        keeps="The frozen features between groups, and the side network's own thin activations; nothing inside the backbone.",
        mergeable=False,
        ours="One head, bias on U only, U zero at the start, dropout off. On Swin each stage is a LAST of its own, and "
        "what one stage adds goes through the frozen patch merging into the next.",
    )

    rank: int = Field(16, ge=1, le=1024, description="Width r of the attention in the side network.")
    gap: int = Field(2, ge=1, le=64, description="Blocks of the backbone per group.")
    stack: int = Field(2, ge=1, le=16, description="Attention modules per group.")
    heads: int = Field(1, ge=1, le=64, description="Heads of each module; they share the rank.")
    up_bias: bool = Field(True, description="A bias on the up-projection U.")
    bias_correction: bool = Field(True, description="Subtract the sum of the frozen features, so that y = z_m + what was added.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the attention's output inside the side network.")

    def check(self, backbone) -> None:
        narrowest, depth = min(b.width for b in backbone.blocks), backbone.depth
        if self.rank > narrowest:
            raise errors.DoesNotFit(f"LAST: rank {self.rank} is above the width of {backbone.name}; choose 1 to {narrowest}.")
        if self.gap > depth:
            raise errors.DoesNotFit(f"LAST: gap {self.gap} is above the depth of {backbone.name}; choose 1 to {depth}.")
        if self.rank % self.heads:
            raise errors.DoesNotFit(f"LAST: {self.heads} heads do not divide rank {self.rank} evenly.")

    def install(self, backbone) -> SideNetwork:
        return LASTNetwork(backbone, self)


class LowRankAttention(nn.Module):
    """x (B, N, d) -> what LSA adds to it: U softmax(Q K^T / sqrt(r)) V with Q, K, V = LN(x) A_q, A_k, A_v, each d -> r."""

    def __init__(self, width: int, rank: int, heads: int, up_bias: bool, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.q = nn.Linear(width, rank, bias=False)
        self.k = nn.Linear(width, rank, bias=False)
        self.v = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=up_bias)
        nn.init.zeros_(self.up.weight)
        if up_bias:
            nn.init.zeros_(self.up.bias)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, N, r/h)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm(x)  # (B, N, d)
        q, k, v = (self._split(f(n)) for f in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, r/h)
        out = out.transpose(1, 2).flatten(2)  # (B, N, r)
        if self.dropout:
            out = F.dropout(out, self.dropout, self.training)
        return self.up(out)  # (B, N, d)

    def attention(self, x: Tensor) -> Tensor:
        """softmax(Q K^T / sqrt(r)), mean over heads, (B, N, N): what `forward` weighs the values with."""
        n = self.norm(x)
        q, k = self._split(self.q(n)), self._split(self.k(n))
        return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).mean(1)


class LASTNetwork(SideNetwork):
    """The recursion of the paper, with the frozen part of each sum kept apart from what the modules add.

    u_i = sum_{j<=i} z_j + added_i: only `added` carries gradient, it is exactly zero at the start, and y = z_m + added
    is the bias correction without the cancellation of two large sums.
    """

    def __init__(self, backbone, method: LAST):
        super().__init__()
        self.correct = method.bias_correction
        self.finish: Callable[[Tensor], Tensor] = backbone.finish
        self.groups: list[list[int]] = []  # per stage, the last block of each group
        self.transitions = [backbone.transition(s).forward for s in range(1, len(backbone.stages))]
        self.side = nn.ModuleList()
        taps = []
        for stage in backbone.stages:
            ends = [*stage[method.gap - 1 :: method.gap]]
            if ends[-1:] != [stage[-1]]:
                ends.append(stage[-1])  # a depth that the gap does not divide leaves a shorter last group
            taps += [f"{backbone.blocks[stage[0]].path}:in", *(f"{backbone.blocks[e].path}:out" for e in ends)]
            self.groups.append(ends)
            for end in ends:
                width = backbone.blocks[end].width
                make = (width, method.rank, method.heads, method.up_bias, method.dropout)
                self.side.append(nn.ModuleList(LowRankAttention(*make) for _ in range(method.stack)))
        self.taps = tuple(taps)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        features, groups = iter(features), iter(self.side)
        y = None
        for stage, ends in enumerate(self.groups):
            z = next(features)  # (B, N, d), or (B, H, W, d) on Swin
            added = 0 if y is None else (self.transitions[stage - 1](y) - z).flatten(1, -2)
            total = z  # sum of z_j, j <= i
            for _ in ends:
                z = next(features)
                total = total + z
                for module in next(groups):
                    added = added + module(total.flatten(1, -2) + added)  # (B, N, d)
            y = (z if self.correct else total) + added.view_as(z)
        return self.finish(y)  # (B, d)


METHOD = LAST
