"""Measures what an experiment lacks, in this process, and writes its record."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from peftcore import errors
from peftcore.bench.experiments import Experiment, _known
from peftcore.spec import RunSpec
from peftcore.store import Store, recipes

CLASSES = 100  # of the classifier in predictions of memory


def measured(measure: str, spec: RunSpec) -> dict[str, Any]:
    """The numbers of one spec: what Cell.value names, and CPU seconds."""
    began = time.process_time()
    numbers = {"accuracy": _trained, "memory": _predicted, "time": _timed}[measure](spec)
    return {**numbers, "cpu": round(time.process_time() - began, 2)}


def _trained(spec: RunSpec) -> dict[str, Any]:
    from peftcore.bench._curve import curve
    from peftcore.bench.recipes import loaded_backbone, loaded_task

    try:
        found = curve(spec, loaded_backbone(spec.backbone), loaded_task(spec.task), test=True)
    except errors.Diverged as error:
        return {"test": None, "val": None, "why": str(error)}
    return {"test": found.test, "val": found.val[spec.epochs], "parameters": found.parameters}


def _predicted(spec: RunSpec) -> dict[str, Any]:
    from peftcore.memory.predict import predict_memory

    report = predict_memory(spec, num_classes=CLASSES)
    return {"peak": report.peak, "above": report.above_weights, "frozen_weights": report.components["frozen_weights"]}


def _timed(spec: RunSpec) -> dict[str, Any]:
    from peftcore.backbone.load import load_backbone
    from peftcore.bench._pacer import pace
    from peftcore.bench.recipes import loaded_task

    found = pace(
        spec, spec.replace(method="lora"), load_backbone(spec.backbone, spec.pretrained), loaded_task(spec.task)
    )
    return {"ratio": found.ratio, "whole": found.ratio + found.features}


def kept(measure: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Measures one spec, unless this home has it, and keeps it there."""
    run = RunSpec.of(spec)
    return _known.log_of(measure).row(run, lambda one: measured(measure, one))


def make(
    of: Experiment, store: Store | None, until: float, seeds: int | None = None
) -> Iterator[tuple[int, int, RunSpec, dict[str, Any]]]:
    """Measures what is missing and keeps it in this home; after each (how many are done, of how many, spec, numbers).
    Ends where `until`, by time.monotonic(), has come before the next begins. seeds: only the first so many."""
    at = _known.standing(of, store)
    missing = [spec for spec in at.missing if spec.seed in of.seeds[:seeds]]
    for nth, spec in enumerate(missing, at.total - len(at.missing) + 1):
        if time.monotonic() > until:
            return
        yield nth, at.total, spec, kept(of.measure, spec.to_dict())


def write_record(of: Experiment, store: Store | None, command: str) -> bool:
    """Writes assets/experiments/NAME.json from the seeds that every cell has; False, and nothing written, for none."""
    known = _known.Known(of.measure, store)
    points = [(cell, seed, spec, known.numbers(spec)) for cell, seed, spec in of.points()]
    lacking = {seed for _, seed, _, numbers in points if numbers is None}
    if lacking >= set(of.seeds):
        return False
    runs: dict[str, dict[str, Any]] = {}
    rows = []
    for cell, seed, spec, numbers in points:
        if numbers is None or seed in lacking:
            continue
        kept = {name: numbers[name] for name in numbers if name not in ("key", "weights", "spec", "run")}
        digest = recipes.weights_digest(spec.backbone)
        runs.setdefault(spec.key, {"spec": spec.to_dict(), "key": spec.key, "weights": digest, "numbers": kept})
        place = list(runs).index(spec.key)
        rows.append({"group": cell.group, "x": cell.x, "seed": seed, "value": cell.value, "run": place})
    made = {name: version(name) for name in ("torch", "timm")} | {"machine": platform.machine()}
    found = {
        "experiment": of.name, "measure": of.measure, "command": command, "made": made, "rows": rows,
        "runs": list(runs.values()),
    }  # fmt: skip
    _known.FOLDER.mkdir(parents=True, exist_ok=True)
    (_known.FOLDER / f"{of.name}.json").write_text(json.dumps(found) + "\n")
    return True
