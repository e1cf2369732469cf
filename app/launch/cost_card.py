"""What runs will cost, as soon as it is predicted: weights, peak memory by component, and where features are kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import background, errors, heavy, links, numbers, state, theme, words
from app.captions import POWERS
from app.drawn import plan
from app.launch import costs, raced
from app.worker import OverLimit
from peftcore.errors import DataUnavailable, HeadroomError
from peftcore.figures import memory as figures
from peftcore.figures.words import human_count, percent, si_bytes
from peftcore.spec import RunSpec

log = logging.getLogger(__name__)


def draw(
    place: DeltaGenerator, specs: Sequence[RunSpec], values: dict[str, list[Any]], is_too_large: bool = False
) -> None:
    """What the runs will cost, as soon as it is predicted. Where one is impossible, or too large, the page begins
    again, unless it knew (`is_too_large`)."""
    jobs = predicted(place, specs)
    broken = next((job.exception() for job in jobs if job.exception()), None)
    over = next((job.result() for job in jobs if not broken and isinstance(job.result(), OverLimit)), None)
    with place.container():
        if isinstance(broken, DataUnavailable):
            st.caption(
                "What it will cost is known once the task's images, or what the hub says of the backbone, are here."
            )
        elif broken:
            log.error("no prediction for %s", specs[0].to_json(), exc_info=broken)
            kind = type(broken).__name__
            st.warning(
                f"What {specs[0].method.card.title} costs here cannot be predicted ({kind}). It can be launched."
            )
        elif over:
            st.warning(errors.plain(f"What it will cost is not known. {over} It can be launched."))
        elif any(isinstance(job.result(), HeadroomError) for job in jobs[: len(specs)]):
            st.rerun()  # the fault is known now, and the button is drawn without a click in it
        elif not is_too_large and costs.known_refusal(specs):
            st.rerun()
        elif isinstance(jobs[-1].result(), HeadroomError):
            errors.show(jobs[-1].result())
        elif len(specs) > 1:
            _race_cost(specs, jobs[-1].result(), values)
            numbers.offer()
        else:
            _cost(specs[0], jobs[0].result())
            numbers.offer()


def predicted(place: DeltaGenerator, specs: Sequence[RunSpec]) -> list[Future]:
    """What each run will cost, then, where there are several, what they cost together, once all of it is predicted or
    cannot be."""
    jobs = [costs.of(spec) for spec in specs]
    text = "Predicting: one training step on tensors without data."
    for nth, job in enumerate(jobs, 1):
        which = f" {nth} of {len(jobs)}." if len(jobs) > 1 else ""
        background.wait(job, partial(place.caption, text + which), place)
    if len(specs) > 1 and all(not job.exception() and isinstance(job.result(), costs.Cost) for job in jobs):
        jobs.append(costs.of_race(specs, [job.result() for job in jobs]))
        background.wait(jobs[-1], lambda: place.caption("Predicting: what the runs share."), place)
    return jobs


def _race_cost(specs: Sequence[RunSpec], race: costs.Race, values: dict[str, list[Any]]) -> None:
    _warn(specs[0], race)
    st.markdown(f"**{raced.product(values)}**. They train {human_count(race.trained)} weights in all.")
    theme.show(plan(figures.memory_bar, race.components, dark=theme.is_dark(), height=150), key="launch_memory")
    alone = sum(spec.method.kind != "side" for spec in specs)
    parts = [words.components(race.components) + "  \n"]
    if race.sharing > 1:
        parts.append(f"{race.sharing} side networks train together and read one set of frozen features.")
    if alone == 1:
        parts.append("1 run changes the backbone, so it works alone.")
    elif alone:
        parts.append(f"{alone} runs change the backbone, so they work one after the other.")
    parts.append(f"Predicted peak of what works at once. {POWERS}")
    st.caption(" ".join(parts) + (f"  \n{errors.plain(race.cache)}" if race.cache else ""))


def _cost(spec: RunSpec, cost: costs.Cost) -> None:
    _warn(spec, cost)
    if cost.smaller:
        _propose(spec, cost)
    st.markdown(
        f"Trains **{human_count(cost.trained)}** of {human_count(cost.parameters['backbone'])} weights "
        f"(**{percent(cost.share)}**): {cost.parameters['method']:,} in {spec.method.card.title}, "
        f"{cost.parameters['head']:,} in the classifier."
    )
    ghost = None if spec.method.baseline == "upper" else cost.full
    theme.show(
        plan(figures.memory_bar, cost.components, ghost=ghost, dark=theme.is_dark(), height=150), key="launch_memory"
    )
    cached = ", including the cached features of all images" if cost.components["cached_features"] else ""
    st.caption(
        f"{words.components(cost.components)}  \nPredicted peak of one training step of {cost.batch} images, without "
        f"running it{cached}. {POWERS}" + (f"  \n{errors.plain(cost.cache)}" if cost.cache else "")
    )


def _warn(spec: RunSpec, cost: costs.Cost | costs.Race) -> None:
    """Where it takes more memory than there is, by the engine, or while there is none by this machine. On a cluster
    (RAY_ADDRESS) others may have more."""
    refusal = state.engine().refusal(spec.to_dict(), costs.taken(cost))
    here = "" if os.environ.get("RAY_ADDRESS") else heavy.too_much(cost.peak, spec.device)
    if refusal or here:
        st.warning(errors.plain(str(refusal or here)), icon=":material/memory:")


def _propose(spec: RunSpec, cost: costs.Cost) -> None:
    """The backbone's own image size has many tokens: what a smaller one costs, and a button that takes it."""
    assert cost.smaller is not None, "asked where there is one"
    size = str(cost.smaller.size)
    less = f", and the peak {si_bytes(cost.peak_smaller)} instead of {si_bytes(cost.peak)}"
    st.info(cost.smaller.sentence(spec.backbone, less), icon=":material/photo_size_select_large:")
    st.button(f"Take {size} pixels", key="launch_smaller", on_click=links.write, kwargs={"image_size": size})
