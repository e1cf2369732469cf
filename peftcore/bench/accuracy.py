"""Test accuracy of every method on chosen tasks: mean and spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from peftcore.bench._accuracies import Row, by_task, measure, printed, spread
from peftcore.cli.output import JSON, answer, names_of
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import conditions

TASKS = ("digits", "counting", "orientation")


def table(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Method by task, 'mean ± standard deviation over seeds' in percent, and the mean of the task means."""
    rows = list(rows)
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    table = []
    for method in dict.fromkeys(row["method"] for row in rows):
        found = by_task(rows, method)
        means = [statistics.mean(found[task].values()) for task in tasks if task in found]
        cells = {task: spread(found.get(task, {}).values()) for task in tasks}
        title = METHODS.facts(method).title
        table.append({"method": title, **cells, "mean": f"{statistics.mean(means):.1f}"})
    return table


def command(
    methods: Annotated[str, typer.Option(help="Names, comma-separated; all where empty.")] = "",
    tasks: Annotated[str, typer.Option(help="Names, comma-separated.")] = ",".join(TASKS),
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 3,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    backbone: str = "vit_micro",
    log: Annotated[
        str | None, typer.Option(help="A JSON-lines file from which an interrupted benchmark goes on.")
    ] = None,
    json: JSON = False,
) -> None:
    """Test accuracy of every method on chosen tasks: mean and spread over seeds."""
    recipe: dict[str, Any] = {"backbone": backbone, "epochs": epochs}
    rows = printed(measure(names_of(methods), names_of(tasks), range(seeds), [Path(log)] if log else (), **recipe))
    title = f"Test accuracy (%), {backbone}, {epochs} epochs, {seeds} seeds: mean ± deviation"
    title += f"; {conditions.words(RunSpec(**recipe).to_dict())}"
    answer(json, rows, title, table(rows))
