"""The three papers' experiments, one file each: a grid of runs or predictions, and the sentence that answers it.

A new experiment is one file here with EXPERIMENT, an Experiment. `python -m peftcore experiment` and the page
Experiments find it by themselves; what was measured for the repository stands in assets/experiments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from peftcore.bench.experiments._found import Found
from peftcore.registry import METHODS, Registry
from peftcore.spec import RunSpec
from peftcore.store import recipes

PAPERS = ("last", "heart_lora", "serial_lora")  # methods whose papers are asked first, in this order
TASK, EPOCHS = "orientation", 4  # of runs, where an experiment does not need others: LoRA is far ahead of chance here


@dataclass(frozen=True)
class Cell:
    """A point of an experiment: its group, its place on the x axis, the spec that gives it (the seed is set later), and
    which of the measured numbers it is."""

    group: str
    x: float | str
    spec: RunSpec
    value: str = "test"


@dataclass(frozen=True)
class Experiment:
    """What is asked, what is measured for it, and how the numbers answer.

    title: the question. paper: the method whose paper leaves it open. asks: what the paper says, and what it does not.
    x, y: titles of the axes. log: which of them are logarithmic, as in "x" or "xy".
    measure: "accuracy" trains each cell's spec, "memory" predicts the bytes of its training step, "time" takes the CPU
    time of its step beside one of LoRA.
    scale: from the measured number to the unit of y. seeds: of each cell. cells: gives the grid. answer: from the
    numbers, one or two sentences, whichever way they came out. note: what was made smaller than in the paper.
    """

    title: str
    paper: str
    asks: str
    x: str
    y: str
    cells: Callable[[], Iterable[Cell]]
    answer: Callable[[Found], str]
    measure: Literal["accuracy", "memory", "time"] = "accuracy"
    scale: float = 100.0
    seeds: tuple[int, ...] = (0, 1)
    log: str = ""
    note: str = ""
    name: str = ""  # that of its file

    def points(self) -> Iterator[tuple[Cell, int, RunSpec]]:
        """Every cell with every seed, seed by seed, so that any beginning is a whole experiment with fewer seeds."""
        cells = list(self.cells())
        for seed in self.seeds:
            for cell in cells:
                yield cell, seed, seeded(cell.spec, seed)


def seeded(spec: RunSpec, seed: int) -> RunSpec:
    """The spec with this seed; of a task that draws its training images, those of this seed."""
    return spec.replace(seed=seed, task=spec.task.replace("&seed=0", f"&seed={seed}"))


def tuned(
    method: str, *, task: str = TASK, epochs: int = EPOCHS, backbone: str = "vit_micro", **settings: Any
) -> RunSpec:
    """A method with its recipe (store/recipes.py) but for its epochs and the `settings` that the experiment is about.
    Side methods keep their features on disk, where the next run of the grid finds them."""
    plain = RunSpec(backbone=backbone, method={"name": method, **settings}, task=task, epochs=epochs)
    spec = recipes.with_recipe(plain, ("epochs", *settings))
    return spec.replace(cache_features="disk") if METHODS.facts(method).kind == "side" else spec


def sized(method: str, backbone: str, batch_size: int = 32, **settings: Any) -> RunSpec:
    """A spec whose memory is predicted: no weights are read, and nothing is cached before."""
    return RunSpec(
        backbone=backbone, pretrained=False, method={"name": method, **settings}, batch_size=batch_size, device="cpu",
        cache_features=False,
    )  # fmt: skip


EXPERIMENTS = Registry("bench.experiments", "experiment", "EXPERIMENT")


def papers() -> list[str]:
    """The methods whose papers are asked."""
    return list(dict.fromkeys([*PAPERS, *sorted(experiment(name).paper for name in EXPERIMENTS.names())]))


def names() -> list[str]:
    """All experiments, by paper."""
    order = papers()
    return sorted(EXPERIMENTS.names(), key=lambda name: (order.index(experiment(name).paper), name))


def experiment(name: str) -> Experiment:
    """Raises UnknownName."""
    return replace(EXPERIMENTS.load(name).EXPERIMENT, name=name)
