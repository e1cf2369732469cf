"""The mini-VTAB's record as lessons read it: test accuracy by method, task and seed, under an equal budget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations, product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from peftcore.figures.budgets import EQUAL, by_task, equal, even, whole
from peftcore.figures.budgets import after as curves_after
from peftcore.figures.method_style import method_kind, method_title
from peftcore.store import recipes

RECORD = Path(__file__).resolve().parents[2] / "assets" / "mini_vtab.json"
BACKBONE = "vit_micro"

Results = dict[str, dict[str, list[float]]]  # by method and task, a percentage for each seed


@lru_cache(maxsize=1)
def record() -> dict[str, Any]:
    """The file as it is."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def budget() -> str:
    """What was equal, "in equal time"."""
    return EQUAL[equal(record()["rows"], BACKBONE)[0]]


@lru_cache(maxsize=1)
def results() -> Results:
    """Test accuracies in percent of the methods that were all run on the same tasks with the same seeds, as many on
    each task."""
    pairs = even(whole(_all(), "tasks"))
    return {row["method"]: by_task(row, pairs) for row in _all() if not row["published"]}


def rows() -> list[dict[str, Any]]:
    """The record's rows of BACKBONE under that budget, each method with its measured recipe."""
    return [row for row in _all() if not row["published"]]


def _all() -> list[Any]:
    return list(equal(record()["rows"], BACKBONE)[1])


def since() -> str:
    """What a sentence about these numbers must add where the backbone has changed since they were measured."""
    is_old = record()["weights"].get(BACKBONE) != recipes.weights_digest(BACKBONE)
    return f" (measured with earlier weights of {BACKBONE} than today's)" if is_old else ""


def methods() -> tuple[str, ...]:
    return tuple(results())


def tasks() -> tuple[str, ...]:
    return tuple(next(iter(results().values())))


def seeds() -> int:
    """Of each task."""
    return len(next(iter(next(iter(results().values())).values())))


def mean(method: str) -> float:
    """Percent, over tasks and seeds, each task counting alike."""
    return fmean(fmean(values) for values in results()[method].values())


def weights(method: str) -> int:
    """How many weights it trains beside the classifier."""
    return next(row["parameters"] for row in rows() if row["method"] == method)


def epochs(method: str) -> int:
    """How many it trained."""
    return next(row["epochs"] for row in rows() if row["method"] == method)


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
    """Accuracy, seconds of training and trained weights of each method, and the bytes of a step that
    scripts/lesson_parts/costs.py measured; `of`: "small" or "large", the backbone whose bytes these are."""
    size = "bytes" if of == "small" else "large_bytes"
    seconds = {row["method"]: row["seconds"] for row in rows()}
    return [
        {
            "method": name,
            "accuracy": mean(name),
            "bytes": cost[size],
            "seconds": seconds[name],
            "weights": cost["weights"],
        }
        for name in methods()
        if (cost := costs["methods"].get(name))
    ]


def after(seconds: float) -> dict[str, float]:
    """Validation accuracy in percent after so much training, by method, from the curves of equal time."""
    timed = [row for row in rows() if row["budget"] == "time"]
    titles = {method_title(row["method"]): row["method"] for row in timed}
    return {titles[title]: value for title, value in curves_after(timed, seconds).items()} if timed else {}


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
    """How many of them the method wins whose mean over seeds on that task is lower; a tie is no win."""
    return sum(
        (a - b) * (fmean(results()[first][task]) - fmean(results()[second][task])) < 0
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
