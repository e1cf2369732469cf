"""LAST with and without its bias correction."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

TASKS = ("digits", "orientation", "position")
ON, OFF = "with the correction", "without it"


def cells() -> Iterator[Cell]:
    for group, on in ((ON, True), (OFF, False)):
        for task in TASKS:
            yield Cell(group, task, tuned("last", task=task, bias_correction=on, epochs=10))


def answer(found: Found) -> str:
    names = ("LAST with the correction", "LAST without the correction")
    each = [found.versus((ON, task), (OFF, task), names) for task in TASKS]
    return ". ".join(f"On {task}, {text}" for task, text in zip(TASKS, each, strict=True)) + "."


EXPERIMENT = Experiment(
    title="What does LAST's bias correction bring?",
    paper="last",
    asks="The side network reads the sum of all frozen features; the correction takes it out again before the "
    "classifier. The final norm might do as well.",
    x="task",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    seeds=(0, 1, 2),
    note="10 epochs, where the paper trains 100.",
)
