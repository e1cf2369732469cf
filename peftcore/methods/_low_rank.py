"""Low-rank pairs beside frozen projections: what LoRA and its relatives share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import errors
from ..backbone import Backbone, Block, Site
from . import graft


class Pair(nn.Module):
    """delta(x) = scale * B A x for one projection: lora_A (r, d_in), lora_B (d_out, r), B zero at the start."""

    def __init__(self, d_in: int, d_out: int, rank: int, scale: float, dropout: float = 0.0):
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.lora_A = nn.Linear(d_in, rank, bias=False)
        self.lora_B = nn.Linear(rank, d_out, bias=False)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)
        self.used_B: Tensor | None = None  # the B of the last forward, kept only while a probe collects its gradient
        self.collect = False
        self.register_buffer("heads_on", None)  # (heads,) bool where a method switches heads off

    def weights(self) -> tuple[Tensor, Tensor]:
        """The A (r, d_in) and B (d_out, r) that the forward uses; relatives of LoRA override this."""
        return self.lora_A.weight, self.lora_B.weight

    def delta(self) -> Tensor:
        """dW = scale * B A, (d_out, d_in)."""
        A, B = self.weights()
        return self.scale * (B @ A)

    def forward(self, x: Tensor) -> Tensor:
        A, B = self.weights()
        if self.collect:
            object.__setattr__(self, "used_B", B)  # past Module, which would register a Parameter a second time
            if not B.is_leaf:
                B.retain_grad()
        h = F.linear(self.before(x), A)  # (..., r)
        return self.scale * F.linear(self.between(h), B)  # (..., d_out)

    def before(self, x: Tensor) -> Tensor:
        """LoRA drops entries of the input, as Hugging Face PEFT does."""
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def between(self, h: Tensor) -> Tensor:
        return h


@dataclass(frozen=True)
class Adapted:
    """One adapted projection: which block (by number), which projection, and the pair beside it."""

    layer: int
    block: Block
    projection: str
    site: Site
    pair: Pair


class AddRows(torch.autograd.Function):
    """out[..., start:stop] += delta, in place: the other rows are neither copied nor kept."""

    @staticmethod
    def forward(ctx, out: Tensor, delta: Tensor, start: int) -> Tensor:
        ctx.start, ctx.stop = start, start + delta.shape[-1]
        out[..., ctx.start : ctx.stop] += delta
        ctx.mark_dirty(out)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad, grad[..., ctx.start : ctx.stop], None


class LowRank(nn.Module):
    """All pairs of a model, under the names of the projections that they adapt."""

    def __init__(self):
        super().__init__()
        self.adapted: list[Adapted] = []

    def __iter__(self) -> Iterator[Adapted]:
        return iter(self.adapted)


def install_pairs(backbone: Backbone, projections: tuple[str, ...], make: Callable[[Site, Block], Pair]) -> LowRank:
    """Puts a pair beside each chosen projection of each block, by one forward hook per frozen Linear."""
    tuner = LowRank()
    hooked: dict[nn.Linear, list[Adapted]] = defaultdict(list)
    for layer, block in enumerate(backbone.blocks):
        for projection in projections:
            site = backbone.site(block, projection)
            pair = make(site, block)
            adapted = Adapted(layer, block, projection, site, graft(tuner, site.path, pair))
            tuner.adapted.append(adapted)
            hooked[site.linear].append(adapted)
    for linear, here in hooked.items():
        linear.register_forward_hook(_add_deltas(here))
    return tuner


def _add_deltas(here: list[Adapted]):
    parts = [(a.pair, a.site.rows.start) for a in here]

    def hook(_linear: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        for pair, start in parts:
            out = AddRows.apply(out, pair(args[0]).to(out.dtype), start)
        return out

    return hook


@torch.no_grad()
def updates_of(tuner: LowRank, backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
    """Path of each adapted Linear -> A (r, d_in), B (d_out, r) of the one update that all its pairs make, scale folded in.

    Pairs on slices of a fused Linear stack: their A's below each other, their B's in their own rows and columns.
    """
    paths = {layer: path for path, layer in backbone.module.named_modules()}
    by_linear: dict[nn.Linear, list[Adapted]] = defaultdict(list)
    for adapted in tuner:
        by_linear[adapted.site.linear].append(adapted)
    updates = {}
    for linear, here in by_linear.items():
        weights = [a.pair.weights() for a in here]
        A = torch.cat([A for A, _ in weights])
        B = A.new_zeros(linear.out_features, len(A))
        column = 0
        for adapted, (_, own) in zip(here, weights, strict=True):
            B[adapted.site.rows, column : column + own.shape[1]] = adapted.pair.scale * own
            column += own.shape[1]
        updates[paths[linear]] = (A, B)
    return updates


def check_rank(rank: int, backbone: Backbone, title: str) -> None:
    narrowest = min(block.width for block in backbone.blocks)
    if rank > narrowest:
        raise errors.DoesNotFit(
            f"{title}: rank {rank} is above the width of {backbone.name} ({narrowest}); choose 1 to {narrowest}."
        )


def each_once(projections: tuple[str, ...]) -> tuple[str, ...]:
    """Validates a choice of projections."""
    if len(set(projections)) != len(projections):
        raise ValueError("a choice of projections, each named once")
    return projections
