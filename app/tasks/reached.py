"""What the mini-VTAB's runs reached on an embedded task: recorded with Headroom, to be seen before a first run."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from app import theme
from app.captions import caption
from peftcore.figures.reached import reached
from peftcore.spec import RunSpec
from peftcore.store import conditions
from peftcore.store.recipes import weights_digest
from peftcore.task import task_card

RECORD = Path(__file__).resolve().parents[2] / "assets" / "mini_vtab.json"


@cache
def _record() -> dict[str, Any]:
    """The output of `python -m peftcore bench tasks ... --json`."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {"entries": []}


@cache
def _is_of_today(backbone: str) -> bool:
    """Whether the record was made with the embedded weights that the backbone has today."""
    return _record().get("weights", {}).get(backbone) == weights_digest(backbone)


def draw(task: str, backbone: str) -> None:
    """The recorded accuracies on a task with a backbone; nothing where there are none."""
    recorded = _record()
    found = {
        e["method"]: e["tasks"][task] for e in recorded["entries"] if e["backbone"] == backbone and e["tasks"].get(task)
    }
    if not found:
        return
    classes = task_card(task).classes
    theme.show(reached(found, chance=100 / len(classes), dark=theme.is_dark(), line=40), "tasks_reached")
    rates = " The learning rate of each was chosen on validation images." if recorded["lrs"] else ""
    if not _is_of_today(backbone):
        rates += f" {backbone} had earlier weights then, of fewer pictures."
    spec = RunSpec(task=task, backbone=backbone, epochs=recorded["epochs"]).to_dict()
    caption(
        f"Recorded runs of {backbone}, {recorded['epochs']} epochs, {recorded['seeds']} seeds and their mean.{rates} "
        f"Conditions: {conditions.words(spec)}.",
        recorded["command"],
    )
