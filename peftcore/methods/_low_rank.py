"""Low-rank pairs beside frozen projections: what LoRA and its relatives share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor, nn
from torch.optim import Optimizer

from peftcore.backbone.anatomy import Block, Site
from peftcore.backbone.load import Backbone
from peftcore.methods import Coach, Method, graft
from peftcore.methods._beside import AddPairs, Source
from peftcore.methods._scores import HEAD_PROJECTIONS, Collector


class Pair(nn.Module):
    """delta(x) = scale * B A x for one projection: lora_A (r, d_in), lora_B (d_out, r), B zero at the start."""

    drops_input = True  # where dropout acts: on the update's input, as in Hugging Face PEFT, or on the low-rank vector

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
            B = B if B.requires_grad else B.detach().requires_grad_()
            if torch._C._current_graph_task_id() == -1:  # not where a checkpoint computes the forward once more
                object.__setattr__(self, "used_B", B)  # past Module, which would register a Parameter a second time
                B.retain_grad()
        return A, B

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"used_B": None, "collect": False}  # nobody collects from a copy

    @property
    def input_dropout(self) -> float:
        return self.dropout if self.training and self.drops_input else 0.0

    def mask(self, x: Tensor) -> Tensor | None:
        """Dropout on the low-rank vector, (..., r), zeros and 1 / (1 - p); None without."""
        if self.drops_input or not (self.dropout and self.training):
            return None
        return F.dropout(x.new_ones(*x.shape[:-1], self.lora_A.out_features), self.dropout)


@dataclass(frozen=True)
class Adapted:
    """One adapted projection: which block (by number), which projection, and the pair beside it."""

    layer: int
    block: Block
    projection: str
    site: Site
    pair: Pair

    def update(self) -> tuple[Tensor, Tensor]:
        """What the pair adds to its Linear's weight: A (r, d_in), B (d_out of the whole Linear, r), scale folded in."""
        A, own = self.pair.weights()
        B = own.new_zeros(self.site.linear.out_features, own.shape[1])
        B[self.site.rows] = self.pair.scale * own
        return A, B


class LowRank(nn.Module):
    """All pairs of a model, named after the projections that they adapt, with one forward hook per frozen Linear."""

    def __init__(self, backbone: Backbone, projections: tuple[str, ...], make: Callable[[int, int, int], Pair]):
        """make: (features in, features out, heads of the block) -> a Pair."""
        super().__init__()
        self.adapted: list[Adapted] = []
        self.by_linear: dict[str, list[Adapted]] = defaultdict(list)  # path of a Linear -> what is beside it
        paths = {layer: path for path, layer in backbone.module.named_modules()}
        for layer, block in enumerate(backbone.blocks):
            for projection in projections:
                site = backbone.site(block, projection)
                pair = graft(self, site.path, make(site.linear.in_features, site.out_features, block.heads))
                self.adapted.append(Adapted(layer, block, projection, site, pair))
                self.by_linear[paths[site.linear]].append(self.adapted[-1])
        for here in self.by_linear.values():
            first, norm = here[0], _NORMS.get(here[0].projection)  # q, k and v read one norm
            source = Source(backbone.part(first.block, norm)) if norm else None
            beside = Beside([a.pair for a in here], [a.site.rows for a in here], source)
            first.site.linear.register_forward_hook(beside.after)

    def __iter__(self) -> Iterator[Adapted]:
        return iter(self.adapted)


# The norm whose output a projection reads, in families that norm before attention and MLP.
_NORMS = {"q": "norm1", "k": "norm1", "v": "norm1", "fc1": "norm2"}


class Beside:
    """Hooks that add what pairs compute from a layer's input to rows of its output, or of the input itself."""

    def __init__(self, pairs: Sequence[Pair], rows: Sequence[slice], source: Source | None = None):
        self.pairs, self.rows, self.source = pairs, rows, source

    def after(self, _layer: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """A forward hook: y <- y + s B A x."""
        return self._added(args[0], out)

    def before(self, _layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A forward pre-hook: x <- x + s B A x."""
        x, *rest = args
        return self._added(x, x.clone(memory_format=torch.contiguous_format)), *rest

    def _added(self, x: Tensor, out: Tensor) -> Tensor:
        """In place: `out` is changed."""
        base, read, p = _owner(out), self.source and self.source.of(x), self.pairs[0].input_dropout
        together = [(self.pairs, self.rows)]
        if p:  # then each pair has an x of its own, which is no norm's output
            read, together = None, [([pair], [where]) for pair, where in zip(self.pairs, self.rows, strict=True)]
        for pairs, rows in together:
            masks = [mask for pair in pairs if (mask := pair.mask(x)) is not None]
            weights = [weight for pair in pairs for weight in pair.used()]
            how = (self.source, rows, [pair.scale for pair in pairs], torch.cat(masks, -1) if masks else None)
            base = AddPairs.apply(base, F.dropout(x, p) if p else x, read, *how, *weights)
        return base.view(out.shape)


def _owner(out: Tensor) -> Tensor:
    """The tensor that `out` is a view of, in another shape: adding in place to a view costs a copy of the gradient. A
    compiler fuses a copy, and its backward may need the frozen output as it was."""
    if (compiling := torch.compiler.is_compiling()) or not out._is_view():
        return out.clone() if compiling else out
    base = out._base
    same = base.numel() == out.numel() and base.shape[-1] == out.shape[-1] and base.is_contiguous()
    return base if same and out.is_contiguous() else out


def _each_once(projections: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(projections)) != len(projections):
        raise ValueError("a choice of projections, each named once")
    return projections


EachOnce = AfterValidator(_each_once)
Rank = Annotated[int, Field(ge=1, le=1024, description="Rank r of the update.")]
Projections = Annotated[
    tuple[Literal["q", "k", "v", "proj", "fc1", "fc2"], ...],
    Field(min_length=1, description="Which projections are adapted."),
    EachOnce,
]


class LowRankMethod(Method):
    """A method that puts a pair beside each chosen projection: LoRA and its relatives.

    Subclasses have the fields `rank` and `projections`, and make the pairs.
    """

    limits = {"rank": "width"}

    def pair(self, d_in: int, d_out: int, heads: int) -> Pair:
        raise NotImplementedError

    def install(self, backbone: Backbone) -> LowRank:
        return LowRank(backbone, self.projections, self.pair)  # type: ignore[attr-defined]  # in an order of its own

    def coach(self, model: Any, optimizer: Optimizer, epochs: int, per_epoch: int) -> Coach:
        has_heads = any(adapted.projection in HEAD_PROJECTIONS for adapted in model.tuner.adapted)
        return Collector(model.tuner) if has_heads else Coach()

    @torch.no_grad()
    def as_lora(self, model: Any) -> dict[str, tuple[Tensor, Tensor]]:
        """Pairs on slices of a fused Linear stack: their A's below each other, their B's beside each other."""
        updates = {}
        for path, here in model.tuner.by_linear.items():
            As, Bs = zip(*(adapted.update() for adapted in here), strict=True)
            updates[path] = torch.cat(As), torch.cat(Bs, 1)
        return updates
