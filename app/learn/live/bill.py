"""The memory of one training step by method, as the ledger predicted it: the reader moves the batch, or LoRA's rank.

Settings: `methods`, those that are shown; `ranks = true`, LoRA at several ranks instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app import captions, theme
from app.drawn import plan
from app.learn.live._recorded import part, slider
from peftcore.figures.memory import memory_bars
from peftcore.figures.method_style import method_title


def draw(settings: Mapping[str, Any]) -> None:
    known = part("ledger")
    if settings.get("ranks"):
        rows = [
            {"method": row["method"], "title": f"LoRA, rank {row['rank']}", "source": "predicted", **row["components"]}
            for row in known["ranks"]
        ]
        batch = known["batch"]
    else:
        batch = slider("bill_batch", "images per step", known["batches"], known["batch"], width=420)
        rows = [
            {"method": row["method"], "title": method_title(row["method"]), "source": "predicted", **row["components"]}
            for row in known["rows"]
            if row["batch"] == batch and row["method"] in settings["methods"]
        ]
    key = "bill_ranks" if settings.get("ranks") else f"bill_{len(settings['methods'])}"
    theme.show(plan(memory_bars, rows, line=90, dark=theme.is_dark()), key)
    captions.caption(
        f"The highest moment of one training step of {known['backbone']}, {batch} images, {known['precision']}, on a "
        f"GPU, as Headroom's ledger predicts it from the same step on tensors without data. {captions.POWERS}",
        known["command"],
    )
