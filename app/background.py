"""Slow work beside a page: a page draws all it can, then waits in sight for what is still under way.

A page waits in its own run and polls with no fragment: `st.switch_page` beside a fragment that reruns on a timer can
leave the browser with an empty page (a late rerun names the old page), and a click elsewhere ends the wait anyway.
"""

from __future__ import annotations

import concurrent.futures
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from math import inf
from threading import Lock
from time import monotonic
from typing import Any

import streamlit as st

from peftcore import errors

MOST_KEPT = 128
POLL_SECONDS = 0.2
STALE_SECONDS = 5.0  # after which a fault is no longer believed that may have been mended outside of the app
# Of a folder, a file, a network; what is wrong with a setting stays wrong.
MENDED_OUTSIDE = (errors.BadData, errors.DataUnavailable, errors.WeightsUnavailable, OSError)


class Desk:
    """Results by key, shared by all sessions. Two threads: one long reading must not hold up a short prediction."""

    def __init__(self, threads: int = 2):
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="headroom-page")
        self.jobs: OrderedDict[Hashable, Future] = OrderedDict()
        self.lock = Lock()

    def ask(self, key: Hashable, work: Callable[[], Any]) -> Future:
        with self.lock:
            if key in self.jobs and self._is_stale(key):
                del self.jobs[key]
            if key not in self.jobs:
                job = self.jobs[key] = self.pool.submit(work)
                job.add_done_callback(lambda job: setattr(job, "ended", monotonic()))
                while len(self.jobs) > MOST_KEPT:
                    self.jobs.popitem(last=False)[1].cancel()
            self.jobs.move_to_end(key)
            return self.jobs[key]

    def _is_stale(self, key: Hashable) -> bool:
        job = self.jobs[key]
        if not job.done() or job.cancelled():
            return False
        fault = job.exception() or job.result()
        return isinstance(fault, MENDED_OUTSIDE) and monotonic() - getattr(job, "ended", inf) > STALE_SECONDS

    def forget(self, key: Hashable) -> None:
        """What is asked for by this key again is done again."""
        with self.lock:
            self.jobs.pop(key, None)


@st.cache_resource(show_spinner=False)
def _desk() -> Desk:
    return Desk()


def later(key: Hashable, work: Callable[[], Any]) -> Future:
    """The future of `work`, begun once per key. `work` must call nothing of Streamlit."""
    return _desk().ask(key, work)


def wait(job: Future, tell: Callable[[], object]) -> None:
    """Waits for a future. `tell` draws what is happening; there a newer request of the reader takes over.

    A page that draws first and then waits to begin again takes its future before it draws: one that ends meanwhile is
    waited for as well, or the page would end without what it brings.
    """
    while not job.done():
        tell()
        concurrent.futures.wait([job], timeout=POLL_SECONDS)
