"""The mini-VTAB's record as lessons read it: test accuracy by method, task and seed, whichever way it was recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations, product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from peftcore.figures.budgets import whole
from peftcore.figures.method_style import method_kind, method_title
from peftcore.store import recipes

RECORD = Path(__file__).resolve().parents[2] / "assets" / "mini_vtab.json"
BACKBONE = "vit_micro"
EPOCHS = 5  # of which seconds are said

Results = dict[str, dict[str, list[float]]]  # by method and task, a percentage for each seed


@lru_cache(maxsize=1)
def record() -> dict[str, Any]:
    """The file as it is."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def results() -> Results:
    """Test accuracies in percent of the methods that were all run on the same tasks with the same seeds, in as many
    epochs where there is such a record."""
    found = record()
    if "rows" not in found:
        own = [entry for entry in found["entries"] if entry["backbone"] == BACKBONE]
        return {entry["method"]: dict(entry["tasks"]) for entry in own}
    for budget in ("epochs", "time"):
        rows = [r for r in found["rows"] if (r["backbone"], r["budget"], r["published"]) == (BACKBONE, budget, False)]
        pairs = whole(rows, "tasks")
        if pairs:
            return {row["method"]: _by_task(row["tasks"], pairs) for row in rows}
    return {}


def _by_task(tasks: dict[str, dict[str, float]], pairs: Sequence[tuple[str, str]]) -> dict[str, list[float]]:
    names = dict.fromkeys(task for task, _ in pairs)
    return {name: [tasks[task][seed] for task, seed in pairs if task == name] for name in names}


def since() -> str:
    """What a sentence about these numbers must add where the backbone has changed since they were measured."""
    is_old = record()["weights"].get(BACKBONE) != recipes.weights_digest(BACKBONE)
    return f" (measured with earlier weights of {BACKBONE} than today's)" if is_old else ""


def methods() -> tuple[str, ...]:
    return tuple(results())


def tasks() -> tuple[str, ...]:
    return tuple(next(iter(results().values())))


def seeds() -> int:
    """Of the task with the fewest."""
    return min(len(values) for by_task in results().values() for values in by_task.values())


def mean(method: str) -> float:
    """Percent, over tasks and seeds, each task counting alike."""
    return fmean(fmean(values) for values in results()[method].values())


def weights(method: str) -> int:
    """How many weights it trains beside the classifier."""
    found = record()
    rows = found["rows"] if "rows" in found else found["entries"]
    return next(r["parameters"] for r in rows if (r["backbone"], r["method"]) == (BACKBONE, method))


def best_of(kind: str) -> str:
    """The method of this kind, "in-backbone" or "side", with the highest mean."""
    return max((method for method in methods() if method_kind(method) == kind), key=mean)


def spread(method: str) -> float:
    """The standard deviation over seeds of the mean over tasks, in points; 0 of one seed."""
    means = [fmean(values[seed] for values in results()[method].values()) for seed in range(seeds())]
    return stdev(means) if len(means) > 1 else 0.0


def title(method: str) -> str:
    return method_title(method)


def costs_of(costs: Mapping[str, Any], of: str = "small") -> list[dict[str, Any]]:
    """Accuracy, bytes of a step, seconds of EPOCHS epochs and trained weights of each method, from what
    scripts/lesson_parts/costs.py measured; `of`: "small" or "large", the backbone whose bytes these are."""
    rows = []
    for name in methods():
        if cost := costs["methods"].get(name):
            seconds = costs["epoch_of_lora"] * (cost["features"] + EPOCHS * cost["ratio"])
            size = cost["bytes" if of == "small" else "large_bytes"]
            found = {"method": name, "accuracy": mean(name), "bytes": size, "seconds": seconds}
            rows.append(found | {"weights": cost["weights"]})
    return rows


def best(rows: Sequence[Mapping[str, Any]], **most: float) -> dict[str, Any] | None:
    """The most accurate of these within `most` of bytes, seconds and weights; None where none is."""
    fit = [dict(row) for row in rows if all(row[name] <= bound for name, bound in most.items())]
    return max(fit, key=lambda row: row["accuracy"], default=None)


def family(row: Mapping[str, Any] | None) -> str:
    """What a row's method is, as a choice of a prediction."""
    if row is None:
        return "none fits"
    if row["method"] == "linear":
        return "a linear probe: only the classifier trains"
    side = method_kind(row["method"]) == "side"
    return "a side method such as LAST" if side else "a method in the backbone such as LoRA"


def rolls(first: str, second: str) -> int:
    """How many pairs of single runs there are, one of each method on one task."""
    return sum(len(results()[first][task]) * len(results()[second][task]) for task in tasks())


def against_mean(first: str, second: str) -> int:
    """How many of them name another winner than the means over seeds on that task; a tie names none."""
    return sum(
        (a - b) * (fmean(results()[first][task]) - fmean(results()[second][task])) <= 0
        for task in tasks()
        for a, b in product(results()[first][task], results()[second][task])
    )


def undecided(first: str, second: str) -> int:
    """On how many tasks some pair of single runs names the other winner: where their seeds' ranges overlap."""
    return sum(
        min(results()[a][task]) <= max(results()[b][task]) and min(results()[b][task]) <= max(results()[a][task])
        for task in tasks()
        for a, b in [(first, second)]
    )


def closest() -> tuple[str, str]:
    """The two methods whose means are nearest to each other."""
    return min(combinations(methods(), 2), key=lambda pair: abs(mean(pair[0]) - mean(pair[1])))
