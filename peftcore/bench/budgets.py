"""The mini-VTAB under three budgets: equal epochs, equal time, equal memory, each method with its measured recipe."""

from __future__ import annotations

import json as json_
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from peftcore import errors
from peftcore.bench._budgets import BUDGETS, SEEDS, TASKS, Entry, Size, entries, predicted, runs, size
from peftcore.bench._pace import Pace
from peftcore.bench._run_log import RunLog
from peftcore.bench.recipes import leave, loaded_backbone, loaded_task
from peftcore.cli.output import JSON, answer, command_line, console, names_of
from peftcore.spec import RunSpec
from peftcore.store.recipes import weights_digest
from peftcore.task import task_card

POINTS = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 56, 80)  # epochs after which a run is validated, and its last


def measured(spec: RunSpec) -> dict[str, Any]:
    """A run of the table: validation by epoch, test after the last one, CPU seconds of each part."""
    from peftcore.bench._curve import curve

    began, busy = time.perf_counter(), time.process_time()
    try:
        found = curve(spec, loaded_backbone(spec.backbone), loaded_task(spec.task), POINTS, test=True)
    except errors.Diverged as error:
        return {"val": {}, "test": None, "why": str(error), "cpu": round(time.process_time() - busy, 2)}
    return {
        "val": found.val,
        "test": found.test,
        "parameters": found.parameters,
        "cpu": round(found.seconds, 2),
        "train_cpu": round(found.cpu[spec.epochs], 2),
        "seconds": round(time.perf_counter() - began, 2),
    }


class Sheet:
    """What a row of the table rests on beside its runs, kept in a JSON file: pace and size of each entry."""

    def __init__(self, path: Path, backbone: str):
        self.path, self.backbone = path, backbone
        self.kept: dict[str, Any] = json_.loads(path.read_text()) if path.exists() else {}

    def paces(self, found: Sequence[Entry]) -> dict[str, Pace]:
        made = {}
        for entry in found:
            spec, lora = (one.spec(self.backbone, TASKS[0], 0) for one in (entry, Entry("lora")))

            def measure(spec: RunSpec = spec, lora: RunSpec = lora) -> dict[str, float]:
                from peftcore.bench._pacer import pace

                return pace(spec, lora, loaded_backbone(self.backbone), loaded_task(TASKS[0])).to_dict()

            made[entry.name] = Pace.from_dict(self._known(f"pace of {entry.name}", spec, measure))
        made["lora"] = replace(made["lora"], ratio=1.0)  # beside itself
        return {name: replace(one, lora=made["lora"].lora) for name, one in made.items()}

    def sizes(self, found: Sequence[Entry]) -> dict[str, Size]:
        made = {}
        last = Entry("last").spec(self.backbone, TASKS[0], 0)
        given = self._known("bytes of the equal memory", last, lambda: {"peak": predicted(last).peak})["peak"]
        for entry in found:

            def measure(entry: Entry = entry) -> dict[str, int]:
                return vars(size(entry, self.backbone, given))

            spec = entry.spec(self.backbone, TASKS[0], 0)
            made[entry.name] = Size(**self._known(f"bytes of {entry.name} within {given}", spec, measure))
        return made

    def _known(self, what: str, spec: RunSpec, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        key = f"{what}: {self.backbone}, {json_.dumps(spec.method.settings(), sort_keys=True)}"
        if key not in self.kept:
            self.kept[key] = measure()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json_.dumps(self.kept, indent=1) + "\n")
        return self.kept[key]


def record(log: RunLog, sheet: Sheet, found: Sequence[Entry], tasks: Sequence[str], words: str) -> dict[str, Any]:
    """What was measured so far, as assets/mini_vtab.json keeps it: one object for each entry and budget, of the tasks
    and seeds that all entries were run on.

    Accuracies are in percent, by task and seed, as is `chance`; `curves`: [epoch, accuracy on validation images] of
    each run.
    """
    paces, made = sheet.paces(found), sheet.sizes(found)
    hours = sum(row["cpu"] for row in log if row["spec"]["backbone"] == sheet.backbone) / 3600
    planned = list(runs(found, sheet.backbone, paces, made, tasks))
    # What is under way stays out: entries share runs between budgets, and some are done long before the others.
    lacking = {(budget, spec.task, spec.seed) for _, budget, spec in planned if log.known(spec) is None}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for entry, budget, spec in planned:
        row = log.known(spec)
        if row is None or row["test"] is None or (budget, spec.task, spec.seed) in lacking:
            continue
        own = made[entry.name]
        one = rows.setdefault((entry.name, budget), {
            "backbone": sheet.backbone, "method": entry.method, "published": entry.published, "budget": budget,
            "parameters": row["parameters"], "epochs": spec.epochs, "batch_size": spec.batch_size, "lr": spec.lr,
            "bytes": own.batch_bytes if budget == "memory" else own.bytes,
            "ratio": paces[entry.name].ratio, "seconds": round(paces[entry.name].seconds(spec.epochs), 2),
            "seconds_before": round(paces[entry.name].seconds(0), 2), "tasks": {}, "curves": {},
        })  # fmt: skip
        one["tasks"].setdefault(spec.task, {})[str(spec.seed)] = round(100 * row["test"], 2)
        curve = [[int(epoch), round(100 * share, 2)] for epoch, share in row["val"].items()]
        if curve:
            one["curves"].setdefault(spec.task, {})[str(spec.seed)] = curve
    return {
        "command": words,
        "tasks": list(tasks),
        "chance": {task: round(100 / len(task_card(task).classes), 2) for task in tasks},
        "weights": {sheet.backbone: weights_digest(sheet.backbone)},
        "core_hours": {sheet.backbone: round(hours, 2)},
        "rows": list(rows.values()),
    }


def with_others(made: dict[str, Any], backbone: str, path: Path) -> dict[str, Any]:
    """A record with what the file has of other backbones, in the file's order."""
    if not path.exists():
        return made
    known = json_.loads(path.read_text())
    kept = {name: known[name] | made[name] for name in ("weights", "core_hours")}
    order = list(dict.fromkeys([*(row["backbone"] for row in known["rows"]), backbone]))
    rows = [*(row for row in known["rows"] if row["backbone"] != backbone), *made["rows"]]
    return made | kept | {"rows": sorted(rows, key=lambda row: order.index(row["backbone"]))}


def command(
    minutes: Annotated[float, typer.Option(min=0, help="When no further run begins; 0 shows what is known.")],
    storage: Annotated[Path, typer.Option(help="JSON lines of the runs; paces and bytes stand in NAME.sheet.json.")],
    backbone: str = "vit_micro",
    methods: Annotated[str, typer.Option(help="Names, comma-separated; all where empty. Always with lora.")] = "",
    tasks: Annotated[str, typer.Option(help="Names, comma-separated.")] = ",".join(TASKS),
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = len(SEEDS),
    budgets: Annotated[str, typer.Option(help=f"Of {', '.join(BUDGETS)}.")] = ",".join(BUDGETS),
    write_to: Annotated[Path | None, typer.Option("--write", help="Where the record goes, as JSON.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/tasks.md.")] = False,
    json: JSON = False,
) -> None:
    """The mini-VTAB under equal epochs, time and memory; can be stopped and resumed, and any part of it is whole."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, leave)
    names, chosen = names_of(tasks), names_of(budgets)
    if wrong := [budget for budget in chosen if budget not in BUDGETS]:
        raise typer.BadParameter(f"There is no budget {wrong[0]!r}; there are {', '.join(BUDGETS)}.")
    found = entries(["lora", *(name for name in names_of(methods) if name != "lora")] if methods else [], backbone)
    log, sheet = RunLog(storage), Sheet(storage.with_name(f"{storage.name}.sheet.json"), backbone)
    until = time.monotonic() + 60 * minutes
    planned = list(runs(found, backbone, sheet.paces(found), sheet.sizes(found), names, range(seeds), chosen))
    try:
        _make(planned if minutes else (), log, until)
    finally:
        made = record(log, sheet, found, names, command_line())
        if write_to:
            made = with_others(made, backbone, write_to)
            write_to.write_text(json_.dumps(made) + "\n")
    if markdown:
        from peftcore.bench._budget_page import page

        print(page(made))
        return
    done = sum(log.known(spec) is not None for _, _, spec in planned)
    title = f"{backbone}: {done} of {len(planned)} runs; {sum(row['cpu'] for row in log) / 3600:.2f} core-hours"
    answer(json, made, title, [_row(one) for one in made["rows"]])


def _make(planned: Iterable[tuple[Entry, str, RunSpec]], log: RunLog, until: float) -> None:
    for entry, budget, spec in planned:
        if log.known(spec) is None:
            if time.monotonic() > until:
                console.print("The time is up; the same command goes on.")
                return
            row = log.row(spec, measured)
            where = f"{spec.task}, seed {spec.seed}, {budget} ({spec.epochs} epochs)"
            reached = "diverged" if row["test"] is None else f"{100 * row['test']:.1f} %"
            console.print(f"{time.strftime('%H:%M:%S')} {entry.name} on {where}: {reached}, {row['cpu']} s")


def _row(one: dict[str, Any]) -> dict[str, Any]:
    from statistics import mean

    cells = {task: f"{mean(values.values()):.1f}" for task, values in one["tasks"].items()}
    name = Entry(one["method"], one["published"]).title
    return {"method": name, "budget": one["budget"], "epochs": one["epochs"], "batch": one["batch_size"], **cells}
