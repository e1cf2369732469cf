"""Heads switched off in the order of a score: the curve that a score has to win against random order."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from peftcore.methods._scores import HeadScores
from peftcore.model import TunedModel
from peftcore.probes.effects import Head, HeadEffects, Of, Progress, heads_of, without


def head_deletion(
    model: TunedModel,
    images: Any,
    labels: Any,
    scores: HeadScores,
    of: Of = "update",
    points: int = 17,
    draws: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Switches more and more heads off, in all projections together: the least responsive first by the sum of their
    scores, the most responsive first, and `draws` times in random order.

    Returns one row for each order and number of heads: order ("least", "most", "random"), draw, off, loss, accuracy.

    Raises: as `head_effects`.
    """
    units: dict[tuple[int, int], list[Head]] = defaultdict(list)
    for (layer, projection, head), on in heads_of(model, of).items():
        if on:
            units[layer, head].append((layer, projection, head))
    sign = -1 if scores.score == "taylor_signed" else 1  # which is negative where the update lowers the loss
    total = sign * np.nansum(scores.values, axis=1)  # (layers, heads)
    least, rng = sorted(units, key=lambda unit: total[unit]), np.random.default_rng(seed)
    orders = [("least", 0, least), ("most", 0, least[::-1])]
    orders += [("random", i, [least[j] for j in rng.permutation(len(least))]) for i in range(draws)]
    counts = sorted({round(k) for k in np.linspace(0, len(least), points)})
    sets = [[head for unit in order[:k] for head in units[unit]] for *_, order in orders for k in counts]
    losses, rights, _ = without(model, images, labels, sets, of, progress)
    rows = [(name, draw, k) for name, draw, _ in orders for k in counts]
    return pd.DataFrame(rows, columns=["order", "draw", "off"]).assign(loss=losses[1:], accuracy=rights[1:])


def grid_of(effects: HeadEffects, metric: str = "loss") -> HeadScores:
    """The changes of "loss" or "accuracy" as a grid like that of any score."""
    return HeadScores(getattr(effects, metric), effects.projections, effects.layers, f"{metric}_change")
