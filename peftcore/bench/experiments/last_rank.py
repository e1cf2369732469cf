"""LAST's rank, 4 to 64."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

RANKS = (4, 8, 16, 32, 64)


def cells() -> Iterator[Cell]:
    for rank in RANKS:
        yield Cell("LAST", rank, tuned("last", rank=rank, epochs=10))


def answer(found: Found) -> str:
    return found.along("LAST", 16, "rank {}")


EXPERIMENT = Experiment(
    title="Is rank 16 enough for LAST?",
    paper="last",
    asks="The paper attends at rank 16 throughout. How much rank the side network's attention needs on a "
    "smaller backbone and another kind of task is open.",
    x="rank",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    seeds=(0, 1, 2),
    log="x",
    note="10 epochs, where the paper trains 100.",
)
