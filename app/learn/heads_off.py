"""Heads of a recorded LoRA, switched off in an order: what it costs, measured while one waits. Torch where it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.worker_process import say

RUN = "lora-digits"
IMAGES = 200  # of validation, the first ones
POINTS = 6  # at most so many numbers of heads are measured

Head = tuple[int, int]  # layer and head, from 0


def units_of(model: Any) -> dict[Head, list[Any]]:
    """The updates of each head of each layer, all its projections together."""
    from peftcore.probes.effects import heads_of

    found: dict[Head, list[Any]] = {}
    for layer, projection, head in heads_of(model, "update"):
        found.setdefault((layer, head), []).append((layer, projection, head))
    return found


def sets_of(units: Mapping[Head, Sequence[Any]], order: Sequence[Head], numbers: Sequence[int]) -> list[list[Any]]:
    """For each of `numbers` the updates of so many heads, the first ones of the order."""
    return [[one for head in order[:number] for one in units[head]] for number in numbers]


def numbers_of(count: int) -> list[int]:
    """Which numbers of heads are measured of a choice of `count`: at most POINTS, evenly, the last among them."""
    every = min(count, POINTS)
    return sorted({round(count * (i + 1) / every) for i in range(every)})


def curve(adapter: bytes, spec: Mapping[str, Any], order: Sequence[Head]) -> dict[str, list[float]]:
    """`off`, `loss` and `accuracy` while the heads go in this order, `off` from none to all of them."""
    from app.heads.measuring import Given, load
    from peftcore.probes.effects import without

    model, x, y = load(Given(adapter, spec, []), IMAGES)
    numbers = numbers_of(len(order))
    losses, rights, _ = without(model, x, y, sets_of(units_of(model), order, numbers), progress=say)
    return {"off": [0, *numbers], "loss": losses.tolist(), "accuracy": rights.tolist()}
