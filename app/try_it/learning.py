"""LAST learns classes that were just shown: a run like any other, on the engine, from a kept set of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import sleep

import streamlit as st

from app import caps, errors, links, navigation, state, stopped
from app.runs import following
from peftcore.backbone import embedded
from peftcore.errors import HeadroomError
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import RunRecord

METHOD = METHODS.names(shows="attention")[0]  # a side network that can be looked through
EPOCHS, BATCH, LR = 20, 8, 1e-2  # of a few dozen pictures: their features are computed once
LOOK_SECONDS = 0.15


def settings() -> str:
    """The choice of the backbone, which stands in the address."""
    names = list(embedded.names())
    return links.choice(
        st.segmented_control, "teach", "backbone", "Backbone", names, default=RunSpec.model_fields["backbone"].default,
        help="Both come with Headroom. For any other, use this set of images on Launch.",
    )  # fmt: skip


def spec(task: str, backbone: str) -> RunSpec:
    """What is launched."""
    return RunSpec(backbone=backbone, method=METHOD, task=task, epochs=EPOCHS, batch_size=BATCH, lr=LR)


def begin(pictures: Mapping[str, Sequence[bytes]], backbone: str) -> None:
    """Keeps the pictures, launches the run, and goes on with the page that follows it. What may not be launched keeps
    none."""
    with errors.sentences(stop=False):
        with st.spinner("Keeping the pictures, and launching the run"):
            caps.check(1)
            shelf = state.shelf()
            kept = shelf.keep_collected(pictures, " ".join(list(pictures)[:3]))
            try:
                run = caps.submit(spec(kept.task, backbone))
            except HeadroomError:
                shelf.remove(kept.name)
                raise
        links.write(learning=run)
        st.rerun()


def follow(run: int) -> None:
    """How far the run is; at its end, on to trying it."""
    store = state.store()
    with errors.sentences():
        record = store.run(run)
    bar = st.empty()
    with st.container(horizontal=True, vertical_alignment="center"):
        if not record.ended:
            st.button("Stop", key="teach_stop", icon=":material/stop_circle:", on_click=_stop, args=(run,))
        navigation.link("runs", f"Run {run}", run=run)
    with stopped.told(bar):
        while not record.ended:
            bar.progress(*_progress(record))
            sleep(LOOK_SECONDS)
            record = store.run(run)
    bar.empty()
    if record.status == "finished":
        links.write(learning=None, view=None, runs=run, image=None, **{"from": links.read("from") or "camera"})
        st.rerun()
    errors.show(record.error or f"Run {run} is {record.status}.")
    st.button(
        "Back to the pictures", key="teach_back", icon=":material/arrow_back:", on_click=links.write,
        kwargs={"learning": None},
    )  # fmt: skip


def _stop(run: int) -> None:
    with errors.sentences(stop=False):
        state.engine().cancel(run)


def _progress(record: RunRecord) -> tuple[float, str]:
    """The bar's share and its words."""
    told = following.follow(state.store(), record)
    if told.done:
        return told.done / told.total, f"Learning: step {told.done} of {told.total}"
    if told.progress:
        return 0.0, f"{told.progress['what'].capitalize()}: {told.progress['done']} of {told.progress['total']}"
    if record.status == "running":
        return 0.0, "Reading the pictures"
    if state.engine().state == "starting":
        return 0.0, "The engine is starting, about 10 seconds after the app began"
    ahead = state.engine().ahead(record.id)
    return 0.0, f"Waiting for {ahead} {'run' if ahead == 1 else 'runs'} before it" if ahead else "Waiting for a worker"
