"""What the mini-VTAB's runs reached on an embedded task: recorded with Headroom, to be seen before a first run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from app import glossary, links, numbers, screen, theme
from app.captions import caption
from app.drawn import plan
from peftcore.backbone import embedded
from peftcore.figures.budgets import EQUAL, Row, against_memory, against_time, by_task, equals, whole
from peftcore.figures.reached import reached
from peftcore.spec import RunSpec
from peftcore.store import conditions
from peftcore.store.recipes import unmeasured, weights_digest
from peftcore.task import task_card

HEIGHT, TALL = 620, 960  # of a figure whose legend names all methods: in columns, or on a phone in one
RECORD = Path(__file__).resolve().parents[2] / "assets" / "mini_vtab.json"


@cache
def _record() -> dict[str, Any]:
    """What `python -m peftcore bench budgets --write` wrote."""
    return json.loads(RECORD.read_text())


def draw(task: str, backbone: str, pixels: tuple[int, int]) -> None:
    """The recorded accuracies on a task, whose images have so many `pixels`, with a backbone; nothing where there are
    none."""
    recorded = _record()
    budgets = {name: own for name, own in equals(recorded["rows"], backbone).items() if _pairs(own, task)}
    if not budgets:
        return
    budget = _choose(list(budgets))
    own, pairs = budgets[budget], _pairs(budgets[budget], task)
    found = {row["method"]: by_task(row, pairs)[task] for row in own if not row["published"]}
    classes = task_card(task).classes
    theme.show(plan(reached, found, chance=100 / len(classes), dark=theme.is_dark(), line=40), "tasks_reached")
    said = (
        f"Recorded runs of {backbone} {EQUAL[budget]}, each method with its measured recipe; {len(pairs)} "
        f"seed{'s and their mean' if len(pairs) > 1 else ''}. Conditions: {_conditions(task, backbone, pixels)}."
    ) + unmeasured((name, backbone) for name in found)
    if recorded["weights"].get(backbone) != weights_digest(backbone):
        said += f" {backbone} had earlier weights then, of fewer pictures."
    caption(said, recorded["command"])


def _pairs(rows: Sequence[Row], task: str) -> list[tuple[str, str]]:
    return [pair for pair in whole(rows, "tasks") if pair[0] == task]


def _choose(budgets: list[str]) -> str:
    """Which budget is equal: `equal` in the address; nothing is asked where there is one."""
    if len(budgets) == 1:
        return budgets[0]
    return links.choice(
        st.segmented_control, "tasks", "equal", "What is equal", budgets, default=budgets[0], show=str.capitalize,
        required=True,
        help=glossary.linked(
            "Time: each method trains for as long as LoRA does. Epochs: each for equally many. Memory: likewise, with "
            "the largest batches that fit into what a step of LAST takes."
        ),
    )  # fmt: skip


def _conditions(task: str, backbone: str, pixels: tuple[int, int]) -> str:
    size = embedded.config(backbone)["input_size"][-2:] if backbone in embedded.names() else None
    return conditions.words(RunSpec(task=task, backbone=backbone).to_dict(), pixels, size)


def costs(task: str, backbone: str) -> None:
    """Over all tasks of the record: accuracy by seconds and by memory; nothing where this one is not among them."""
    recorded = _record()
    rows = [row for row in recorded["rows"] if row["backbone"] == backbone]
    if not any(task in row["tasks"] for row in rows):
        return
    timed = [row for row in rows if row["budget"] == "time"]
    height = TALL if screen.is_phone() else HEIGHT
    looks = {"chances": recorded["chance"], "dark": theme.is_dark(), "line": 64, "height": height}
    with st.expander("All tasks of the mini-VTAB: accuracy by seconds and by memory"):
        with st.container(key="wrap_costs"):
            left, right = st.columns(2, gap="large")
        with left:
            if whole(timed, "curves"):
                theme.show(plan(against_time, timed, **looks), "tasks_against_time")
                numbers.offer()
        with right:
            if any(whole([row for row in rows if row["budget"] == name], "tasks") for name in ("epochs", "time")):
                theme.show(plan(against_memory, rows, **looks), "tasks_against_memory")
                numbers.offer()
