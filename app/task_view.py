"""One task: its images as the backbone reads them, by class, and what there is to say of them."""

from __future__ import annotations

from concurrent.futures import Future

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import background, errors, links, navigation, pictures, state, task_data, theme, words
from app.captions import caption
from app.task_data import Facts, Seen, Wish
from peftcore.errors import HeadroomError
from peftcore.figures import tasks as figures
from peftcore.figures.theme import method_title
from peftcore.spec import RunSpec

NORMS = {"backbone": "the backbone's own", "imagenet": "ImageNet's", "half": "0.5 and 0.5", "none": "none"}
SPLITS = {"train": "train", "val": "validate", "test": "test"}
VIEWS = {"images": "Images", "features": "Frozen features"}
EVERY = "every"
MOST_RUNS, LOOK_BACK = 5, 200


def await_facts(task: str) -> Facts:
    """What there is to say of a task; where it cannot be read, a sentence and the end of the page."""
    place, job = st.empty(), task_data.facts(task)
    background.wait(job, lambda: place.info("Reading the task's images.", icon=":material/hourglass_top:"))
    place.empty()
    facts = _result(job)
    if facts is None:
        st.stop()
    return facts


def _result(job: Future):
    """What a job found, or None after its error was shown."""
    with errors.sentences(stop=False):
        found = job.result()
        if not isinstance(found, HeadroomError):
            return found
        errors.show(found)
    return None


def choose(facts: Facts) -> str:
    """What is asked, and the choice of what to look at: 'images' or 'features'. `view` in the address."""
    with st.container(horizontal=True, vertical_alignment="center"):
        view = links.choice(
            st.segmented_control,
            "tasks",
            "view",
            "view",
            list(VIEWS),
            default="images",
            show=VIEWS.get,
            required=True,
            label_visibility="collapsed",
        )
        st.markdown(errors.plain(facts.description))
    return view


def norm() -> str:
    """The normalisation; `norm` in the address."""
    return links.choice(
        st.selectbox,
        "tasks",
        "norm",
        "Normalisation",
        list(NORMS),
        default=RunSpec.model_fields["normalisation"].default,
        show=NORMS.get,
        width=210,
        help="Mean and deviation by which pixels are shifted and scaled. A backbone was trained with its own: choose "
        "another and see what it then reads.",
    )


def images(task: str, facts: Facts, backbone: str) -> None:
    """The grid at the left; the task in words and numbers at the right."""
    left, right = st.columns([7, 4], gap="large")
    with left:
        wish = _wish(task, facts, backbone)
        place = st.empty()
        place.html(pictures.blank(task_data.SIDE * min(len(facts.classes), task_data.ROWS)))
        below = st.container()
    with right:
        about(task, facts)
    job = task_data.seen(wish)
    background.wait(job, lambda: None)
    with left:
        if found := _result(job):
            _grid(place, found)
            with below:
                _more(found, facts, wish)
                caption(_caption(found, facts, wish))


def _wish(task: str, facts: Facts, backbone: str) -> Wish:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = links.choice(
            st.segmented_control,
            "tasks",
            "split",
            "Images to",
            list(SPLITS),
            default="train",
            show=SPLITS.get,
            required=True,
        )
        label = links.choice(st.selectbox, "tasks", "class", "Class", [EVERY, *facts.classes], default=EVERY, width=170)
        chosen = norm()
        raw = links.choice(
            st.segmented_control,
            "tasks",
            "values",
            "Shown are",
            ["pixels", "normalised"],
            default="pixels",
            required=True,
            help=f"The values that the backbone reads, black at {task_data.LOW:g} and white at {task_data.HIGH:g}, or the "
            "same with the normalisation undone.",
        )
    return Wish(
        task,
        backbone,
        chosen,
        split,
        None if label == EVERY else facts.classes.index(label),
        links.number("more", 1, 1000, 1),
        raw == "normalised",
    )


def _grid(place: DeltaGenerator, found: Seen) -> None:
    with place.container(gap="xsmall"):
        for name, row in found.rows.items():
            if len(found.rows) > 1:
                st.html(pictures.labelled(name, row, task_data.SIDE))
            else:
                st.html(pictures.row(row, task_data.SIDE))


def _more(found: Seen, facts: Facts, wish: Wish) -> None:
    if found.left:
        what = "classes" if wish.label is None and len(facts.classes) > task_data.ROWS else "images"
        st.button(
            f"Show more of {found.left:,} more {what}",
            key="tasks_more",
            icon=":material/expand_more:",
            on_click=links.write,
            kwargs={"more": wish.more + 1},
        )


def _caption(found: Seen, facts: Facts, wish: Wish) -> str:
    """How the images became what the backbone reads."""
    stored, size = "{} x {}".format(*facts.pixels), "{} x {}".format(*found.input_size)
    sized = f"at {size} pixels" if stored == size else f"brought from {stored} to {size} pixels"
    mean, std = (", ".join(f"{value:.3g}" for value in dict.fromkeys(of)) for of in (found.mean, found.std))
    return (
        f"As {wish.backbone} reads them: {sized}, less {mean}, divided by {std} ({NORMS[wish.norm]}). What it gets lies "
        f"between {found.low:.1f} and {found.high:.1f}, around {found.average:.2f} with a deviation of "
        f"{found.deviation:.2f}."
    )


def about(task: str, facts: Facts) -> None:
    """Classes, split, source and what runs reached."""
    st.markdown(f"**{len(facts.classes)} classes: {facts.sizes}.**")
    theme.show(figures.class_balance(facts.counts, dark=theme.is_dark()), "tasks_balance")
    _runs(task)
    st.caption(f"Source: {errors.plain(facts.source)}.")


def _runs(task: str) -> None:
    """The best finished runs on this task, each a link."""
    done = [
        record
        for record in state.store().runs(limit=LOOK_BACK, status="finished")
        if record.spec["task"] == task and record.summary.get("test_accuracy") is not None
    ]
    if not done:
        st.caption("No run of this machine has learnt it yet.")
        return
    st.markdown(f"**{len(done)} {'run has' if len(done) == 1 else 'runs have'} learnt it**, test accuracy:")
    for record in sorted(done, key=lambda record: -record.summary["test_accuracy"])[:MOST_RUNS]:
        spec = record.spec
        title = f"{record.summary['test_accuracy']:.3f}: {method_title(spec['method']['name'])} on {spec['backbone']}"
        navigation.link("runs", title + words.random_weights(spec) + f", run {record.id}", run=record.id)
