"""What the Heads page shows of a run: the scores of one projection, or the sum that decided a cut, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import streamlit as st

from app import cached, errors, glossary, heavy, links, navigation
from app.errors import sentences
from app.heads import cut, opinions
from app.subjects import Run, Scores, frames
from peftcore.figures.heads import rank_heads

TRAINING, WHOLE = "training", "output"  # WHOLE: in a projection's place, the head as a whole
SCORES = {
    TRAINING: "taylor, in training",
    "taylor": "taylor, on validation images",
    "taylor_signed": "taylor with its sign, on validation images",
    "energy": "energy, from the weights",
    **opinions.TRAITS,
}
HELP = (
    "**Taylor**: how much the loss would change, to first order, if this head's low-rank update were taken away: "
    "|⟨∂L/∂B, B⟩| over the head's rows of B, a mean over steps. **With its sign**: positive where the loss would fall "
    "without it. **Energy**: the size of the update, ‖ΔW‖ over the head's rows; it needs no image. " + opinions.HELP
)
History = Sequence[tuple[int, Scores]]  # what training collected, by step


@dataclass(frozen=True)
class Shown:
    """values: (layers, heads) that the grid draws. mask: True = kept, None where no head was switched off. decided: the
    score by which heads went, where that is not `values`. spread: what the profile by layer sums. what: `values` in
    words. of: the projection as titles name it; projection: as `Scores.of_projection` takes it, None for the sum."""

    scores: Scores
    values: np.ndarray
    mask: np.ndarray | None
    decided: np.ndarray | None
    spread: np.ndarray
    what: str
    of: str
    projection: str | None

    @cached_property
    def _own(self) -> np.ndarray:
        """Of each layer the first one with these very values: a score that is summed over layers stands in all."""
        own = np.arange(len(self.values))
        for layer in own[1:]:
            now, before = self.values[layer], self.values[layer - 1]
            if np.nan_to_num(now).any() and np.array_equal(now, before, equal_nan=True):  # zeros are no sum
                own[layer] = own[layer - 1]
        return own

    @cached_property
    def ranks(self) -> np.ndarray:
        """Of each head, from 1 for the highest value; NaN where there is none. What stands in several layers counts
        once."""
        first, place = np.unique(self._own, return_inverse=True)
        return rank_heads(self.values[first])[place]

    @property
    def count(self) -> int:
        return int(np.isfinite(self.values[np.unique(self._own)]).sum())

    def together(self, layer: int) -> str:
        """', as in all of layers 1 to 8', where a layer's values are those of others as well."""
        alike = np.flatnonzero(self._own == self._own[layer])
        return f", as in all of layers {alike[0] + 1} to {alike[-1] + 1}" if len(alike) > 1 else ""

    def in_training(self, history: History) -> tuple[list[dict[str, Any]], str]:
        """The scores that training collected, step by step, of the same projection where it has one, and of which."""
        if not history or self.projection in (None, *history[-1][1].projections):
            return frames(history, self.projection), self.of
        return frames(history, None), "+".join(history[-1][1].projections)

    def why_off(self, run: Run, layer: int, head: int) -> str:
        """Why a head was switched off; '' where it was not, or where the grid shows other scores than the cut had."""
        weighed = self.projection is None or self.decided is not None
        off = weighed and self.mask is not None and not self.mask[layer, head]
        return cut.why(run, self.scores, layer, head) if off else ""


def choose_score() -> str:
    """One of SCORES."""
    return links.choice(
        st.selectbox,
        "heads",
        "score",
        "score",
        list(SCORES),
        default=TRAINING,
        show=SCORES.__getitem__,
        help=glossary.linked(HELP),
    )


def scores_of(run: Run, score: str, history: History) -> Scores:
    """The scores asked for. Where training collected none, the page ends with the way to a run with some."""
    if score == TRAINING and not history:
        st.info(
            f"{errors.plain(run.title)} has no head scores. They are collected while LoRA or one of its relatives "
            "trains on q, k or v, and recorded after each epoch.",
            icon=":material/grid_off:",
        )
        spec = run.spec
        navigation.link(
            "launch", "Launch LoRA on this task", method="lora", task=spec["task"], backbone=spec["backbone"]
        )
        st.stop()
    if score in opinions.TRAITS:
        return opinions.scores(run, score)
    measured = run.has_weights and score != TRAINING  # of a recording they are there, or never will be
    if measured and not heavy.agreed_for(run.spec, "to score its heads", key="heads_score"):
        st.stop()
    with sentences(), st.spinner(f"Scoring heads: {SCORES[score]} ..."):
        return history[-1][1] if score == TRAINING else cached.head_scores(run.subject, score)


def choose_projection(run: Run, scores: Scores, score: str) -> Shown:
    """One projection, or what decided where heads were switched off by the scores that training collected."""
    method, every = run.spec["method"], "+".join(scores.projections)
    decided = [cut.DECIDED] if cut.has_one(method) and score == TRAINING else []
    options = [*decided, *scores.projections]
    chosen = links.choice(
        st.segmented_control,
        "heads",
        "projection",
        "projection",
        options,
        default=options[0],
        show=lambda name: every if name == cut.DECIDED else name,
        required=True,
    )
    weighed = scores.decided(method) if decided else None
    if weighed is not None and chosen == cut.DECIDED:  # a layer's share is of its own score
        what = cut.decided(method, scores)
        return Shown(scores, weighed, scores.any_mask(), None, scores.summed(), what, every, None)
    values, mask = scores.of_projection(chosen)
    what = scores.score if chosen == WHOLE else f"{scores.score} in {chosen}"
    return Shown(scores, values, mask, weighed, values, what, chosen, chosen)
