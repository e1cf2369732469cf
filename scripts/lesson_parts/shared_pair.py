"""Lesson 7: how much of LoRA's real updates one pair before q, k and v could have made."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from app.learn.shared_pair import PARTS, example, nearest
from lesson_parts import _shared
from peftcore.methods._scores import head_pairs

RUN, RANKS = "lora-digits", (1, 2, 4, 8, 16, 32, 64, 128)


@torch.no_grad()
def measure() -> dict[str, Any]:
    """For each layer and rank the share of the trained update that the nearest shared pair misses."""
    shown = _shared.example(RUN)
    model, own_rank = shown.model, shown.spec["method"]["rank"]
    ranks = sorted(rank for rank in {*RANKS, own_rank} if rank <= model.backbone.width)
    updates: dict[int, dict[str, np.ndarray]] = {}
    for adapted in head_pairs(model.tuner):
        updates.setdefault(adapted.layer, {})[adapted.projection] = adapted.pair.delta().double().numpy()
    missed = []
    for layer, own in sorted(updates.items()):
        sites = [model.backbone.site(model.backbone.blocks[layer], name) for name in PARTS]
        weights = np.concatenate([site.linear.weight[site.rows].double().numpy() for site in sites])
        wanted = np.concatenate([own.get(name, np.zeros_like(next(iter(own.values())))) for name in PARTS])
        missed.append([nearest(weights, wanted, rank).missed for rank in ranks])
    small = {str(share): nearest(*example(share), rank=1).missed for share in (0.0, 0.5, 1.0)}
    return {
        "run": RUN,
        "ranks": ranks,
        "missed": missed,
        "mean": np.mean(missed, axis=0).tolist(),
        "rank": own_rank,
        "width": model.backbone.width,
        "depth": model.backbone.depth,
        "at_its_rank": float(np.mean([row[ranks.index(own_rank)] for row in missed])),
        "at_any_rank": float(np.mean([row[-1] for row in missed])),
        "small": small,
    }
