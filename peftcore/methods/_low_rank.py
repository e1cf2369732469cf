"""Low-rank pairs beside frozen projections: what LoRA and its relatives share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftcore import errors
from peftcore.backbone.anatomy import Block, Site
from peftcore.backbone.load import Backbone
from peftcore.methods import graft
from peftcore.methods._beside import AddPairs, Source


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

    def used(self) -> tuple[Tensor, Tensor]:
        """`weights` for a forward; where a probe collects, B is held and will get its gradient."""
        A, B = self.weights()
        if self.collect:
            object.__setattr__(self, "used_B", B)  # past Module, which would register a Parameter a second time
            if not B.is_leaf:
                B.retain_grad()
        return A, B

    def forward(self, x: Tensor) -> Tensor:
        """The delta alone, (..., d_out)."""
        return add_pairs([self], [slice(None)])(self, (x,), x.new_zeros(*x.shape[:-1], self.lora_B.out_features))

    @property
    def input_dropout(self) -> float:
        """LoRA drops entries of the input, as Hugging Face PEFT does."""
        return self.dropout if self.training else 0.0

    def mask(self, x: Tensor) -> Tensor | None:
        """Dropout on the low-rank vector, (..., r), zeros and 1 / (1 - p); None without."""
        return None


@dataclass(frozen=True)
class Adapted:
    """One adapted projection: which block (by number), which projection, and the pair beside it."""

    layer: int
    block: Block
    projection: str
    site: Site
    pair: Pair


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
    sources: dict[nn.Linear, Source | None] = {}
    for layer, block in enumerate(backbone.blocks):
        for projection in projections:
            site = backbone.site(block, projection)
            pair = make(site, block)
            adapted = Adapted(layer, block, projection, site, graft(tuner, site.path, pair))
            tuner.adapted.append(adapted)
            hooked[site.linear].append(adapted)
            if site.linear not in sources:  # q, k and v read one norm
                sources[site.linear] = source_of(backbone, block, projection)
    for linear, here in hooked.items():
        linear.register_forward_hook(add_pairs([a.pair for a in here], [a.site.rows for a in here], sources[linear]))
    return tuner


def source_of(backbone: Backbone, block: Block, projection: str) -> Source | None:
    """The norm whose output a projection reads, in families that norm before attention and MLP."""
    norm = {"q": "norm1", "k": "norm1", "v": "norm1", "fc1": "norm2"}.get(projection)
    return Source(backbone.part(block, norm)) if norm else None


def _owner(out: Tensor) -> Tensor:
    """The tensor of which `out` is another shape: what is added in place to a view costs autograd a copy of the gradient."""
    if torch.compiler.is_compiling() or not out._is_view():
        return out
    base = out._base
    same = base.numel() == out.numel() and base.shape[-1] == out.shape[-1] and base.is_contiguous()
    return base if same and out.is_contiguous() else out


def add_pairs(pairs: Sequence[Pair], rows: Sequence[slice], source: Source | None = None):
    """A forward hook that adds what the pairs compute from a layer's input to rows of its output, in place."""

    def hook(_layer: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        x = args[0]
        read = source and source.of(x)
        weights, scales = [pair.used() for pair in pairs], [pair.scale for pair in pairs]
        base = _owner(out)
        if any(pair.input_dropout for pair in pairs):  # then each pair has an x of its own
            for pair, where, scale, (A, B) in zip(pairs, rows, scales, weights, strict=True):
                base = AddPairs.apply(base, F.dropout(x, pair.input_dropout), None, None, [where], [scale], None, A, B)
            return base.view(out.shape)
        masks = [pair.mask(x) for pair in pairs]
        mask = None if masks[0] is None else torch.cat(masks, -1)
        flat = [weight for both in weights for weight in both]
        return AddPairs.apply(base, x, read, source, rows, scales, mask, *flat).view(out.shape)

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
