"""Test accuracy of every method on the embedded tasks: mean and spread over seeds."""

from __future__ import annotations

import json as js
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..answers import JSON, answer, console, names_of
from ..registry import METHODS
from ..spec import RunSpec

EMBEDDED_TASKS = ("digits", "counting", "orientation")


def measure(
    methods: Iterable[str] = (),
    tasks: Iterable[str] = EMBEDDED_TASKS,
    seeds: Iterable[int] = (0, 1, 2),
    log: Path | None = None,
    **recipe: Any,
) -> Iterator[dict[str, Any]]:
    """One row per run: method, task, seed, test_accuracy, val_accuracy, seconds.

    `log`: a JSON-lines file; runs whose spec is in it already are read from it, so an interrupted benchmark goes on.
    """
    from ..train import run

    known = {}
    if log and log.exists():
        known = {row["key"]: row for row in map(js.loads, log.read_text().splitlines())}
    for name in methods or METHODS.names():
        for task in tasks:
            for seed in seeds:
                spec = RunSpec(method=name, task=task, seed=seed, **recipe)
                if spec.key not in known:
                    result = run(spec)
                    row = {
                        "key": spec.key,
                        "method": name,
                        "task": task,
                        "seed": seed,
                        "test_accuracy": result.test_accuracy,
                        "val_accuracy": result.val_accuracy,
                        "seconds": round(result.seconds, 1),
                        "parameters": result.model.parameter_counts()["method"],
                    }
                    if log:
                        log.parent.mkdir(parents=True, exist_ok=True)
                        with log.open("a") as file:
                            file.write(js.dumps(row) + "\n")
                    known[spec.key] = row
                yield known[spec.key]


def table(rows: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Method by task, 'mean ± standard deviation over seeds' in percent, and the mean of the task means."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault(row["method"], {}).setdefault(row["task"], []).append(100 * row["test_accuracy"])
    tasks = list(dict.fromkeys(task for by_task in found.values() for task in by_task))
    table = []
    for method, by_task in found.items():
        means = [statistics.mean(by_task[t]) for t in tasks if t in by_task]
        cells = {t: _spread(by_task.get(t, [])) for t in tasks}
        table.append(
            {"method": METHODS.load(method).METHOD.card.title, **cells, "mean": f"{statistics.mean(means):.1f}"}
        )
    return table


def _spread(values: list[float]) -> str:
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def command(
    methods: Annotated[str, typer.Option(help="Names at commas; all where empty.")] = "",
    tasks: Annotated[str, typer.Option(help="Names at commas.")] = ",".join(EMBEDDED_TASKS),
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 3,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    backbone: str = "vit_micro",
    log: Annotated[
        str | None, typer.Option(help="A JSON-lines file from which an interrupted benchmark goes on.")
    ] = None,
    json: JSON = False,
) -> None:
    """Test accuracy of every method on the embedded tasks: mean and spread over seeds."""
    rows = []
    recipe = {"backbone": backbone, "epochs": epochs}
    for row in measure(names_of(methods), names_of(tasks), range(seeds), Path(log) if log else None, **recipe):
        rows.append(row)
        console.print(
            f"{row['method']} on {row['task']}, seed {row['seed']}: {row['test_accuracy']:.3f} in {row['seconds']:.0f} s"
        )
    title = f"Test accuracy (%), {backbone}, {epochs} epochs, {seeds} seeds: mean ± deviation"
    answer(json, rows, title, table(rows))
