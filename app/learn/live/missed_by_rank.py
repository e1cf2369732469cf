"""How much of a real LoRA's updates one shared pair could have made, by its rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app import theme
from app.captions import caption
from app.drawn import plan
from app.learn import facts
from peftcore.figures.shared_pair import missed_by_rank


def draw(settings: Mapping[str, Any]) -> None:
    found = facts.TABLES["measured"]["shared_pair"]
    run = facts.TABLES["runs"][found["run"]]
    figure = plan(missed_by_rank, found["ranks"], found["missed"], own=found["rank"], dark=theme.is_dark())
    theme.show(figure, "missed_by_rank", spec=run["spec"])
    caption(
        f"{run['title']}, a recorded run of seed {run['spec']['seed']}: its trained updates of "
        f"{', '.join(run['spec']['method']['projections'])}, layer by layer, and the nearest that a pair before "
        "q, k and v makes with the backbone's own frozen weights (least squares over all inputs alike; no images are "
        "involved).",
        found["command"],
    )
