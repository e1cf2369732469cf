"""What a visitor of the app may queue. Each run that waits is somebody's turn that comes later, so they are counted.

The caps are the engine's (engine/caps.py), which asks them of a person by name; here those that nobody has given a name
are counted by session. The library and the command line on the machine itself have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from app import plain_options, state
from app.room import who
from peftcore.engine.caps import Caps, variable
from peftcore.spec import RunSpec

OWN, ALL = variable("waiting"), variable("waiting_all")  # the settings
MOST_COUNTED = 1000  # newest runs of a session that are counted
_QUEUED = "caps_queued"  # in the session: numbers of the runs that it queued


def check(more: int) -> None:
    """Whether this visitor may queue so many runs more.

    Raises:
        InvalidSetting: too many would wait.
    """
    if who.rights() is not None:
        return  # the engine knows this visitor by name
    waiting = set(state.engine().queue())
    own = len(waiting.intersection(st.session_state.get(_QUEUED, ())))
    Caps.here().queue(own, len(waiting), more)


def submit(spec: RunSpec, predicted: Mapping[str, int] | None = None) -> int:
    """Queues a run for this visitor and returns its number. `predicted`: as the engine's submit takes it.

    Raises:
        InvalidSetting: too many would wait, or its options are not plain (plain_options.py).
    """
    _allow([spec])
    run = state.engine().submit(spec, predicted=predicted)
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
    st.session_state[_QUEUED] = [*st.session_state.get(_QUEUED, []), *runs][-MOST_COUNTED:]


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
