"""Streamlit's own Stop, in the page's header: what says that something goes on must not stay when nothing does.

A run of the script that is to stop draws nothing more: whatever it draws raises StopException instead. So the last
words come from a thread beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import StopException, add_script_run_ctx

SAYS = "The page was stopped here. To go on, press R or reload it."


@contextmanager
def told(place: DeltaGenerator) -> Iterator[None]:
    """Where the reader stops the page while `place` (an `st.empty`) shows how far something is, it says so instead."""
    try:
        yield
    except StopException:
        thread = Thread(target=place.info, args=(SAYS,), kwargs={"icon": ":material/stop_circle:"})
        add_script_run_ctx(thread)
        thread.start()
        thread.join()
        raise
