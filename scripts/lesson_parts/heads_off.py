"""Lesson 6: what a LoRA that was trained with all its heads does without some of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.learn.heads_off import IMAGES, RUN, sets_of, units_of
from lesson_parts._shared import example
from peftcore.methods import make_method
from peftcore.methods._scores import energies, head_pairs
from peftcore.probes.effects import without
from peftcore.store import gallery

POINTS, DRAWS = 9, 4  # numbers of heads, orders by chance


def measure() -> dict[str, Any]:
    """Nested sets of heads: in the order of the score, against it, by chance, and by what each head alone costs."""
    lora = example(RUN)
    scores = [event["scores"] for event in gallery.record(RUN)["events"] if event["kind"] == "scores"][-1]
    values = np.nansum(np.array(scores["values"], float), axis=1)  # (layers, heads)
    model, units = lora.model, units_of(lora.model)
    images, labels = lora.images(lora.task.val, IMAGES)
    heads = sorted(units)
    losses, rights, count = without(model, images, labels, [units[head] for head in heads])
    alone = {head: float(loss - losses[0]) for head, loss in zip(heads, losses[1:], strict=True)}
    rng = np.random.default_rng(0)
    least = sorted(heads, key=lambda head: values[head])
    orders = {"score": [least], "against": [least[::-1]], "measured": [sorted(heads, key=alone.__getitem__)]}
    orders["chance"] = [[heads[i] for i in rng.permutation(len(heads))] for _ in range(DRAWS)]
    method: Any = make_method("heart_lora")
    cut = sum(method.counts_off(model.backbone.heads))  # how many Heart-LoRA would switch off
    numbers = sorted({cut, *(round(k) for k in np.linspace(0, len(heads), POINTS))})
    inner = [order for several in orders.values() for order in several]
    found = without(model, images, labels, [s for order in inner for s in sets_of(units, order, numbers[1:-1])])
    everything = without(model, images, labels, [[one for unit in units.values() for one in unit]])
    curves = {}
    parts = iter(zip(*(values[1:].reshape(len(inner), -1) for values in found[:2]), strict=True))
    for name, several in orders.items():
        ends = [(losses[0], everything[0][1]), (rights[0], everything[1][1])]
        both = [[[float(a), *map(float, middle), float(b)] for middle, (a, b) in zip(part, ends, strict=True)]
                for part in (next(parts) for _ in several)]  # fmt: skip
        curves[name] = [{"loss": loss, "accuracy": accuracy} for loss, accuracy in both]
    score_first = [[layer + 1, head + 1] for layer, head in least]
    middle, place = range(1, len(numbers) - 1), numbers.index(cut)
    at_cut = {
        name: {what: float(np.mean([curve[what][place] for curve in several])) for what in ("loss", "accuracy")}
        for name, several in curves.items()
    }
    chance = np.array([curve["loss"] for curve in curves["chance"]])
    beats = sum(curves["score"][0]["loss"][i] < float(chance[:, i].mean()) for i in middle)
    return {
        "run": RUN,
        "images": count,
        "heads": len(heads),
        "off": numbers,
        "curves": curves,
        "alone": [[alone.get((i, j), 0.0) for j in range(values.shape[1])] for i in range(len(values))],
        "energy": np.nansum(energies(head_pairs(model.tuner)).values, axis=1).tolist(),
        "scores": values.tolist(),
        "score": scores["score"],
        "order": score_first,
        "cut": cut,
        "at_cut": at_cut,
        "beats": beats,
        "compared": len(middle),
        "harmless": sum(cost <= 0 for cost in alone.values()),
        "sum_alone": sum(alone.values()),
    }
