"""Slow work beside a page: a page draws all it can, then waits in sight for what is still under way.

A page waits in its own run and polls with no fragment: `st.switch_page` beside a fragment that reruns on a timer can
leave the browser with an empty page (a late rerun names the old page), and a click elsewhere ends the wait anyway.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import stopped
from app.desk import POLL_SECONDS, Desk, Job
from app.room import is_room
from app.worker import Call


@st.cache_resource(show_spinner=False)
def _desk() -> Desk:
    return Desk(3)  # of one session two: a long reading must not hold up a short one


@st.cache_resource(show_spinner=False)
def _apart() -> Desk:
    return Desk(2)


def later(key: Hashable, work: Callable[[], Any]) -> Job:
    """The future of `work`, begun once per key in a thread of the app. `work` must call nothing of Streamlit."""
    return _desk().ask(key, work)


def apart(key: Hashable, function: Callable[..., Any], *args: Any) -> Job:
    """The future of `function(*args)`, begun once per key in a process of its own: for what a link may ask for.

    The result is an OverLimit where it took more than it may. In a room it asks no network.
    """
    return _apart().ask(key, Call(_offline, (function, *args)) if is_room() else Call(function, args))


def settled(result: Any = None, fault: Exception | None = None) -> Future:
    """A future that is done."""
    job: Future = Future()
    if fault is None:
        job.set_result(result)
    else:
        job.set_exception(fault)
    return job


def _offline(function: Callable[..., Any], *args: Any) -> Any:
    from peftcore.fetch import places

    with places.offline():
        return function(*args)


def wait(job: Future, tell: Callable[[], object], place: DeltaGenerator) -> None:
    """Waits for a future. `tell` draws in `place` what is happening; there a newer request of the reader takes over.

    A page that draws first and then waits to begin again takes its future before it draws: one that ends meanwhile is
    waited for as well, or the page would end without what it brings.
    """
    with stopped.told(place):
        while not job.done():
            if isinstance(job, Job):
                job.look()
            tell()
            concurrent.futures.wait([job], timeout=POLL_SECONDS)
