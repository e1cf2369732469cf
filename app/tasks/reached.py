"""What the mini-VTAB's runs reached on an embedded task: recorded with Headroom, to be seen before a first run."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from app import numbers, theme
from app.captions import caption
from app.drawn import plan
from peftcore.figures.budgets import against_memory, against_time, whole
from peftcore.figures.reached import reached
from peftcore.spec import RunSpec
from peftcore.store import conditions
from peftcore.store.recipes import weights_digest
from peftcore.task import task_card

RECORD = Path(__file__).resolve().parents[2] / "assets" / "mini_vtab.json"
EQUAL = {"time": "in equal time", "epochs": "in equally many epochs"}  # what is shown, the first that there is


@cache
def _record() -> dict[str, Any]:
    """What `python -m peftcore bench budgets --write` wrote; before it was, what `bench tasks --json` printed."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def draw(task: str, backbone: str) -> None:
    """The recorded accuracies on a task with a backbone; nothing where there are none."""
    recorded = _record()
    found, said = _budgets(recorded, task, backbone) if "rows" in recorded else _epochs(recorded, task, backbone)
    if not found:
        return
    classes = task_card(task).classes
    theme.show(plan(reached, found, chance=100 / len(classes), dark=theme.is_dark(), line=40), "tasks_reached")
    if recorded["weights"].get(backbone) != weights_digest(backbone):
        said += f" {backbone} had earlier weights then, of fewer pictures."
    caption(said, recorded["command"])
    if "rows" in recorded:
        _costs([row for row in recorded["rows"] if row["backbone"] == backbone])


def _epochs(recorded: dict[str, Any], task: str, backbone: str) -> tuple[dict[str, list[float]], str]:
    """Accuracies in percent by method, and what they are, of a record of equal epochs."""
    own = [entry for entry in recorded.get("entries", ()) if entry["backbone"] == backbone and entry["tasks"].get(task)]
    rates = " The learning rate of each was chosen on validation images." if recorded.get("lrs") else ""
    if not own:
        return {}, ""
    return {entry["method"]: entry["tasks"][task] for entry in own}, (
        f"Recorded runs of {backbone}, {recorded['epochs']} epochs, {recorded['seeds']} seeds and their mean.{rates} "
        f"Conditions: {_conditions(task, backbone, recorded['epochs'])}."
    )


def _budgets(recorded: dict[str, Any], task: str, backbone: str) -> tuple[dict[str, list[float]], str]:
    """The same of a record of budgets: of the first one in which every method was run on this task."""
    for budget, words in EQUAL.items():
        own = [row for row in recorded["rows"] if (row["backbone"], row["budget"]) == (backbone, budget)]
        if seeds := [seed for of, seed in whole(own, "tasks") if of == task]:
            rows = [row for row in own if not row["published"]]
            return {row["method"]: [row["tasks"][task][seed] for seed in seeds] for row in rows}, (
                f"Recorded runs of {backbone} {words}, each method with its measured recipe; {len(seeds)} "
                f"seed{'s and their mean' if len(seeds) > 1 else ''}. Conditions: {_conditions(task, backbone)}."
            )
    return {}, ""


def _conditions(task: str, backbone: str, epochs: int = RunSpec.model_fields["epochs"].default) -> str:
    return conditions.words(RunSpec(task=task, backbone=backbone, epochs=epochs).to_dict())


def _costs(rows: list[dict[str, Any]]) -> None:
    """Over all tasks of the record: accuracy by seconds and by memory."""
    timed = [row for row in rows if row["budget"] == "time"]
    with st.expander("All tasks of the mini-VTAB: accuracy by seconds and by memory"):
        if whole(timed, "curves"):
            theme.show(plan(against_time, timed, dark=theme.is_dark(), line=48), "tasks_against_time")
            numbers.offer()
        if whole([row for row in rows if row["budget"] == "epochs"], "tasks"):
            theme.show(plan(against_memory, rows, dark=theme.is_dark(), line=48), "tasks_against_memory")
            numbers.offer()
