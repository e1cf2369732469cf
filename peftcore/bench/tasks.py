"""The mini-VTAB: nine embedded tasks in VTAB's three groups, every method on each, with both averages in use."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from peftcore.backbone import embedded
from peftcore.bench._accuracies import Row, by_task, mean_over, measure, printed, spread
from peftcore.cli.output import JSON, answer, names_of
from peftcore.figures.words import how_many
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import conditions
from peftcore.task import GROUPS, task_card

# A benchmark is a fixed list: a task that joins or leaves makes another one.
MINI_VTAB = (
    "house_numbers", "textures", "syllables",  # natural
    "cells", "defects",  # specialised
    "counting", "orientation", "position", "distance",  # structured
)  # fmt: skip
OF_TASKS, OF_GROUPS = "mean of tasks", "mean of groups"


def grouped(tasks: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Group -> its tasks, in the order of the groups; only groups that have any."""
    groups = {task: task_card(task).group for task in tasks}
    found = {group: tuple(task for task, own in groups.items() if own == group) for group in GROUPS}
    return {group: own for group, own in found.items() if own}


def averages(rows: Iterable[Row], tasks: Sequence[str] = MINI_VTAB) -> list[dict[str, Any]]:
    """One entry per backbone and method, the best mean of groups first: accuracies in percent, each a list over seeds.

    "tasks": by task; "groups": by group, the mean over its tasks; "mean of tasks": over all tasks alike; "mean of
    groups": the mean of the group means, as VTAB's papers mostly have it, in which a task of a small group weighs more.
    A mean holds the seeds for which every task of it was run.
    """
    rows, groups = list(rows), grouped(tasks)
    entries = []
    for backbone, method in dict.fromkeys((row["backbone"], row["method"]) for row in rows):
        own = [row for row in rows if (row["backbone"], row["method"]) == (backbone, method)]
        found = by_task(own, method)
        group_means = {group: mean_over(names, found) for group, names in groups.items()}
        entries.append(
            {
                "backbone": backbone,
                "method": method,
                "parameters": own[0]["parameters"],
                "tasks": {task: list(found.get(task, {}).values()) for task in tasks},
                "lr": {row["task"]: row["lr"] for row in own},
                "groups": {group: list(means.values()) for group, means in group_means.items()},
                OF_TASKS: list(mean_over(tasks, found).values()),
                OF_GROUPS: list(mean_over(list(groups), group_means).values()),
            }
        )
    return sorted(entries, key=lambda entry: -statistics.mean(entry[OF_GROUPS] or [0]))


def summary(entries: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Method by group and both averages."""
    return [
        {
            "method": METHODS.facts(entry["method"]).title,
            "trained weights": f"{entry['parameters']:,}",
            **{group: spread(values) for group, values in entry["groups"].items()},
            OF_TASKS: spread(entry[OF_TASKS]),
            OF_GROUPS: spread(entry[OF_GROUPS]),
        }
        for entry in entries
    ]


def by_tasks(entries: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Method by task, and what guessing reaches: one of the classes, which are balanced."""
    rows = [
        {
            "method": METHODS.facts(entry["method"]).title,
            **{task: spread(values) for task, values in entry["tasks"].items()},
        }
        for entry in entries
    ]
    tasks = entries[0]["tasks"] if entries else ()
    chance = {task: f"{100 / len(card.classes):.1f}" for task in tasks if (card := task_card(task)).classes}
    return [*rows, {"method": "Chance", **{task: chance.get(task, "–") for task in tasks}}]


def learning_rates(entries: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Method by task, the learning rate of its runs."""
    return [
        {
            "method": METHODS.facts(entry["method"]).title,
            **{task: f"{entry['lr'][task]:g}" if task in entry["lr"] else "–" for task in entry["tasks"]},
        }
        for entry in entries
    ]


def markdown(entries: Sequence[dict[str, Any]], seeds: int, epochs: int, words: str, lrs: Sequence[float] = ()) -> str:
    """The benchmark as a page: what was run, by which command, the tables, and how they are read."""
    tasks = list(entries[0]["tasks"])
    cards = [task_card(task) for task in tasks]
    settings = "default settings"
    if lrs:
        settings = (
            f"default settings, except for the learning rate: of {', '.join(f'{lr:g}' for lr in lrs)} that with the "
            "best validation accuracy at seed 0, for each method on each task,"
        )
    lines = [
        "# Mini-VTAB" if tuple(tasks) == MINI_VTAB else "# Embedded tasks",
        "",
        f"Test accuracy in percent of {how_many(len({e['method'] for e in entries}), 'method')} with {settings} on "
        f"{how_many(len(tasks), 'embedded task')} in VTAB's groups: mean ± standard deviation over "
        f"{how_many(seeds, 'seed')}, {how_many(epochs, 'epoch')} each. Every task has 800 images to train on, 200 to "
        "validate and 1,000 to test, all of 64 x 64 pixels, drawn by Headroom (the digits of the house numbers are "
        "scikit-learn's). Conditions: "
        f"{conditions.words(RunSpec(task=tasks[0]).to_dict(), (64, 64))}. No epoch was picked on any split. "
        "Trained weights are without the classifier.",
        "",
        f"```\n{words}\n```",
        "",
    ]
    for backbone in dict.fromkeys(entry["backbone"] for entry in entries):
        own = [entry for entry in entries if entry["backbone"] == backbone]
        lines += [f"## {backbone}", "", *pipes(summary(own)), "", *pipes(by_tasks(own)), ""]
        if lrs:
            rates = [rate for entry in own for rate in entry["lr"].values()]
            edge = f"The largest was chosen {rates.count(max(lrs))} of {len(rates)} times; a larger one might do better"
            lines += [f"Learning rates, as chosen. {edge} there.", "", *pipes(learning_rates(own)), ""]
    lines += [
        "## How to read it",
        "",
        "*Mean of tasks* weighs every task alike. *Mean of groups* is the mean of the groups' means, as most papers "
        "on VTAB-1K report it: a task of a small group weighs more in it. The two differ, so numbers are only "
        "comparable to others of the same kind. A dash stands where runs are missing: no average is made of fewer "
        "tasks.",
        "",
        "| task | group | classes | what it asks |",
        "|---|---|---|---|",
        *(f"| `{c.name}` {c.title} | {c.group} | {len(c.classes)} | {c.description} |" for c in cards),
    ]
    return "\n".join(lines)


def pipes(rows: Sequence[dict[str, str]]) -> list[str]:
    head = list(rows[0])
    return [
        f"| {' | '.join(cells)} |"
        for cells in (head, ["---", *["---:"] * (len(head) - 1)], *(r.values() for r in rows))
    ]


def command(
    methods: Annotated[str, typer.Option(help="Names, comma-separated; all where empty.")] = "",
    tasks: Annotated[str, typer.Option(help="Names, comma-separated; the nine of the mini-VTAB where empty.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 3,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    backbones: Annotated[str, typer.Option(help="Names, comma-separated.")] = "vit_micro",
    lrs: Annotated[
        str,
        typer.Option(
            help="Comma-separated learning rates to choose from, for each method on each task, by seed 0's validation "
            "accuracy; the default one where empty."
        ),
    ] = "",
    log: Annotated[
        str,
        typer.Option(
            help="JSON-lines files, comma-separated. Runs found in any are not repeated; new ones are added to the "
            "first. So an interrupted benchmark goes on, and processes with their own --tasks and logs make one table."
        ),
    ] = "",
    markdown_page: Annotated[
        bool, typer.Option("--markdown", help="Print a page of Markdown with this command line in it.")
    ] = False,
    json: JSON = False,
) -> None:
    """The mini-VTAB, nine embedded tasks: every method's accuracy on each, by group, and both kinds of average."""
    names, logs = tuple(names_of(tasks)) or MINI_VTAB, [Path(name) for name in names_of(log)]
    grouped(names)  # an unknown task is refused before the first run
    rates = [RunSpec(lr=lr).lr for lr in names_of(lrs)]  # an impossible one too
    rows = []
    for backbone in names_of(backbones):
        rows += printed(measure(names_of(methods), names, range(seeds), logs, rates, backbone=backbone, epochs=epochs))
    entries = averages(rows, names)
    options = {
        "methods": methods,
        "tasks": tasks,
        "seeds": seeds,
        "epochs": epochs,
        "backbones": backbones,
        "lrs": lrs,
        "log": log,
    }
    if json:
        from peftcore.fetch.weight_files import sha256

        about = {"command": _command_line(options), "seeds": seeds, "epochs": epochs, "lrs": rates}
        about["weights"] = {
            name: sha256([embedded.weights(name)]) for name in names_of(backbones) if name in embedded.names()
        }
        answer(True, {**about, "entries": entries}, "", [])
    elif markdown_page:
        print(markdown(entries, seeds, epochs, f"{_command_line(options)} --markdown", rates))
    else:
        for backbone in names_of(backbones):
            own = [entry for entry in entries if entry["backbone"] == backbone]
            title = f"Test accuracy (%), {backbone}, {epochs} epochs, {seeds} seeds: mean ± deviation"
            answer(False, own, title, summary(own))
            answer(False, own, "By task", by_tasks(own))
            if rates:
                answer(False, own, "Learning rates, as chosen", learning_rates(own))


def _command_line(options: dict[str, Any]) -> str:
    """The command that makes this table, without its empty options."""
    words = [f"--{name} {shlex.quote(str(value))}" for name, value in options.items() if value != ""]
    return " ".join(["python -m peftcore bench tasks", *words])
