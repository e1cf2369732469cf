"""What every method may spend in the table of the mini-VTAB, and the runs that this makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from peftcore.bench._pace import Pace
from peftcore.bench.recipes import TASKS as OF_THE_SEARCH
from peftcore.bench.recipes import order
from peftcore.bench.tasks import MINI_VTAB
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import recipes

TASKS = tuple(task for task in MINI_VTAB if task not in OF_THE_SEARCH)
SEEDS = (0, 1, 2)
EPOCHS = 20  # of the equal epochs, and of the equal memory
LORA_EPOCHS = 10  # whose time is the equal time
MOST_EPOCHS = 200  # that a method takes of it: a linear probe on cached features could have thousands
BATCH = 64
BUDGETS = {
    "epochs": f"{EPOCHS} epochs",
    "time": f"the CPU time of {LORA_EPOCHS} epochs of LoRA",
    "memory": "the bytes of a step of LAST",
}


@dataclass(frozen=True)
class Entry:
    """A line of the table: a method with its recipe, or as published where its recipe departs from that."""

    method: str
    published: bool = False

    @property
    def name(self) -> str:
        return f"{self.method}, as published" if self.published else self.method

    @property
    def title(self) -> str:
        return METHODS.facts(self.method).title + (", as published" if self.published else "")

    def spec(self, backbone: str, task: str, seed: int, epochs: int = EPOCHS) -> RunSpec:
        """With the recipe but for its epochs, which are the budget's."""
        plain = RunSpec(backbone=backbone, method=self.method, task=task, seed=seed, epochs=epochs)
        whole = recipes.at_its_rate(plain) if self.published else recipes.with_recipe(plain, ("epochs",))
        return whole.replace(cache_features="disk") if METHODS.facts(self.method).kind == "side" else whole


def entries(methods: Sequence[str], backbone: str) -> list[Entry]:
    """The lines of the table: LoRA first, since the others are measured against it."""
    found = []
    for method in order(methods):
        found.append(Entry(method))
        if set(recipes.best(method, backbone).values) - set(recipes.NUMBERS):
            found.append(Entry(method, published=True))
    return found


@dataclass(frozen=True)
class Size:
    """Of an entry. bytes: of a step at BATCH images, above the weights. batch: the largest that fits the equal memory,
    at most BATCH; 0 where no single image does. batch_bytes: of a step with that."""

    bytes: int
    batch: int
    batch_bytes: int


def spent(entry: Entry, budget: str, spec: RunSpec, pace: Pace, size: Size) -> RunSpec | None:
    """The run of an entry within a budget; None where it cannot be within it.

    With smaller batches AdamW's rate goes down by the square root, as its noise goes up (Malladi et al. 2022).
    """
    if budget == "time":
        return spec.replace(epochs=min(MOST_EPOCHS, pace.epochs_within(LORA_EPOCHS)))
    if budget == "memory" and size.batch < BATCH:
        return spec.replace(batch_size=size.batch, lr=spec.lr * sqrt(size.batch / BATCH)) if size.batch else None
    return spec


def size(entry: Entry, backbone: str, given: int | None = None) -> Size:
    """The equal memory, `given` in bytes, is by default all that a step of LAST with its recipe needs, weights and all.
    Features lie on disk, mapped, and count by the batch."""
    from peftcore.bench._fitting_batch import largest_batches

    given = given or predicted(Entry("last").spec(backbone, TASKS[0], 0)).peak
    spec = entry.spec(backbone, TASKS[0], 0)
    whole = predicted(spec)
    if whole.peak <= given:
        return Size(whole.above_weights, BATCH, whole.above_weights)
    batch = min(BATCH, largest_batches(spec, [given], **_asked(spec))[given])
    return Size(whole.above_weights, batch, predicted(spec.replace(batch_size=batch)).above_weights if batch else 0)


def predicted(spec: RunSpec) -> Any:
    """The memory of a step."""
    from peftcore.memory.predict import predict_memory

    return predict_memory(spec, **_asked(spec))


def _asked(spec: RunSpec) -> dict[str, Any]:
    from peftcore.features.plan import CachePlan

    plan = {"plan": CachePlan(0, "disk", {}, "")} if spec.method.kind == "side" else {}
    return {"num_classes": 10, **plan}


def runs(
    found: Sequence[Entry], backbone: str, paces: Mapping[str, Pace], made: Mapping[str, Size],
    tasks: Sequence[str] = TASKS, seeds: Sequence[int] = SEEDS, budgets: Sequence[str] = tuple(BUDGETS),
) -> Iterator[tuple[Entry, str, RunSpec]]:  # fmt: skip
    """Every run, in an order in which any beginning is whole: all entries on a task with a seed, budget by budget."""
    for seed in seeds:
        for task in tasks:
            for budget in budgets:
                for entry in found:
                    spec = entry.spec(backbone, task, seed)
                    if run := spent(entry, budget, spec, paces[entry.name], made[entry.name]):
                        yield entry, budget, run
