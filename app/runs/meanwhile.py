"""While a run waits for its turn: a recorded run of the same method plays, and says that it is a recording."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import streamlit as st

from app import screen, subjects, theme, turns, words
from app.drawn import plan
from peftcore.figures import curves
from peftcore.figures.accuracy import Ground
from peftcore.store import RunRecord, gallery

LONG = 15.0  # seconds of waiting from which it is worth to look at something
PLAYED = 60.0  # seconds in which a recording plays from its beginning to its end
HEIGHT = 376


def draw(record: RunRecord) -> None:
    """The recording, as far as it has come; nothing where the wait is short or there is none of the method."""
    if (name := example(record.spec)) is None or turns.seconds(record.id) < LONG:
        return
    recorded = gallery.record(name)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in recorded["events"]:
        by_kind.setdefault(event["kind"], []).append(event)
    started, dark = by_kind["started"][0], theme.is_dark()
    share = (time.time() - record.queued) % PLAYED / PLAYED
    now = max(1, round(share * started["steps"]))
    steps, evaluations = (
        pd.DataFrame([event for event in by_kind[kind] if event["step"] <= now], columns=list(by_kind[kind][0]))
        for kind in ("step", "evaluation")
    )
    ground, seconds = Ground.of(started, "test"), recorded["summary"]["seconds"]
    st.info(
        f"Meanwhile a recorded example plays, {words.run_title(recorded['spec'])}: not your run. It took "
        f"{words.duration(seconds)}, plays in {words.duration(PLAYED)}, and reached a test accuracy of "
        f"{subjects.reached(recorded['summary']['test_accuracy'], ground)}.",
        icon=":material/movie:",
    )
    with st.container(height=screen.tall(HEIGHT), border=False):
        figure = plan(
            curves.loss_curve,
            steps,
            evaluations,
            started["steps"],
            method=recorded["spec"]["method"]["name"],
            kind=started["method_kind"],
            ground=ground,
            dark=dark,
            height=HEIGHT - 8,
        )
        theme.show(figure, key=f"meanwhile_{record.id}", spec=recorded["spec"])


def example(spec: dict[str, Any]) -> str | None:
    """The recorded run that is most like a spec: of its method, if it can be of its backbone and task."""
    found = []
    for name in gallery.names():
        other = gallery.record(name)["spec"]
        if other["method"]["name"] == spec["method"]["name"]:
            found.append((other["backbone"] != spec["backbone"], other["task"] != spec["task"], name))
    return min(found)[-1] if found else None
