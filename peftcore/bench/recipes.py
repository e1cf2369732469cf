"""The search for each method's recipe on an embedded backbone: learning rate, epochs, weight decay, options of ours.

Chosen by validation over seeds 0 to 2 on one task of each of VTAB's groups, which the mini-VTAB's table leaves out:
the one on which, in the table of before, LoRA was furthest ahead of a linear probe. Differences between recipes show
best there above the noise of 200 validation images.
"""

from __future__ import annotations

import json as json_
import math
import signal
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peftcore import errors
from peftcore.cli.output import JSON, answer, command_line, console, names_of
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import recipes

if TYPE_CHECKING:
    from peftcore.bench._search import Search

TASKS = ("position", "syllables", "cells")  # structured, natural, specialised
# Those that demos propose most come first; where time ends, the rest keeps what was known before.
FIRST = ("lora", "heart_lora", "serial_lora", "last", "linear")


def order(names: Sequence[str] = ()) -> list[str]:
    """The methods to search, the most used first; all where none is named."""
    for name in names:
        METHODS.facts(name)
    return list(names) or [*FIRST, *(name for name in METHODS.names() if name not in FIRST)]


@cache
def loaded_backbone(name: str) -> Any:
    from peftcore.backbone.load import load_backbone

    return load_backbone(name)


@cache
def loaded_task(name: str) -> Any:
    from peftcore.task import load_task

    return load_task(name)


def measured(spec: RunSpec) -> dict[str, Any]:
    """A run of the search: validation after the last epoch, None where it diverged; seconds, and CPU seconds."""
    from peftcore.bench._curve import curve

    began, busy = time.perf_counter(), time.process_time()
    try:
        found = curve(spec, loaded_backbone(spec.backbone), loaded_task(spec.task))
        row: dict[str, Any] = {"val": found.val[spec.epochs], "parameters": found.parameters}
    except errors.Diverged as error:
        row = {"val": None, "why": str(error)}
    return row | {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu": round(time.process_time() - busy, 2),
    }


def write(entries: Iterable[dict[str, Any]], path: Path) -> None:
    """Puts these recipes in place of those of the same method and backbone; the others stay."""
    from filelock import FileLock

    with FileLock(path.with_suffix(".lock")):
        known = json_.loads(path.read_text()) if path.exists() else []
        by_pair = {(entry["backbone"], entry["method"]): entry for entry in [*known, *entries]}
        ordered = [by_pair[pair] for pair in sorted(by_pair, key=lambda pair: (pair[0] != "vit_micro", pair))]
        new = path.with_suffix(".new")
        new.write_text(json_.dumps(ordered, indent=1) + "\n")
        new.replace(path)


def command(
    minutes: Annotated[float, typer.Option(min=0, help="When no further run begins; 0 only writes what is known.")],
    storage: Annotated[Path, typer.Option(help="Optuna's journal; runs are kept beside it, in NAME.runs.jsonl.")],
    methods: Annotated[str, typer.Option(help="Names, comma-separated, in this order; all where empty.")] = "",
    backbones: Annotated[str, typer.Option(help="Names, comma-separated, one after the other.")] = "vit_micro",
    tasks: Annotated[str, typer.Option(help="Names, comma-separated.")] = ",".join(TASKS),
    stages: Annotated[str, typer.Option(help="Of rates, options, epochs, decay: as far as the search goes.")] = "",
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1,
    write_to: Annotated[Path, typer.Option("--write", help="The recipes' file.")] = recipes.FILE,
    json: JSON = False,
) -> None:
    """Search each method's recipe on embedded backbones, by validation; can be stopped and resumed."""
    try:
        from peftcore.bench._search import Search, Stopped
    except ImportError as error:
        raise errors.InvalidSetting(
            "The search needs Optuna, which the app does not: pip install -r requirements-dev.txt."
        ) from error
    import torch

    from peftcore.bench._candidates import STAGES
    from peftcore.bench._run_log import RunLog

    asked = names_of(stages) or STAGES
    for stage in asked:
        if stage not in STAGES:
            raise errors.unknown("stage of the search called", stage, STAGES)
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, leave)
    log, until = RunLog(storage.with_name(f"{storage.name}.runs.jsonl")), time.monotonic() + 60 * minutes
    names, where = names_of(tasks), names_of(backbones)
    searches = [
        Search(storage, log, method, backbone, names, measured, until)
        for backbone in where
        for method in order(names_of(methods))
    ]
    words = command_line()
    try:
        for stage in asked:
            for search in searches if minutes else ():
                for line in search.advance(stage):
                    console.print(f"{time.strftime('%H:%M:%S')} {line}", highlight=False)
                _keep([search], words, write_to)
    except Stopped:
        console.print("The time is up; the same command goes on.")
    found = _keep(searches, words, write_to)
    hours = sum(row["cpu"] for row in log) / 3600
    title = f"Recipes by validation on {', '.join(names)}; {hours:.2f} core-hours in all"
    answer(json, {"recipes": found, "core_hours": hours}, title, [_row(entry) for entry in found])


def leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the program as Ctrl+C does: the trial under way is given back, and what was found is kept."""
    raise SystemExit(128 + number)


def _keep(searches: Iterable[Search], words: str, path: Path) -> list[dict[str, Any]]:
    found = [entry for search in searches if (entry := search.entry(words))]
    if found:
        write(found, path)
    return found


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    evidence, values = entry["evidence"], entry["values"]
    val = next(one["val"] for one in evidence["tried"] if recipes.of_row(one) == values)
    return {
        "method": entry["method"],
        "backbone": entry["backbone"],
        **{name: str(values.get(name, "")) for name in ("lr", "epochs", "weight_decay", "clip")},
        "settings": str(values.get("method", "")),
        "validation": "–" if val is None or math.isnan(val) else f"{100 * val:.1f}",
        "tried": len(evidence["tried"]),
        "searched": ", ".join(evidence["searched"]),
    }
