"""docs/tasks.md, from the record of the mini-VTAB's runs: a table for each budget, and how each was made equal."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from peftcore.bench._accuracies import spread
from peftcore.bench._budgets import BATCH, BUDGETS, EPOCHS, LORA_EPOCHS, MOST_EPOCHS, Entry
from peftcore.bench.recipes import TASKS as OF_THE_SEARCH
from peftcore.bench.tasks import grouped, pipes
from peftcore.figures.budgets import by_task, whole
from peftcore.figures.words import how_many, in_a_row
from peftcore.spec import RunSpec
from peftcore.store import conditions, recipes
from peftcore.store.results import wilson
from peftcore.task import task_card

TEST_IMAGES = 1000
MUCH = 3.0  # points that longer training loses before it is said
Row = Mapping[str, Any]
HOW = {
    "epochs": f"Every method trains for {EPOCHS} epochs with batches of {BATCH}.",
    "time": f"Every method trains for as many epochs as fit into the CPU time of {LORA_EPOCHS} epochs of LoRA, "
    "timed by alternating steps of both in one process; side methods also pay for the frozen features of all training "
    f"images once, and none takes more than {MOST_EPOCHS} epochs. Each is a run of its own, whose rate decays over "
    "just these epochs. Evaluation is not counted for any method.",
    "memory": f"Every method has the bytes that a step of LAST with its recipe and batches of {BATCH} takes in all, "
    "weights included, as `predict` gives them; cached features lie on disk, mapped. Its batch is the largest that "
    f"fits, its rate goes down by the square root of the batch, and it trains for {EPOCHS} epochs. Seconds are "
    f"those of as many epochs with batches of {BATCH}.",
}


def page(record: Mapping[str, Any]) -> str:
    """Markdown of everything that is whole: tasks and seeds on which every entry of a budget was run."""
    rows = record["rows"]
    parts = [(backbone, budget) for backbone in dict.fromkeys(row["backbone"] for row in rows) for budget in BUDGETS]
    of = {part: [row for row in rows if (row["backbone"], row["budget"]) == part] for part in parts}
    pairs = {part: found for part, own in of.items() if (found := whole(own, "tasks"))}
    covered = {task for found in pairs.values() for task, _ in found}
    tasks = [task for task in record["tasks"] if task in covered]
    borrowed = recipes.unmeasured((row["method"], row["backbone"]) for row in rows)
    lines = [
        "# Mini-VTAB under equal budgets",
        "",
        f"Test accuracy in percent of each method with the recipe measured for it (`assets/recipes.json`), on "
        f"{len(tasks)} embedded tasks of VTAB's three groups. The recipes were chosen by validation on three others, "
        f"one of each group: {', '.join(f'`{task}`' for task in OF_THE_SEARCH)}. Every task has 800 images to train "
        f"on, 200 to validate and {TEST_IMAGES:,} to test, of 64 x 64 pixels, drawn by Headroom. Conditions: "
        f"{conditions.words(RunSpec(task=tasks[0]).to_dict(), (64, 64))}. All runs together took "
        f"{sum(record['core_hours'].values()):.1f} core-hours, one thread each.{borrowed}",
        "",
        f"```\n{record['command']}\n```",
        "",
        "shows the runs that its storage holds, one a line with settings and validation curve; with more minutes it "
        f"goes on from there.{_missing(pairs)}",
        "",
    ]
    for (backbone, budget), found in pairs.items():
        tables = _tables(of[backbone, budget], found)
        how = HOW[budget] + (_too_long(of[backbone, "epochs"], of[backbone, "time"]) if budget == "epochs" else "")
        lines += [f"## {backbone}: {BUDGETS[budget]}", "", how, "", *tables, ""]
    return "\n".join([*lines, *_reading(tasks)])


def _missing(pairs: Iterable[tuple[str, str]]) -> str:
    """What the page has no table of yet."""
    there = set(pairs)
    lacking = [
        f"{backbone} with {what}"
        for backbone in dict.fromkeys(backbone for backbone, _ in there)
        for budget, what in BUDGETS.items()
        if (backbone, budget) not in there
    ]
    return f" Not measured yet: {'; '.join(lacking)}." if lacking else ""


def _too_long(longer: Sequence[Row], shorter: Sequence[Row]) -> str:
    """Which methods reach less in the equal epochs than after fewer, on the same tasks and seeds."""
    pairs = [pair for pair in whole(longer, "tasks") if pair in whole(shorter, "tasks")]
    found = []
    for row in longer:
        for other in shorter:
            if _title(other) == _title(row) and other["epochs"] < row["epochs"] and pairs:
                now, then = _mean(row, pairs), _mean(other, pairs)
                if now - then < -MUCH:
                    found.append(f"{_title(row)} ({now:.1f} in place of {then:.1f} after {other['epochs']})")
    if not found:
        return ""
    return (
        f" Rates are the recipes', chosen with fewer epochs; with {EPOCHS} some end lower, as [Recipes](recipes.md) "
        f"explains: {in_a_row(found)}."
    )


def _mean(row: Row, pairs: Sequence[tuple[str, str]]) -> float:
    """Over tasks, of the means over their seeds."""
    return statistics.mean(map(statistics.mean, by_task(row, pairs).values()))


def difference(row: Row, peer: Row, pairs: Iterable[tuple[str, str]]) -> tuple[float, float | None]:
    """Mean of the differences of the same task and seed, in points, and its standard error; None of one pair."""
    values = [row["tasks"][task][seed] - peer["tasks"][task][seed] for task, seed in pairs]
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return statistics.mean(values), error


def _tables(rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> list[str]:
    tasks = list(dict.fromkeys(task for task, _ in pairs))
    counts = sorted({len(own) for own in by_task(rows[0], pairs).values()})
    peer = next((row for row in rows if row["method"] == "lora"), None)  # none where no image fits
    means = {id(row): _mean(row, pairs) for row in rows}
    ordered = sorted(rows, key=lambda row: -means[id(row)])
    summary, tasks_of = [], []
    for row in ordered:
        values = by_task(row, pairs)
        groups = {
            group: f"{statistics.mean(statistics.mean(values[task]) for task in own):.1f}"
            for group, own in grouped(tasks).items()
        }
        to_lora = ""
        if peer and row is not peer:
            apart, error = difference(row, peer, pairs)
            to_lora = f"{apart:+.1f}" + (f" ± {error:.1f}" if error is not None else "")
        summary.append(
            {
                "method": _title(row),
                "trained weights": f"{row['parameters']:,}",
                "epochs": str(row["epochs"]),
                "batch": str(row["batch_size"]),
                "learning rate": f"{row['lr']:.2g}",
                "seconds": f"{row['seconds']:.0f}",
                "MB above the weights": f"{row['bytes'] / 1e6:.0f}",
                **groups,
                "mean of tasks": f"{means[id(row)]:.1f}",
                "to LoRA": to_lora,
            }
        )
        tasks_of.append({"method": _title(row), **{task: spread(values[task]) for task in tasks}})
    chance = {task: f"{100 / len(task_card(task).classes):.1f}" for task in tasks}
    widest = max(_half_width(row["tasks"][task][seed]) for row in rows for task, seed in pairs)
    seeds = f"{counts[0]} to " * (len(counts) > 1) + how_many(counts[-1], "seed")
    return [
        f"{how_many(len(pairs), 'run')} each: {how_many(len(tasks), 'task')}, {seeds}.{_without_curves(rows, pairs)}",
        "",
        *pipes(summary),
        "",
        *pipes([*tasks_of, {"method": "Chance", **chance}]),
        "",
        f"The 95 % interval (Wilson) of one run's accuracy reaches {widest:.1f} points to either side at most.",
    ]


def _without_curves(rows: Sequence[Row], pairs: Iterable[tuple[str, str]]) -> str:
    curved = whole(rows, "curves")
    lacking = sum(pair not in curved for pair in pairs)
    return f" No validation curve was kept for {lacking} of them." if lacking else ""


def _half_width(percent: float) -> float:
    low, high = wilson(percent / 100, TEST_IMAGES)
    return 50 * (high - low)


def _title(row: Row) -> str:
    return Entry(row["method"], row["published"]).title


def _reading(tasks: Sequence[str]) -> list[str]:
    return [
        "## How to read it",
        "",
        "*Mean of tasks* weighs every task alike. By task: mean ± standard deviation over seeds. *To LoRA*: the mean "
        "of the differences of runs of the same task and seed, ± its standard error. *Seconds*: training and frozen "
        "features, at LoRA's own pace on the machine that ran them, one thread. *MB above the weights*: of one "
        "training step.",
        "",
        "| task | group | classes | what it asks |",
        "|---|---|---|---|",
        *(
            f"| `{card.name}` {card.title} | {card.group} | {len(card.classes)} | {card.description} |"
            for card in map(task_card, tasks)
        ),
    ]
