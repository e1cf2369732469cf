"""Accuracies of methods on tasks over seeds: the runs themselves, kept in logs, and how they are averaged."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from peftcore.cli.output import console
from peftcore.registry import METHODS
from peftcore.spec import RunSpec

Row = Mapping[str, Any]


def measure(
    methods: Iterable[str] = (),
    tasks: Iterable[str] = ("digits",),
    seeds: Iterable[int] = (0, 1, 2),
    logs: Sequence[Path] = (),
    lrs: Sequence[float] = (),
    **recipe: Any,
) -> Iterator[dict[str, Any]]:
    """One row per run: backbone, method, task, seed, lr, epochs, test_accuracy, val_accuracy, seconds, and parameters
    of the method.

    `methods`: all where empty. `logs`: JSON-lines files; runs whose spec is in any of them are read, not made again,
    and new ones are added to the first: an interrupted benchmark goes on, and logs of several processes make one table.
    `lrs`: learning rates to choose from, for each method on each task, by the first seed's validation accuracy (ties
    keep the first); the recipe's own where empty. Runs that only served the choice yield no row.
    """
    seeds, tasks = tuple(seeds), tuple(tasks)
    known = _read(logs)

    def row(**settings: Any) -> dict[str, Any]:
        spec = RunSpec(**settings)
        if spec.key not in known:
            known[spec.key] = {"key": spec.key, **_outcome(spec)}
            if logs:
                _append(logs[0], known[spec.key])
        return {**known[spec.key], **_of(spec)}

    for name in tuple(methods) or METHODS.names():
        for task in tasks:
            one = {**recipe, "method": name, "task": task}
            if lrs:
                one["lr"] = max(lrs, key=lambda lr: row(**one | {"lr": lr, "seed": seeds[0]})["val_accuracy"])
            for seed in seeds:
                yield row(**one, seed=seed)


def _of(spec: RunSpec) -> dict[str, Any]:
    settings = {name: getattr(spec, name) for name in ("backbone", "task", "seed", "lr", "epochs")}
    return settings | {"method": spec.method.name}


def _outcome(spec: RunSpec) -> dict[str, Any]:
    from peftcore.train.loop import run

    result = run(spec)
    return {
        "test_accuracy": result.test_accuracy,
        "val_accuracy": result.val_accuracy,
        "seconds": round(result.seconds, 1),
        "parameters": result.model.parameter_counts()["method"],
        **_of(spec),
    }


def printed(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows; each is printed to standard error as it comes."""
    kept = []
    for row in rows:
        kept.append(row)
        of = f"{row['method']} on {row['task']}, seed {row['seed']}, lr {row['lr']:g}"
        console.print(f"{of}: {row['test_accuracy']:.3f} in {row['seconds']:.0f} s")
    return kept


def by_task(rows: Iterable[Row], method: str) -> dict[str, dict[int, float]]:
    """Test accuracies of a method in percent: task -> seed -> accuracy."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["method"] == method:
            found.setdefault(row["task"], {})[row["seed"]] = 100 * row["test_accuracy"]
    return found


def mean_over(tasks: Sequence[str], accuracies: Mapping[str, Mapping[int, float]]) -> dict[int, float]:
    """Seed -> mean over these tasks, for the seeds that have all of them: fewer tasks would be another average."""
    seeds = set.intersection(*({*accuracies.get(task, ())} for task in tasks)) if tasks else set()
    return {seed: statistics.mean(accuracies[task][seed] for task in tasks) for seed in sorted(seeds)}


def spread(values: Iterable[float]) -> str:
    """'mean ± standard deviation' with one decimal; no deviation of one value, a dash for none."""
    values = list(values)
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def _read(logs: Sequence[Path]) -> dict[str, dict[str, Any]]:
    lines = (line for log in logs if log.exists() for line in log.read_text().splitlines() if line.strip())
    return {row["key"]: row for row in map(json.loads, lines)}


def _append(log: Path, row: Row) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(json.dumps(row) + "\n")
