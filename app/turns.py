"""When it is a run's turn, in words: its place among those that wait, and how long it will take to come."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app import errors, state, words
from peftcore.engine.forecast import NEW
from peftcore.engine.told import Wait

PAUSED = "The room is paused"
SOON = 2.0  # seconds that nobody needs to be told


def new() -> str:
    """Of a run that is launched now."""
    engine = state.engine()
    if engine.state.startswith("failed"):
        return errors.plain(engine.state.partition(": ")[2])
    if engine.state == "starting":
        return "The engine is starting; the run begins as soon as it is ready."
    forecast = engine.forecast()
    if NEW in forecast.held:
        return f"{PAUSED}: it begins when the teacher lets the queue go on."
    wait = forecast.new
    if wait is None or (wait.of == 1 and wait.high < SOON):
        return "It begins at once."
    if not forecast.known:
        return f"It would be {_place(wait)}."
    if wait.of == 1:
        return f"It would begin {when(wait)}, when {'the run at work' if engine.slots == 1 else 'a run at work'} ends."
    return f"It would begin {when(wait)}, {_place(wait)}."


def of(runs: Sequence[int]) -> str:
    """Of the first of these queued runs."""
    engine = state.engine()
    if engine.state.startswith("failed"):
        return errors.plain(engine.state.partition(": ")[2])
    if engine.state == "starting":
        return "The engine is starting, about 10 seconds after the app began."
    forecast = engine.forecast()
    waits = [forecast.waits[run] for run in runs if run in forecast.waits]
    if not waits:
        return f"Queued. {PAUSED}." if forecast.held & set(runs) else "Queued."
    wait = min(waits, key=lambda one: one.place)
    text = "Queued; it is the next to begin" if wait.place == 1 else f"Queued, {_place(wait)}"
    if not forecast.known:
        return f"{text}."
    return f"{text}, at once." if wait.high < SOON else f"{text}, {when(wait)}."


def seconds(run: int) -> float:
    """How long a queued run will still wait, by the middle of its forecast; 0 for one that does not wait; without
    end in a room that is paused."""
    forecast = state.engine().forecast()
    if run in forecast.held:
        return math.inf
    return forecast.waits[run].middle if run in forecast.waits else 0.0


def when(wait: Wait) -> str:
    """'in about 3 to 5 min'."""
    return f"within {words.duration(wait.high)}" if wait.low < SOON else f"in about {words.span(wait.low, wait.high)}"


def _place(wait: Wait) -> str:
    return f"{words.ordinal(wait.place)} of {wait.of:,}"
