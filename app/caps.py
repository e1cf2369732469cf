"""What a visitor of the app may queue. Each run that waits is somebody's turn that comes later, so they are counted.

They hold for the app. The library and the command line on the machine itself have none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import streamlit as st

from app import plain_options, state
from peftcore.errors import InvalidSetting
from peftcore.spec import RunSpec

OWN, ALL = "HEADROOM_WAITING", "HEADROOM_WAITING_ALL"  # the settings
DEFAULTS = {OWN: 32, ALL: 256}
_QUEUED = "caps_queued"  # in the session: numbers of the runs that it queued


def of(variable: str) -> int:
    """A cap. Raises InvalidSetting: it is set to something that is not a whole number of at least 1."""
    text = os.environ.get(variable) or str(DEFAULTS[variable])
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10**6):
        raise InvalidSetting(f"{variable}={text} is not possible; it must be a whole number, 1 to 1,000,000.")
    return int(text)


def check(more: int) -> None:
    """Whether this visitor may queue so many runs more.

    Raises:
        InvalidSetting: too many would wait.
    """
    waiting = set(state.engine().queue())
    own = len(waiting.intersection(st.session_state.get(_QUEUED, ())))
    for there, cap, whose, most in (
        (own, of(OWN), "Of your runs ", f"one visitor may have {of(OWN)} waiting"),
        (len(waiting), of(ALL), "Of all runs ", f"{of(ALL)} may wait in all"),
    ):
        if there + more > cap:
            raise InvalidSetting(
                f"{whose}{there} wait already, and this would add {more}: {most} at a time. Launch again when some "
                "have begun, or stop some of them."
            )


def submit(spec: RunSpec) -> int:
    """Queues a run for this visitor and returns its number.

    Raises:
        InvalidSetting: too many would wait, or its options are not plain (plain_options.py).
    """
    _allow([spec])
    run = state.engine().submit(spec)
    _count([run])
    return run


def submit_race(specs: Sequence[RunSpec]) -> int:
    """The same of a race's runs; returns the race's number."""
    _allow(specs)
    race = state.engine().submit_race(specs)
    _count([record.id for record in state.store().runs(race=race)])
    return race


def _allow(specs: Sequence[RunSpec]) -> None:
    check(len(specs))
    for spec in specs:
        for name, value in spec.to_dict()["method"].items():
            if refused := plain_options.refusal(value, name):
                raise refused


def _count(runs: list[int]) -> None:
    """Notes runs that this visitor has queued."""
    st.session_state[_QUEUED] = [*st.session_state.get(_QUEUED, []), *runs][-of(ALL) :]


def resume(run: int) -> None:
    """Queues a run that has stopped again, where this visitor may."""
    check(1)
    state.engine().resume(run)
    _count([run])


def resume_race(race: int) -> None:
    """The same of all runs of a race that have stopped."""
    stopped = [record.id for record in state.store().runs(race=race) if record.ended and record.status != "finished"]
    check(len(stopped))
    state.engine().resume_race(race)
    _count(stopped)
