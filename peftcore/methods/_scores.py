"""Head scores: how much each attention head's low-rank update matters, by layer, projection and head.

Rows of B belong to heads: dW_h = s B_h A. First-order Taylor: L - L(dW_h = 0) ~ <dL/d(dW_h), dW_h> = <dL/dB_h, B_h>,
which does not depend on how dW is factored (Heart-LoRA, arXiv 2404.08894).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from peftcore import errors
from peftcore.events import Event, Scores
from peftcore.methods import Coach
from peftcore.registry import METHODS

Score = Literal["taylor", "taylor_signed", "taylor_abs", "taylor_squared", "energy"]
# What a step adds to each head's sum, from dL/dB_h * B_h (heads, head_dim * r); the score is the mean over steps.
_TAYLOR: dict[str, Callable[[Tensor], Tensor]] = {
    "taylor": lambda products: products.sum(1).abs(),  # |<dL/dB_h, B_h>|
    "taylor_signed": lambda products: products.sum(1),
    "taylor_abs": lambda products: products.abs().sum(1),
    "taylor_squared": lambda products: products.sum(1).square(),
}
SCORES = (*_TAYLOR, "energy")  # energy: ||dW_h||_F, without a gradient
HEAD_PROJECTIONS = ("q", "k", "v")  # the projections whose output rows belong to heads


@dataclass(frozen=True)
class HeadScores:
    """`values` (layers, projections, heads), float64; NaN where a layer has no such head or was not adapted.

    `mask`, where heads were switched off, has the same shape: False is off.
    """

    values: np.ndarray
    projections: tuple[str, ...]
    layers: tuple[str, ...]
    score: str
    mask: np.ndarray | None = None

    def to_dict(self) -> dict[str, Any]:
        values = np.where(np.isnan(self.values), np.array(None), self.values).tolist()
        names = {"projections": list(self.projections), "layers": list(self.layers), "score": self.score}
        return {"values": values, **names, "mask": None if self.mask is None else self.mask.tolist()}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> HeadScores:
        mask = None if d.get("mask") is None else np.array(d["mask"], dtype=bool)
        return cls(np.array(d["values"], dtype=float), tuple(d["projections"]), tuple(d["layers"]), d["score"], mask)


def by_head(rows: Tensor, heads: int) -> Tensor:
    """Rows (heads * head_dim, r), head-major as timm keeps them -> (heads, head_dim * r)."""
    return rows.reshape(heads, -1)


def head_pairs(tuner: nn.Module) -> list[Any]:
    """Of the low-rank updates that a tuner lists as `adapted`, those whose rows belong to heads: layer (its number),
    block, projection, and pair, which has lora_B, delta() and heads_on, and where `collect` is set holds the B of the
    last forward as used_B.

    Raises:
        NotMeasurable: the method adapts none.
    """
    pairs = [a for a in getattr(tuner, "adapted", ()) if a.projection in HEAD_PROJECTIONS]
    if not pairs:
        able = ", ".join(METHODS.names(shows="heads"))
        raise errors.NotMeasurable(f"Head scores need low-rank updates on q, k or v ({able}); this model has none.")
    return pairs


def collect(pairs: Sequence[Any], values: Iterable[Tensor], score: str) -> HeadScores:
    """Arranges one tensor (heads,) per pair as layers x projections x heads, with a mask where heads can be off."""

    def arranged(given: Iterable[Tensor]) -> HeadScores:
        together = zip(pairs, given, strict=True)
        return table([(a.layer, a.block.path, a.projection, v.double().cpu().numpy()) for a, v in together], score)

    if any(a.pair.heads_on is None for a in pairs):
        return arranged(values)
    return replace(arranged(values), mask=arranged(a.pair.heads_on for a in pairs).values != 0)  # NaN: no such head


def table(rows: Iterable[tuple[int, str, str, np.ndarray]], score: str) -> HeadScores:
    """HeadScores from rows of (layer, path of its block, projection, one value per head)."""
    rows = list(rows)
    projections = tuple(p for p in HEAD_PROJECTIONS if any(row[2] == p for row in rows))
    values = np.full((max(r[0] for r in rows) + 1, len(projections), max(len(r[3]) for r in rows)), np.nan)
    layers = [""] * len(values)
    for layer, path, projection, heads in rows:
        values[layer, projections.index(projection), : len(heads)] = heads
        layers[layer] = path
    return HeadScores(values, projections, tuple(layers), score)


def energies(pairs: Sequence[Any]) -> HeadScores:
    """||dW_h||_F from the weights alone."""
    with torch.no_grad():
        return collect(pairs, [by_head(a.pair.delta(), a.block.heads).norm(dim=1) for a in pairs], "energy")


class Collector(Coach):
    """Sums Taylor scores over steps and reports them after each epoch; `scores()` gives them at any time.

    It switches collection on in the pairs; `close()` switches it off. Costs one product of B's size per pair and step.
    """

    def __init__(self, tuner: nn.Module, score: Score = "taylor"):
        self.pairs, self.score, self.steps = head_pairs(tuner), score, 0
        self.sums = [torch.zeros(a.block.heads, device=a.pair.lora_B.weight.device) for a in self.pairs]
        self._collect(score in _TAYLOR)

    def _collect(self, collecting: bool) -> None:
        self.collecting = collecting
        for adapted in self.pairs:
            adapted.pair.collect, adapted.pair.used_B = collecting, None

    @torch.no_grad()
    def after_backward(self) -> None:
        if self.collecting:
            for adapted, total in zip(self.pairs, self.sums, strict=True):
                B = adapted.pair.used_B
                total += _TAYLOR[self.score](by_head(B.grad * B, adapted.block.heads))
            self.steps += 1

    def end_epoch(self, step: int, epoch: int) -> Iterable[Event]:
        return [self.event(step, epoch)]

    def event(self, step: int, epoch: int) -> Scores:
        return Scores(step=step, epoch=epoch, scores=self.scores().to_dict())

    def scores(self) -> HeadScores:
        if self.score == "energy":
            return energies(self.pairs)
        return collect(self.pairs, [total / max(self.steps, 1) for total in self.sums], self.score)

    def state(self) -> dict[str, Tensor]:
        return {"sums": torch.cat(self.sums), "steps": torch.tensor(self.steps)} if self.collecting else {}

    def load(self, state: dict[str, Tensor]) -> None:
        if not state:
            return self.close()  # as it was when the state was taken
        for total, loaded in zip(self.sums, state["sums"].split([len(s) for s in self.sums]), strict=True):
            total.copy_(loaded)
        self.steps = int(state["steps"])

    def close(self) -> None:
        self._collect(False)
