"""Methods on weights of one's own: rates by validation, seeds, seconds and bytes, and heads off beside chance."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from peftcore import errors
from peftcore.bench._accuracies import spread
from peftcore.bench._real_recipes import recipes_of
from peftcore.bench._real_runs import ENTRIES, HEART, SEEDS, Entry, Plan, reached
from peftcore.bench._run_log import RunLog
from peftcore.bench.recipes import leave, loaded_task, write
from peftcore.bench.tasks import pipes
from peftcore.cli.output import JSON, answer, command_line, console, names_of
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import conditions


def command(
    minutes: Annotated[float, typer.Option(min=0, help="When no further run begins; 0 shows what is known.")],
    storage: Annotated[Path, typer.Option(help="JSON lines of the runs; what stops goes on from there.")],
    task: Annotated[str, typer.Option(help="A task's name, as `run --task` takes it.")],
    backbone: Annotated[str, typer.Option(help="timm's name of the model that the weights are for.")],
    weights: Annotated[str | None, typer.Option(help="A file of the backbone's weights.")] = None,
    of_what: Annotated[str, typer.Option(help="What these weights are, for the page.")] = "",
    image_size: Annotated[int | None, typer.Option(help="Pixels; positions are resampled.")] = None,
    methods: Annotated[str, typer.Option(help="Names, comma-separated; all where empty.")] = "",
    epochs: Annotated[int, typer.Option(min=1, help="Of methods in the backbone.")] = 5,
    side_epochs: Annotated[int, typer.Option(min=1, help="Of side methods, whose features are cached.")] = 20,
    write_to: Annotated[Path | None, typer.Option("--write", help="A file of recipes, for those found here.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a page.")] = False,
    json: JSON = False,
) -> None:
    """Methods on a backbone with weights of one's own; can be stopped and resumed, and any part of it is whole."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, leave)
    plain = RunSpec(backbone=backbone, weights=weights, task=task, image_size=image_size, method="linear")
    log, until = RunLog(storage), time.monotonic() + 60 * minutes
    plan = Plan(plain, epochs, side_epochs, _backbone(plain).heads[0], entries=_entries(names_of(methods)))
    if minutes:
        _make(plan, log, until)
    if write_to is not None:
        write(recipes_of(plan, log, of_what, command_line()), write_to)
    rows, cuts = table(plan, log), heads(plan, log)
    if markdown:
        print(page(plan, log, rows, cuts, of_what, command_line()))
        return
    answer(json, {"methods": rows, "heads": cuts}, f"{backbone} on {task}", [_shown(row) for row in rows])


def _entries(methods: Sequence[str]) -> tuple[Entry, ...]:
    known = list(dict.fromkeys(entry.settings["name"] for entry in ENTRIES))
    if wrong := [name for name in methods if name not in known]:
        raise typer.BadParameter(f"There is no line for {wrong[0]!r}; there are {', '.join(known)}.")
    return tuple(entry for entry in ENTRIES if entry.settings["name"] in (methods or known))


def _make(plan: Plan, log: RunLog, until: float) -> None:
    for spec in plan.runs(log):
        if log.known(spec) is None:
            if time.monotonic() > until:
                console.print("The time is up; the same command goes on.")
                return
            row = log.row(spec, measured)
            what = "diverged" if row["test"] is None else f"{100 * row['test']:.1f} %"
            more = {name: value for name, value in row["spec"]["method"].items() if name in ("off", "n_off") and value}
            about = f"{spec.method.name} {more or ''} at {spec.lr:g}, seed {spec.seed}"
            console.print(f"{time.strftime('%H:%M:%S')} {about}: {what}, {row['cpu']} s", highlight=False)


_loaded: dict[tuple[Any, ...], Any] = {}


def _backbone(spec: RunSpec) -> Any:
    from peftcore.backbone.load import load_backbone

    key = (spec.backbone, spec.weights, spec.image_size)
    if key not in _loaded:
        _loaded[key] = load_backbone(spec.backbone, weights=spec.weights, img_size=spec.image_size)
    return _loaded[key]


def measured(spec: RunSpec) -> dict[str, Any]:
    """Validation and test after the last epoch, None where it diverged; CPU seconds in all, and of training alone."""
    from peftcore.bench._curve import curve

    busy = time.process_time()
    try:
        found = curve(spec, _backbone(spec), loaded_task(spec.task), test=True)
    except errors.Diverged as error:
        return {"val": None, "test": None, "why": str(error), "cpu": round(time.process_time() - busy, 2)}
    return {
        "val": found.val[spec.epochs],
        "test": found.test,
        "parameters": found.parameters,
        "cpu": round(time.process_time() - busy, 2),
        "train_cpu": round(found.cpu[spec.epochs] + found.features, 2),
    }


def table(plan: Plan, log: RunLog) -> list[dict[str, Any]]:
    """A row for each entry whose rate is found: rate, accuracies by seed in percent, seconds of training (the least of
    the seeds, since a side method's first run computes the features of all), bytes of a step above the weights."""
    rows = []
    for entry in plan.entries:
        lr, done = plan.rate(entry, log)
        specs = [plan.spec(entry, lr, seed) for seed in plan.seeds]
        known = {spec.seed: row for spec in specs if (row := log.known(spec)) is not None}
        if not done:
            continue
        first = known[plan.seeds[0]]
        rows.append(
            {
                "title": entry.title,
                "lr": lr,
                "epochs": specs[0].epochs,
                "parameters": first.get("parameters"),
                "seconds": min((row["train_cpu"] for row in known.values() if "train_cpu" in row), default=None),
                "bytes": _bytes(specs[0]),
                "test": {seed: reached(row) for seed, row in known.items()},
            }
        )
    return rows


def _bytes(spec: RunSpec) -> int:
    from peftcore.features.plan import CachePlan
    from peftcore.memory.predict import predict_memory

    side = METHODS.facts(spec.method.name).kind == "side"
    plan = CachePlan(0, "disk", {}, "") if side else None
    return predict_memory(spec, num_classes=len(loaded_task(spec.task).classes), plan=plan).above_weights


def heads(plan: Plan, log: RunLog) -> list[dict[str, Any]]:
    """For each number of heads off: accuracies with the score's choice by seed, and of each random mask with its seed,
    in percent."""
    lr, done = plan.rate(HEART, log)
    found = []
    for count in range(1, plan.heads // 2 + 1) if done else ():
        own = {seed: reached(log.known(plan.spec(HEART, lr, seed, n_off=count))) for seed in plan.seeds}
        masks = [
            (list(mask), seed, value)
            for mask, seed in plan.masks(count)
            if (value := reached(log.known(plan.spec(HEART, lr, seed, n_off=None, off=(mask,))))) is not None
        ]
        kept = {seed: value for seed, value in own.items() if value is not None}
        if kept:
            found.append({"off": count, "own": kept, "random": masks})
    return found


def apart(cut: dict[str, Any]) -> tuple[float, float] | None:
    """The score's choice less random masks of the same seed: mean in points, and its standard error over the masks;
    None of fewer than two."""
    values = [cut["own"][seed] - value for _, seed, value in cut["random"] if seed in cut["own"]]
    if len(values) < 2:
        return None
    return statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5


def page(
    plan: Plan, log: RunLog, rows: Sequence[dict[str, Any]], cuts: Sequence[dict[str, Any]], of_what: str, words: str
) -> str:
    """Markdown of what is there."""
    task, spec = loaded_task(plan.plain.task), plan.plain
    said = conditions.words(spec.to_dict(), None)
    lines = [
        "# Methods on real weights",
        "",
        f"{of_what or spec.backbone} on `{task.name}`: {len(task.train):,} images to train on, {len(task.val):,} to "
        f"validate, {len(task.test):,} to test, read at {spec.image_size or 'their own'} pixels. Each method's rate is "
        f"the best by validation with seed {plan.seeds[0]}, with none better on either side; no epoch was picked. "
        f"Side methods train for {plan.side_epochs} epochs from cached features, the others for {plan.epochs}. "
        f"Conditions: {said}. All runs together took {sum(row['cpu'] for row in log) / 3600:.1f} core-hours, one "
        "thread each.",
        "",
        f"```\n{words}\n```",
        "",
        "makes this page. It needs the weights and the images, neither of which travels with Headroom.",
        "",
        *pipes([_shown(row) for row in rows]),
        "",
        "*Seconds*: training, of the processor, the least of the seeds. "
        f"{_once(log, len(task.train) + len(task.val) + len(task.test))}"
        f"*MB above the weights*: of a step, as `predict` gives them, batch {spec.batch_size}.",
    ]
    if cuts:
        lines += ["", "## Heads off, by the score and at random", "", *_cuts(plan, cuts)]
    return "\n".join(lines)


def _once(log: RunLog, images: int) -> str:
    """What frozen features cost, by the first run of each side method, which computes what the others read."""
    paid = {}
    for method in dict.fromkeys(entry.settings["name"] for entry in ENTRIES if entry.is_side):
        rows = [row for row in log if row["spec"]["method"]["name"] == method and "train_cpu" in row]
        seconds = sorted(row["train_cpu"] for row in rows)
        if len(seconds) > 1:
            paid[METHODS.facts(method).title] = seconds[-1] - seconds[-2]
    if not paid:
        return ""
    each = " and ".join(f"{seconds:.0f} s for {title}" for title, seconds in paid.items())
    return f"Side methods read frozen features from disk; those of all {images:,} images took {each} more, once. "


def _cuts(plan: Plan, cuts: Iterable[dict[str, Any]]) -> list[str]:
    shown = []
    for cut in cuts:
        values = [value for *_, value in cut["random"]]
        found = apart(cut)
        shown.append(
            {
                "heads off": f"{cut['off']} of {plan.heads}",
                "by the score": f"{spread(cut['own'].values())} ({len(cut['own'])} seeds)",
                "random masks": f"{spread(values)} ({len(values)} masks)",
                "lowest to highest": f"{min(values):.1f} to {max(values):.1f}" if values else "–",
                "score minus random": "–" if found is None else f"{round(found[0], 1) + 0.0:+.1f} ± {found[1]:.1f}",
            }
        )
    note = "*Score minus random*: of the same seed, the mean of the differences in points ± its standard error."
    return [*pipes(shown), "", note]


def _shown(row: dict[str, Any]) -> dict[str, str]:
    known = [value for value in row["test"].values() if value is not None]
    return {
        "method": row["title"],
        "trained weights": f"{row['parameters']:,}" if row["parameters"] is not None else "–",
        "learning rate": f"{row['lr']:g}",
        "epochs": str(row["epochs"]),
        "seconds": f"{row['seconds']:.0f}" if row["seconds"] is not None else "–",
        "MB above the weights": f"{row['bytes'] / 1e6:.0f}",
        "test accuracy": f"{spread(known)} ({len(known)} of {len(SEEDS)} seeds)" if known else "diverged",
    }
