"""LAST's two shapes: blocks of the backbone per group, and attention modules per group."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

GAPS, STACKS = (1, 2, 4, 8), (1, 2)


def cells() -> Iterator[Cell]:
    for stack in STACKS:
        for gap in GAPS:
            yield Cell(_group(stack), gap, tuned("last", gap=gap, stack=stack, epochs=10))


def _group(stack: int) -> str:
    return f"{stack} module{'s' * (stack > 1)} per group"


def answer(found: Found) -> str:
    best, papers = found.best(), (_group(2), 2)
    said = f"The highest score, {found.mean(best):.1f} %, comes with {best[0]} of {best[1]} block{'s' * (best[1] != 1)}"
    if best == papers:
        return f"{said}: the paper's shape."
    return f"{said}. {found.versus(best, papers, ('That shape', 'the paper’s'))}."


EXPERIMENT = Experiment(
    title="How often should LAST read the backbone, and how deep should it think there?",
    paper="last",
    asks="The paper reads every second block and stacks two attention modules there. Which of the two matters "
    "on a backbone of 8 blocks is open.",
    x="blocks of the backbone per group (gap)",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    log="x",
    note="10 epochs, where the paper trains 100.",
)
