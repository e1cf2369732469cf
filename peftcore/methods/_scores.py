"""Head scores: how much each attention head's low-rank update matters, by layer, projection and head.

Rows of B belong to heads: dW_h = s B_h A. First-order Taylor: L - L(dW_h = 0) ~ <dL/d(dW_h), dW_h> = <dL/dB_h, B_h>,
which does not depend on how dW is factored (Heart-LoRA, arXiv 2404.08894).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from peftcore import errors
from peftcore.events import Scores
from peftcore.methods import Coach
from peftcore.registry import METHODS

if TYPE_CHECKING:
    from peftcore.backbone.load import Block

Score = Literal["taylor", "taylor_signed", "taylor_abs", "taylor_squared", "energy"]
SCORES = {
    "taylor": "mean over steps of |<dL/dB_h, B_h>|",
    "taylor_signed": "mean over steps of <dL/dB_h, B_h>",
    "taylor_abs": "mean over steps of sum |dL/dB_h * B_h|",
    "taylor_squared": "mean over steps of <dL/dB_h, B_h>^2",
    "energy": "||dW_h||_F, no gradient",
}
HEAD_PROJECTIONS = ("q", "k", "v")  # the projections whose output rows belong to heads


class Update(Protocol):
    """One low-rank update beside a projection of a block. A tuner that can be scored lists its own as `adapted`."""

    layer: int
    block: Block
    projection: str
    pair: nn.Module  # lora_B, delta(), heads_on; where `collect` is set, used_B holds the B of the last forward


@dataclass(frozen=True)
class HeadScores:
    """`values` (layers, projections, heads), float64; NaN where a layer has no such head or was not adapted.

    `mask`, where heads were switched off, has the same shape: False is off.
    """

    values: np.ndarray
    projections: tuple[str, ...]
    layers: tuple[str, ...]
    score: str
    mask: np.ndarray | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        values = [[[None if np.isnan(v) else float(v) for v in row] for row in layer] for layer in self.values]
        mask = None if self.mask is None else self.mask.tolist()
        return {
            "values": values,
            "projections": list(self.projections),
            "layers": list(self.layers),
            "score": self.score,
            "mask": mask,
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> HeadScores:
        mask = None if d.get("mask") is None else np.array(d["mask"], dtype=bool)
        return cls(np.array(d["values"], dtype=float), tuple(d["projections"]), tuple(d["layers"]), d["score"], mask)


def by_head(rows: Tensor, heads: int) -> Tensor:
    """Rows (heads * head_dim, r), head-major as timm keeps them -> (heads, head_dim * r)."""
    return rows.reshape(heads, -1)


def head_pairs(tuner: nn.Module) -> list[Update]:
    """The updates of a tuner whose rows belong to heads.

    Raises:
        NotMeasurable: the method adapts none.
    """
    pairs = [a for a in getattr(tuner, "adapted", ()) if a.projection in HEAD_PROJECTIONS]
    if not pairs:
        able = ", ".join(METHODS.names(shows="heads"))
        raise errors.NotMeasurable(f"Head scores need low-rank updates on q, k or v ({able}); this model has none.")
    return pairs


def collect(pairs: list[Update], values: list[Tensor], score: str) -> HeadScores:
    """Arranges one tensor (heads,) per pair as layers x projections x heads."""
    rows = [(a.layer, a.block.path, a.projection, v.double().cpu().numpy()) for a, v in zip(pairs, values, strict=True)]
    scores = table(rows, score)
    off = [(a, ~a.pair.heads_on.cpu().numpy()) for a in pairs if a.pair.heads_on is not None]
    if not off:
        return scores
    kept = np.ones(scores.values.shape, dtype=bool)
    for a, heads in off:
        kept[a.layer, scores.projections.index(a.projection), : len(heads)] = ~heads
    return replace(scores, mask=kept)


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


def energies(pairs: list[Update]) -> HeadScores:
    """||dW_h||_F from the weights alone."""
    with torch.no_grad():
        return collect(pairs, [by_head(a.pair.delta(), a.block.heads).norm(dim=1) for a in pairs], "energy")


class Collector:
    """Sums Taylor scores over steps: call `step()` after each backward, read `scores()` at any time.

    It switches collection on in the pairs; `close()` switches it off. Costs one product of B's size per pair and step.
    """

    def __init__(self, tuner: nn.Module, score: Score = "taylor"):
        if score not in SCORES or score == "energy":
            raise errors.unknown("score that needs gradients called", score, [s for s in SCORES if s != "energy"])
        self.pairs, self.score, self.steps = head_pairs(tuner), score, 0
        self.sums = [torch.zeros(a.block.heads, device=a.pair.lora_B.weight.device) for a in self.pairs]
        for adapted in self.pairs:
            adapted.pair.collect = True

    @torch.no_grad()
    def step(self) -> None:
        for adapted, total in zip(self.pairs, self.sums, strict=True):
            B = adapted.pair.used_B
            products = by_head(B.grad * B, adapted.block.heads)  # (heads, head_dim * r)
            if self.score == "taylor_abs":
                total += products.abs().sum(1)
            else:
                per_head = products.sum(1)
                total += {"taylor": per_head.abs, "taylor_signed": per_head.clone, "taylor_squared": per_head.square}[
                    self.score
                ]()
        self.steps += 1

    def scores(self) -> HeadScores:
        return collect(self.pairs, [total / max(self.steps, 1) for total in self.sums], self.score)

    def state(self) -> dict[str, Tensor]:
        return {"sums": torch.cat(self.sums), "steps": torch.tensor(self.steps)}

    def load(self, state: dict[str, Tensor]) -> None:
        for total, loaded in zip(self.sums, state["sums"].split([len(s) for s in self.sums]), strict=True):
            total.copy_(loaded)
        self.steps = int(state["steps"])

    def close(self) -> None:
        for adapted in self.pairs:
            adapted.pair.collect, adapted.pair.used_B = False, None


class ScoreWatch(Coach):
    """Collects Taylor scores through a training run and reports them after each epoch."""

    def __init__(self, tuner: nn.Module):
        self.collector = Collector(tuner)
        self.after_backward, self.close = self.collector.step, self.collector.close
        self.state, self.load = self.collector.state, self.collector.load

    def end_epoch(self, step: int, epoch: int) -> list[Scores]:
        return [Scores(step=step, epoch=epoch, scores=self.collector.scores().to_dict())]


def watch(tuner: nn.Module) -> Coach:
    """A ScoreWatch where the tuner updates heads, else a Coach that does nothing."""
    try:
        return ScoreWatch(tuner)
    except errors.NotMeasurable:
        return Coach()
