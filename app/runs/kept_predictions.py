"""What a run answered on its test images, for pages: read once, and predicted again where a run has none. No torch."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import streamlit as st

from app import cached, errors, heavy, links, pictures, state, stopped
from peftcore.errors import BadData
from peftcore.store import RunRecord, results
from peftcore.store.results import Results
from peftcore.task import Task

SIDE = 92  # pixels of an image
SHOWN = 9  # images at a time
MOST_NAMED = 3  # of the most probable classes under an image


def of(record: RunRecord) -> Results | None:
    """The results of a run; None where it has no predictions."""
    store = state.store()
    if results.ARTIFACT not in store.artifact_names(record.id):
        return None
    return _read(str(store.folder), record.id, record.attempts)


@st.cache_resource(max_entries=64, show_spinner=False)
def _read(folder: str, run: int, attempts: int) -> Results:
    return results.results(run, state.store())


def invite(record: RunRecord, key: str = "predict_again") -> None:
    """In place of results: why there are none, and the button that makes them from the saved adapter."""
    if record.status != "finished":
        st.info(errors.plain(results.why_none(record)), icon=":material/hourglass_empty:")
        return
    if "test_accuracy" not in record.summary:
        st.info("What it answers on the test images is shown when the teacher reveals it.", icon=":material/lock:")
        return
    if "adapter" not in state.store().artifact_names(record.id):
        st.info(
            f"Run {record.id} has no kept predictions and no saved adapter, so they cannot be made again; its numbers "
            "and curves stay. Launch it again to have both.",
            icon=":material/history:",
        )
        return
    st.info(
        f"Run {record.id} was trained by an earlier Headroom, which kept no predictions. Its saved adapter makes them: "
        "about as long as the evaluation after one epoch.",
        icon=":material/history:",
    )
    if not heavy.agreed_for(record.spec, "to predict again", key=key):
        return
    if not st.button("Predict again", key=key, type="primary", icon=":material/replay:"):
        return
    bar = st.empty()
    bar.progress(0.0, text="Loading PyTorch, the backbone and the task")
    with errors.sentences(), stopped.told(bar):
        from peftcore.store.again import predict_again

        for done, total in predict_again(state.store(), record.id):
            bar.progress(done / max(1, total), text=f"Predicting: {done:,} of {total:,} test images")
    _read.clear()
    st.rerun()


def images_of(found: Results) -> Task:
    """The task whose test images these are.

    Raises:
        BadData: they are not those that the run was tested on; and what loading the task raises.
    """
    task = cached.task(found.task)
    if not np.array_equal(task.test.labels, found.labels):
        raise BadData(
            f"The test images of {found.task} are not those that the run was tested on: there are {len(task.test)} "
            f"now and were {len(found)}, or their labels differ. The numbers are kept with the run; its images are not."
        )
    return task


def cards(found: Results, task: Task, numbers: np.ndarray, votes: Sequence[tuple[str, Results]] = ()) -> str:
    """HTML of test images with their class and the most probable classes; with `votes`, what each of these runs said
    of the image instead."""
    return (
        '<div style="display:grid;grid-template-columns:repeat(auto-fill,minmax(112px,1fr));gap:12px 10px">'
        + "".join(_card(found, task, int(number), votes) for number in numbers)
        + "</div>"
    )


def _card(found: Results, task: Task, number: int, votes: Sequence[tuple[str, Results]]) -> str:
    label = found.classes[found.labels[number]]
    image = pictures.thumbnail(task.test.images[number], f"test image {number}, {label}", SIDE)
    if votes:
        lines = [
            _line(one.predicted[number] == one.labels[number], one.classes[one.predicted[number]], name)
            for name, one in votes
        ]
    else:
        p = found.probabilities[number]
        top = np.argsort(-p, kind="stable")[:MOST_NAMED]
        lines = [_line(c == found.labels[number], found.classes[c], f"{p[c]:.2f}") for c in top if p[c] >= 0.005]
    picture = pictures.row([image], SIDE)
    name = f'<div style="font-size:0.85rem;font-weight:600;overflow-wrap:anywhere">{html.escape(label)}</div>'
    return f'<div style="max-width:{SIDE}px">{picture}{name}' + f"{''.join(lines)}</div>"


def _line(right: bool, name: str, beside: str) -> str:
    mark = "✓" if right else "✗"
    style = "font-size:0.8rem;line-height:1.35;display:flex;gap:0.35em;overflow-wrap:anywhere"
    weight = "font-weight:600" if right else "opacity:0.8"
    return (
        f'<div style="{style};{weight}"><span>{mark}</span><span style="flex:1">{html.escape(name)}</span>'
        f"<span>{html.escape(beside)}</span></div>"
    )


def turn(name: str, page: int, images: int) -> None:
    """Buttons to the images before and after; `page` in the address says which are shown. `name`: of the app's page."""
    if images <= SHOWN:
        return
    first, last = page * SHOWN + 1, min(images, (page + 1) * SHOWN)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        for where, step, able, icon in (
            ("before", -1, page > 0, "left"), ("after", 1, last < images, "right"),
        ):  # fmt: skip
            st.button(
                "", icon=f":material/chevron_{icon}:", key=f"{name}_images_{where}", type="tertiary",
                disabled=not able, help=f"Images {where}", on_click=links.write, kwargs={"page": page + step},
            )  # fmt: skip
        st.caption(f"{first:,} to {last:,} of {images:,} images", width="content")
