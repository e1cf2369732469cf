"""Serial LoRA's rank."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

RANKS = (2, 4, 8, 16, 32)


def cells() -> Iterator[Cell]:
    for rank in RANKS:
        yield Cell("Serial LoRA", rank, tuned("serial_lora", rank=rank))


def answer(found: Found) -> str:
    return found.along("Serial LoRA", 8, "rank {}")


EXPERIMENT = Experiment(
    title="How much rank does one shared pair need?",
    paper="serial_lora",
    asks="One pair serves q, k and v, so it may need more rank than a pair for each. The paper's ranks were "
    "not in what was read of it.",
    x="rank",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    log="x",
    note="4 epochs.",
)
