"""Heart-LoRA: after a warm-up, the least responsive heads lose their update (arXiv 2404.08894)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import Size, Tensor, nn
from torch.optim import Optimizer

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.events import Event, HeadsCut, Scores
from peftcore.methods import Coach
from peftcore.methods._headwise import HeadwisePair, QuantisedHeadwisePair
from peftcore.methods._low_rank import EachOnce, LowRankMethod, Pair, Rank
from peftcore.methods._scores import Collector, HeadScores, Score, energies
from peftcore.methods.bi_lora import Bits

HeadProjections = Annotated[
    tuple[Literal["q", "k", "v"], ...],
    Field(min_length=1, description="Which projections are adapted; their output rows belong to heads."),
    EachOnce,
]
_REPORTS = 10  # of scores through a warm-up, at least, so that even a short one can be watched


class HeartLoRA(LowRankMethod):
    r"""Paper: Heart-LoRA: Low-rank Adaptation with Head-level Responsiveness, arXiv 2404.08894
    Equation: \Delta W_h = s\,B_h A,\quad L - L(\Delta W_h = 0) \approx \langle \partial L / \partial B_h,\, B_h
        \rangle,\quad B_h \to 0 \text{ for the least responsive } h
    Trains: What Bi-LoRA (or LoRA) trains until the cut; then, of B, only the rows of the heads that responded.
    Counts: 2 * projections * L * d * rank
    Choose: To store less than Bi-LoRA, or to learn which heads a task moves. Training costs what LoRA's does.
    Keeps: What LoRA keeps, before and after the cut: the frozen heads keep working. The rows of B that are switched off
        have no gradient, no optimizer state and no place in the file.
    Ours: The score (five to choose from; by default the mean over steps of |<dL/dB_h, B_h>|). A head is switched off in
        all adapted projections together, by the sum of its scores over them. Signed scores: the heads whose update
        lowers the loss least go first. The warm-up is a tenth of the steps, which is the paper's 10 of 100 epochs.
        Weights go on from the warm-up, or restart; one learning-rate schedule spans both phases, and the mask stays as
        it is. After the cut, mean and deviation of a quantised B are those of the rows that are left.
    """

    title = "Heart-LoRA"
    kind = "in-backbone"
    colour = "#D55E00"
    shows = "heads"

    up_front = ("rank", "scope", "n_off", "percent_off")  # what decides how many heads go

    base: Literal["bi_lora", "lora"] = Field("bi_lora", description="Low-rank pairs that are quantised, or plain ones.")
    rank: Rank = 32
    scale: float = Field(1.0, gt=0, le=1000, description="The update is scaled by s.")
    bits: Bits = Field(1, description="Bits per stored weight on base bi_lora; base lora does not quantise.")
    projections: HeadProjections = ("q", "v")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout while training, where the base has it.")
    score: Score = Field("taylor", description="What ranks the heads.")
    scope: Literal["global", "layer"] = Field("global", description="global: one set per stage; layer: one per block.")
    n_off: int | None = Field(None, ge=0, le=1024, description="Heads off in each block; empty: percent_off of them.")
    percent_off: float = Field(40, ge=0, lt=100, description="Percent of each block's heads to cut; one always stays.")
    warmup_epochs: int | None = Field(None, ge=1, le=1000, description="Epochs before the cut; empty: warmup_share.")
    warmup_share: float = Field(0.1, gt=0, lt=1, description="Share of the run's steps before the cut.")
    after_cut: Literal["continue", "restart"] = Field(
        "continue", description="Go on from the warm-up's weights, or start over."
    )
    off: tuple[tuple[int, ...], ...] | None = Field(
        None, description="Heads to switch off, one list per block or one for all: overrules the scores."
    )

    def check(self, backbone: Backbone) -> None:
        super().check(backbone)
        fewest = min(backbone.heads)
        if self.n_off is not None and self.n_off >= fewest:
            raise errors.DoesNotFit(
                f"Heart-LoRA: n_off {self.n_off} leaves no head in a block of {backbone.name} with {fewest}; "
                f"choose 0 to {fewest - 1}, or percent_off where head counts differ."
            )
        if self.off is not None and len(self.off) not in (1, backbone.depth):
            raise errors.DoesNotFit(
                f"Heart-LoRA: off lists heads for {len(self.off)} blocks; {backbone.name} has {backbone.depth}. "
                "Give one list per block, or a single one for all."
            )
        for heads, off in zip(backbone.heads, self._named_off(backbone.depth), strict=True):
            if off and (min(off) < 0 or max(off) >= heads or len(set(off)) >= heads):
                raise errors.DoesNotFit(
                    f"Heart-LoRA: off = {list(off)} does not fit a block of {heads} heads; name heads 0 to {heads - 1} "
                    f"and leave at least one on."
                )

    def check_run(self, epochs: int) -> None:
        if self.warmup_epochs is not None and self.warmup_epochs >= epochs:
            raise errors.InvalidSetting(
                f"Heart-LoRA: a warm-up of {self.warmup_epochs} epochs leaves nothing of a run of {epochs} for the "
                f"second phase; choose fewer than {epochs}, more epochs, or leave warmup_epochs empty for a share of "
                "the run."
            )

    def cut_step(self, epochs: int, per_epoch: int) -> int:
        """The step after which heads are switched off, counted from 1."""
        self.check_run(epochs)
        steps = epochs * per_epoch
        if steps < 2:
            raise errors.InvalidSetting(
                "Heart-LoRA needs a run of at least 2 steps, one before the cut and one after it."
            )
        if self.warmup_epochs is not None:
            return self.warmup_epochs * per_epoch
        return min(max(1, round(self.warmup_share * steps)), steps - 1)

    def counts_off(self, heads: Sequence[int]) -> tuple[int, ...]:
        """How many heads will be switched off in each block, given the blocks' numbers of heads."""
        if self.off is not None:
            return tuple(len(set(off)) for off in self._named_off(len(heads)))
        if self.n_off is not None:
            return (self.n_off,) * len(heads)
        return tuple(min(round(self.percent_off / 100 * h), h - 1) for h in heads)

    def _named_off(self, depth: int) -> tuple[tuple[int, ...], ...]:
        off = self.off or ((),)
        return off * depth if len(off) == 1 else off

    def choose_off(self, scores: HeadScores, heads: Sequence[int], stages: Sequence[Sequence[int]]) -> list[list[int]]:
        """The heads to switch off, by block: those named in `off`, else the least responsive.

        `heads`: of each block. `stages`: block numbers by stage; scope 'global' has one set of heads for each stage.
        """
        if self.off is not None:
            return [sorted(set(off)) for off in self._named_off(len(heads))]
        responsiveness = np.nansum(scores.values, axis=1)  # (layers, heads): over projections
        if scores.score == "taylor_signed":  # <dL/dB_h, B_h> is negative where the update lowers the loss
            responsiveness = -responsiveness
        counts, off = self.counts_off(heads), [list[int]()] * len(heads)
        for group in stages if self.scope == "global" else [[layer] for layer in range(len(heads))]:
            total = responsiveness[list(group), : heads[group[0]]].sum(0)  # (heads,)
            least = np.argsort(total, kind="stable")[: counts[group[0]]]
            for layer in group:
                off[layer] = sorted(map(int, least))
        return off

    def pair(self, d_in: int, d_out: int, heads: int) -> Pair:
        settings = (heads, d_in, d_out, self.rank, self.scale, self.dropout)
        return HeadwisePair(*settings) if self.base == "lora" else QuantisedHeadwisePair(*settings, self.bits)

    def coach(self, model: Any, optimizer: Optimizer, epochs: int, per_epoch: int) -> Coach:
        return HeartCoach(self, model, optimizer, self.cut_step(epochs, per_epoch), per_epoch)

    def state_shapes(self, tuner: nn.Module, state: dict[str, Tensor]) -> dict[str, Size]:
        pairs = {path: pair for path, pair in tuner.named_modules() if isinstance(pair, HeadwisePair)}
        rows = {path: int(state[f"{path}.heads_on"].bool().sum()) * pair.head_dim for path, pair in pairs.items()}
        return {f"{p}.lora_B.weight": Size((rows[p], pair.lora_B.in_features)) for p, pair in pairs.items()}


class HeartCoach(Collector):
    """Scores heads through the warm-up and switches the least responsive ones off after step `cut_at`."""

    def __init__(self, method: HeartLoRA, model: Any, optimizer: Optimizer, cut_at: int, per_epoch: int):
        super().__init__(model.tuner, method.score)
        self.method, self.model, self.optimizer = method, model, optimizer
        self.cut_at, self.every = cut_at, min(per_epoch, max(1, cut_at // _REPORTS))
        self.first = model.adapter_state() if method.after_cut == "restart" else None

    def after_step(self, step: int, epoch: int) -> Iterator[Event]:
        if step == self.cut_at:
            off, scores = self.cut()
            yield Scores(step=step, epoch=epoch, scores=scores.to_dict())
            overruled, left = self.method.off is not None, self.model.parameter_counts()
            yield HeadsCut(step, epoch, off, overruled, scores.to_dict(), left)
        elif step < self.cut_at and step % self.every == 0:
            yield self.event(step, epoch)

    def end_epoch(self, step: int, epoch: int) -> Iterable[Event]:
        return ()  # reported by steps

    def cut(self) -> tuple[list[list[int]], HeadScores]:
        """Switches heads off, with their rows of AdamW's moments; returns them by block, and the scores with mask."""
        scores, backbone = self.scores(), self.model.backbone
        off = self.method.choose_off(scores, backbone.heads, backbone.stages)
        self.close()
        if self.first is not None:
            self.model.load_adapter_state(self.first)
            self.optimizer.state.clear()
        for adapted in self.pairs:
            weight = adapted.pair.lora_B.weight
            rows = weight.shape
            left = adapted.pair.switch_off(off[adapted.layer])
            moments = self.optimizer.state.get(weight, {})
            for name, value in moments.items():
                if value.shape == rows:
                    moments[name] = value[left]
        return off, replace(scores, mask=energies(self.pairs).mask)

    def is_settled(self, step: int) -> bool:
        """Not before heads are off: with all of them on, it is not a Heart-LoRA yet."""
        return step >= self.cut_at


METHOD = HeartLoRA
