"""The largest batch that fits: for each method and each common card, by a search over predictions beside the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import errors, glossary
from app.desk import Desk
from app.memory.cases import Case
from app.room import who
from app.worker import Call
from peftcore.errors import HeadroomError
from peftcore.figures.memory import CARDS
from peftcore.figures.method_style import method_title

SECONDS = 600  # of a processor, for one method: about fifty predictions


def begin(cases: Iterable[Case]) -> None:
    """Begins a search for every case that has none yet."""
    for case in map(_on_a_card, cases):
        if who.unpredicted(case.backbone, case.task):
            continue  # the prediction of its step says why
        _desk().ask(case, Call(_search, (case,), seconds=SECONDS))


def found(case: Case) -> Future | None:
    """A future of {card in GB: batch} or of a HeadroomError; None where nobody asked."""
    return None if who.unpredicted(case.backbone, case.task) else _desk().jobs.get(_on_a_card(case))


def stop(cases: Iterable[Case]) -> None:
    """Takes back what is not done."""
    for case in map(_on_a_card, cases):
        if (job := found(case)) and not job.done():
            _desk().forget(case)


def next_job(cases: Iterable[Case]) -> Future | None:
    """The next search that is not done; None where all are."""
    return next((job for case in cases if (job := found(case)) and not job.done()), None)


def draw(cases: Sequence[Case]) -> DeltaGenerator:
    """The button, how far the search is, and its table; returns the place where `show_progress` draws."""
    st.header("The largest batch that fits", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Search",
            key="memory_search",
            icon=":material/search:",
            on_click=begin,
            args=(cases,),
            disabled=all(found(case) for case in cases),
            help=glossary.linked(
                "Predicts steps of many batches, a second each, until one more image of the batch would not fit."
            ),
        )
        if next_job(cases):
            st.button("Stop", key="memory_search_stop", icon=":material/stop:", on_click=stop, args=(cases,))
        place = st.empty()
    jobs = [job for case in cases if (job := found(case))]
    for error in {str(job.result()): job.result() for job in jobs if _failed(job)}.values():
        errors.show(error)
    if lines := table(cases):
        st.dataframe(lines, hide_index=True, key="memory_largest")
        st.caption(
            "Images per step by the memory of a GPU: the batch was predicted to fit, and one image more not to. Cached "
            "features of all images lie on the GPU where they fit the share that a cache may take, else in the "
            "computer's memory. The CUDA context (about half a gigabyte) and the kernels' own scratch come on top."
        )
    return place


def show_progress(place: DeltaGenerator, cases: Sequence[Case]) -> None:
    """How far the search is."""
    left = [case for case in cases if (job := found(case)) and not job.done()]
    if left:
        done = len(cases) - len(left)
        place.progress(
            done / len(cases),
            text=f"Searching for {method_title(left[0].method)}; {done} of {len(cases)} methods done.",
        )


def _failed(job: Future | None) -> bool:
    return job is not None and job.done() and isinstance(job.result(), HeadroomError)


def table(cases: Iterable[Case]) -> list[dict[str, str]]:
    """One line per method that was searched for, one column per card."""
    from peftcore.bench._fitting_batch import LIMIT

    lines = []
    for case in cases:
        job = found(case)
        if job is None or not job.done() or _failed(job):
            continue
        batches = {
            f"{card} GB": f"{batch:,} or more" if batch == LIMIT else f"{batch:,}" if batch else "none"
            for card, batch in job.result().items()
        }
        lines.append({"method": method_title(case.method)} | batches)
    return lines


def _on_a_card(case: Case) -> Case:
    """Cards are GPUs, and the batch is what is searched for: cases that differ in nothing else share an answer."""
    return replace(case, device="cuda", batch="32")


def _search(case: Case) -> dict[int, int] | HeadroomError:
    from peftcore.bench._fitting_batch import largest_batches
    from peftcore.bench._real_step import classes_of
    from peftcore.memory import predict_memory

    try:
        spec = case.spec()
        cache = predict_memory(spec).cache
        held = cache["bytes"] if cache["place"] in ("device", "host") else 0  # where on a card, the search decides
        batches = largest_batches(spec, [card * 10**9 for card in CARDS], num_classes=classes_of(spec.task), held=held)
    except HeadroomError as error:
        return error
    return {card: batches[card * 10**9] for card in CARDS}


@st.cache_resource(show_spinner=False)
def _desk() -> Desk:
    return Desk()
