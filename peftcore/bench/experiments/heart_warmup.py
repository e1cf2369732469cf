"""Heart-LoRA's warm-up: how long the scores are collected before the cut."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

SHARES = (0.1, 0.25, 0.5, 0.75)


def cells() -> Iterator[Cell]:
    for share in SHARES:
        yield Cell("Heart-LoRA", 100 * share, tuned("heart_lora", warmup_share=share, n_off=5))


def answer(found: Found) -> str:
    return found.along("Heart-LoRA", 10.0, "a warm-up of {:g} %")


EXPERIMENT = Experiment(
    title="How long must heads be watched before the cut?",
    paper="heart_lora",
    asks="The paper warms up for 10 of 100 epochs. A short warm-up scores heads that have hardly moved; a long"
    " one leaves little time to train what stays.",
    x="warm-up (% of the steps)",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    note="4 epochs, 5 of 8 heads off.",
)
