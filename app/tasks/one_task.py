"""One task: its images as the backbone reads them, by class, and what there is to say of them."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import (
    background,
    errors,
    glossary,
    links,
    navigation,
    numbers,
    pictures,
    screen,
    state,
    subjects,
    theme,
    words,
)
from app.captions import caption
from app.drawn import plan
from app.room import who
from app.tasks import feature_points, image_data, reached, reading
from app.tasks.image_data import Facts, Seen, Wish
from peftcore.errors import HeadroomError
from peftcore.figures import tasks as figures
from peftcore.figures.method_style import method_title
from peftcore.figures.words import MINUS, si_bytes
from peftcore.store import conditions
from peftcore.task import here

SPLITS = {"train": "train", "val": "validate", "test": "test"}
VIEWS = {"images": "Images", "features": "Frozen features"}
FETCH = "tasks_images"  # in the session: the task whose images are wanted
EVERY = "every"
MOST_RUNS, LOOK_BACK = 5, 200


def await_facts(task: str) -> Facts:
    """What there is to say of a task; where it cannot be read, a sentence and the end of the page."""
    with errors.sentences():
        if not here(task):
            _download(task)
    place, job = st.empty(), image_data.facts(task)
    background.wait(job, lambda: place.info("Reading the task's images.", icon=":material/hourglass_top:"), place)
    place.empty()
    facts = _result(job)
    if facts is None:
        st.stop()
    return facts


def _download(task: str) -> None:
    """Offers to download a task's images, and does; the page ends here unless they have come."""
    who.fetch("a task's images")
    if st.session_state.get(FETCH) != task:
        st.info("The images of this task are not on this machine yet.", icon=":material/download:")
        feature_points.download_button(FETCH, task, "Download them")
        st.stop()
    place, stop = st.empty(), st.empty()
    stop.button("Stop", key="tasks_images_stop", on_click=lambda: st.session_state.pop(FETCH, None))

    def tell(reading: feature_points.Reading) -> None:
        place.progress(reading.share, text=f"{reading.what}: {si_bytes(reading.done)} so far.")

    job = feature_points.stay(feature_points.images(task), tell, place)
    del st.session_state[FETCH]
    if isinstance(job.result(), HeadroomError):
        with place.container():
            errors.show(job.result())
        with stop:
            feature_points.download_button(FETCH, task, "Try again")
        st.stop()
    st.rerun()


def _result(job: Future) -> Any:
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
            show=VIEWS.__getitem__,
            required=True,
            label_visibility="collapsed",
        )
        st.markdown(errors.plain(facts.description))
    return view


def images(task: str, facts: Facts, backbone: str) -> None:
    """The grid at the left; the task in words and numbers at the right; below, what methods cost on all tasks."""
    wish = _wish(task, facts, backbone)
    with st.container(key="wrap_task"):
        left, right = st.columns([7, 4], gap="large")
    with left:
        place = st.empty()
        place.html(
            pictures.blank((round(screen.scale() * image_data.SIDE) + 4) * min(len(facts.classes), image_data.ROWS))
        )
        below = st.container()
    with right:
        about(task, facts, backbone)
    reached.costs(task, backbone)
    if refused := who.unpredicted(wish.backbone, wish.task):
        return errors.show(refused)
    job = image_data.seen(wish)
    background.wait(job, lambda: None, place)
    with place.container():
        found = _result(job)
    if found:
        _grid(place, found)
        with below:
            _more(found, facts, wish)
            caption(_caption(found, facts, wish))


def _wish(task: str, facts: Facts, backbone: str) -> Wish:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = links.choice(
            st.segmented_control, "tasks", "split", "Images to", list(SPLITS), default="train", show=SPLITS.__getitem__,
            required=True,
        )  # fmt: skip
        label = links.choice(st.selectbox, "tasks", "class", "Class", [EVERY, *facts.classes], default=EVERY, width=150)
        resize, norm = reading.choose("resize"), reading.choose("normalisation")
        augmentation = reading.choose("augmentation", disabled=split != "train")
        raw = links.choice(
            st.segmented_control, "tasks", "values", "Shown are", ["pixels", "normalised"], default="pixels",
            required=True,
            help=glossary.linked(
                f"The values that the backbone reads, black at {image_data.LOW:g} and white at {image_data.HIGH:g}, "
                "or the same with the normalisation undone."
            ),
        )  # fmt: skip
    chosen = None if label == EVERY else facts.classes.index(label)
    more = links.number("more", 1, 1000, 1)
    return Wish(task, backbone, norm, resize, augmentation, split, chosen, more, raw == "normalised")


def _grid(place: DeltaGenerator, found: Seen) -> None:
    side = round(screen.scale() * image_data.SIDE)
    if len(found.rows) > 1:
        place.html(pictures.by_class(found.rows.items(), side, image_data.PER_ROW))
    else:
        place.html("".join(pictures.row(row, side) for row in found.rows.values()))


def _more(found: Seen, facts: Facts, wish: Wish) -> None:
    if found.left:
        what = "classes" if wish.label is None and len(facts.classes) > image_data.ROWS else "images"
        st.button(
            f"Show more: {found.left:,} {what} are left",
            key="tasks_more",
            icon=":material/expand_more:",
            on_click=links.write,
            kwargs={"more": wish.more + 1},
        )


def _caption(found: Seen, facts: Facts, wish: Wish) -> str:
    """How the images became what the backbone reads."""
    spec = {"task": wish.task, "resize": wish.resize, "normalisation": wish.norm, "augmentation": wish.augmentation}
    sized = conditions.part(spec, "resize", facts.pixels, found.input_size)
    said = conditions.part(spec, "augmentation", symmetries=facts.symmetries)
    mean, std = (", ".join(f"{value:.3g}" for value in dict.fromkeys(of)) for of in (found.mean, found.std))
    return (
        f"As {wish.backbone} reads them: {sized}, {said}, {conditions.part(spec, 'normalisation')} (less {mean}, "
        f"divided by {std}). What it gets lies between {found.low:.1f} and {found.high:.1f}, around "
        f"{found.average:.2f} with a deviation of {found.deviation:.2f}."
    ).replace(" -", f" {MINUS}")


def about(task: str, facts: Facts, backbone: str) -> None:
    """Classes, split, source and what runs reached."""
    st.markdown(f"**{len(facts.classes)} classes: {facts.sizes}.**")
    reached.draw(task, backbone, facts.pixels)
    theme.show(plan(figures.class_balance, facts.counts, line=48, dark=theme.is_dark()), "tasks_balance")
    numbers.offer()
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
    have = "run has" if len(done) == 1 else "runs have"
    st.markdown(f"**{len(done)} {have} learnt it**, test accuracy and its 95 % interval:")
    for record in sorted(done, key=lambda record: -record.summary["test_accuracy"])[:MOST_RUNS]:
        spec = record.spec
        accuracy = subjects.reached(record.summary["test_accuracy"], subjects.ground(record))
        title = f"{accuracy}: {method_title(spec['method']['name'])} on {spec['backbone']}"
        navigation.link("runs", title + words.random_weights(spec) + f", run {record.id}", run=record.id)
    started = [state.store().last_event(record.id, "started") for record in done]
    st.caption(f"Measured with {errors.plain(conditions.in_common([record.spec for record in done], started))}.")
    navigation.link("compare", "Leaderboard of methods on this task", view="board", task=task)
