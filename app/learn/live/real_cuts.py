"""What the score's choice of heads is worth on a real backbone: its runs beside runs with random heads off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app import screen, theme
from app.captions import caption
from app.drawn import plan
from app.learn import facts
from peftcore.figures.cuts import cuts


def draw(_settings: Mapping[str, Any]) -> None:
    found = facts.TABLES["measured"]["real_cuts"]
    figure = plan(
        cuts, found["cuts"], found["none_off"], heads=found["heads"], dark=theme.is_dark(),
        line=40 if screen.is_phone() else 90,
    )  # fmt: skip
    theme.show(figure, "real_cuts", spec=found["spec"])
    spec, images = found["spec"], found["images"]
    caption(
        f"{found['of']}: Heart-LoRA on {spec['task']}, {images['train']} training images, {spec['epochs']} epochs at "
        f"{spec['lr']:g}, tested on {images['test']:,}. Chance is {100 / found['classes']:.0f} %. Random heads are off "
        f"from the first step, the score’s from the end of its warm-up. Conditions: {found['conditions']}.",
        found["command"],
    )
