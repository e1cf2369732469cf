"""The first picture: the heads of the newest run with head scores, else of a recorded example. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import navigation, screen, state, subjects, theme, words
from app.captions import caption
from app.drawn import plan
from peftcore.figures import curves, heads, memory_curves
from peftcore.figures.accuracy import Ground
from peftcore.store import conditions, gallery

LOOKED_AT = 30  # newest finished runs in which head scores are looked for
EXAMPLE = "lora-digits"
DOORS = {
    "atlas": (
        "Which heads did a task move?",
        "Every head of every layer, for many tasks side by side: released adapters and your own runs.",
        "Look at heads",
    ),
    "launch": (
        "What will yours learn?",
        "Choose a backbone, a method and a task, and watch it train: about a minute.",
        "Launch a run",
    ),
    "memory": (
        "Why does this fit?",
        "The same batch under full fine-tuning, LoRA and LAST, byte by byte.",
        "See the memory",
    ),
}


@dataclass(frozen=True)
class Picture:
    """Scores of one projection, (layers, heads), and where they are from."""

    values: np.ndarray
    score: str
    projection: str
    layers: list[str]
    spec: dict[str, Any]
    run: int | str
    accuracy: str  # with its 95 % interval
    conditions: str
    example: bool


def picture() -> Picture | None:
    """From the newest finished run with head scores, else from the example; None where neither is there."""
    store = state.store()
    for record in store.runs(limit=LOOKED_AT, status="finished"):
        event = store.last_event(record.id, "scores")
        if event:
            return _picture(event["scores"], record.id)
    if EXAMPLE not in gallery.names():
        return None
    return _picture(subjects.events(subjects.named(EXAMPLE), "scores")[-1]["scores"], EXAMPLE)


def _picture(scores: dict[str, Any], name: int | str) -> Picture:
    """The projection whose scores are largest, of a run by its number or an example by its name."""
    values = np.array(scores["values"], float)  # (layers, projections, heads)
    index = int(np.nanargmax(np.nanmax(np.abs(values), axis=(0, 2))))
    projection = scores["projections"][index]
    run = subjects.run(subjects.named(str(name)))
    accuracy = "sealed" if run.accuracy is None else subjects.reached(run.accuracy, run.ground)
    layers = list(scores["layers"])
    return Picture(
        values[:, index], scores["score"], projection, layers, run.spec, name, accuracy, run.conditions, run.example
    )


def show(found: Picture) -> None:
    """The grid and its caption."""
    figure = plan(
        heads.head_grid,
        found.values,
        found.layers,
        score=found.score,
        projection=found.projection,
        **screen.fit(620, 520),
        dark=theme.is_dark(),
    )
    if head := theme.show(figure, key="home_heads", spec=found.spec, on_click="rerun"):
        navigation.go("heads", run=found.run, projection=found.projection, layer=head[0] + 1, head=head[1] + 1)
    whose = "a recorded example" if found.example else f"run {found.run}"
    caption(
        f"How much each attention head's {found.projection} projection answered to "
        f"{words.task_title(found.spec['task']).lower()}: "
        f"{found.score} score of {words.run_title(found.spec)}, {whose}, seed {found.spec['seed']}, "
        f"test accuracy {found.accuracy}, with {found.conditions}.",
        words.command(found.spec),
    )
    navigation.link("heads", "Look through these heads at images", run=found.run)


def doors() -> None:
    """Three ways in."""
    for page, (question, answer, label) in DOORS.items():
        with st.container(border=True):
            st.markdown(f"**{question}**  \n{answer}")
            navigation.link(page, label)


def no_runs() -> None:
    """The empty list of runs: an example of what a run shows, and the button that makes one's own."""
    left, right = st.columns([3, 1], vertical_alignment="center")
    left.markdown("No run yet. Launch one and watch it here; below is a recorded example.")
    if right.button(
        "Launch a run", type="primary", width="stretch", key="first_launch", icon=":material/rocket_launch:"
    ):
        navigation.go("launch")
    for name in gallery.names():
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for event in gallery.record(name)["events"]:
            by_kind.setdefault(event["kind"], []).append(event)
        if {"step", "step_memory"} <= by_kind.keys():
            _example(gallery.record(name), by_kind)
            return


def _example(example: dict[str, Any], by_kind: dict[str, list[dict[str, Any]]]) -> None:
    """The curves of a recorded run."""
    started, dark = by_kind["started"][0], theme.is_dark()
    method, steps, evaluations = example["spec"]["method"]["name"], by_kind["step"], by_kind["evaluation"]
    loss, moments = st.columns(2)
    with loss:
        figure = plan(
            curves.loss_curve,
            pd.DataFrame(steps),
            pd.DataFrame(evaluations),
            started["steps"],
            method=method,
            kind=started["method_kind"],
            ground=Ground.of(started, "test"),
            dark=dark,
        )
        theme.show(figure, key="example_loss", spec=example["spec"])
    with moments:
        figure = plan(memory_curves.step_memory, by_kind["step_memory"][0]["report"]["curve"], dark=dark, height=400)
        theme.show(figure, key="example_memory")
    measured = conditions.of_run(example["spec"], started)
    caption(
        f"Recorded example: {words.run_title(example['spec'])}, seed {example['spec']['seed']}, test accuracy "
        f"{subjects.reached(example['summary']['test_accuracy'], Ground.of(started, 'test'))}, with {measured}.",
        example["command"],
    )
