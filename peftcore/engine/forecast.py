"""When queued runs will begin: their order, and how long those before them take, drawn many times.

Durations are what finished runs of this machine teach (store/durations.py), with their spread; a run at work is judged
by its own steps once it has taken some.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from peftcore.engine.line import Turn
from peftcore.store import WAITING, Store
from peftcore.store.durations import Durations, Estimate

DRAWS = 256
LIKELY = (0.1, 0.9)  # of the draws: what a wait is said to lie between
SHARE_DONE, STEPS_SPREAD = 0.1, 0.15  # of its steps: from there on a run's own speed counts, and how well it tells
STILL = 0.05  # of its estimate: what is left of a run that has worked for longer than that
NEW = 0  # in the place of the number of a run that is not queued yet
UNKNOWN = Estimate(60.0, 1.2)  # before any run has finished


@dataclass(frozen=True)
class Wait:
    """Seconds until a run begins: low, middle and high, of which the true one is between low and high in four of five
    cases. `place`: 1 for the next one, of `of` that wait."""

    place: int
    of: int
    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """`waits` by run; `new`: of a run that would be queued now. `known`: whether any run has finished to learn from."""

    waits: dict[int, Wait] = field(default_factory=dict)
    new: Wait | None = None
    known: bool = True


def begins(
    order: Sequence[Turn], at_work: Sequence[np.ndarray], lasts: Callable[[Turn], np.ndarray], slots: int
) -> list[np.ndarray]:
    """Seconds until each turn begins, (DRAWS,) each: the first of `slots` that is free takes the next turn.

    Args:
        at_work: seconds that the runs at work still take, (DRAWS,) each.
        lasts: seconds that a turn takes, (DRAWS,).
    """
    free = np.zeros((DRAWS, max(slots, len(at_work), 1)))
    for slot, left in enumerate(at_work):
        free[:, slot] = left
    rows, found = np.arange(DRAWS), []
    for turn in order:
        slot = free.argmin(1)
        found.append(free[rows, slot].copy())
        free[rows, slot] += lasts(turn)
    return found


def wait(begin: np.ndarray, place: int, of: int) -> Wait:
    low, middle, high = np.quantile(begin, [LIKELY[0], 0.5, LIKELY[1]])
    return Wait(place, of, float(low), float(middle), float(high))


def shared(each: Sequence[Estimate]) -> Estimate:
    """Of runs that train in one process: more than the longest, less than all one by one."""
    longest, total = max(one.seconds for one in each), sum(one.seconds for one in each)
    spread = max(one.spread for one in each)
    return Estimate(math.sqrt(longest * total), math.hypot(spread, math.log(total / longest) / 2))


def left(store: Store, run: int, started: float | None, whole: Estimate, rng: np.random.Generator) -> np.ndarray:
    """Seconds that a run at work still takes, (DRAWS,)."""
    now = time.time()
    begun, step = store.last_event(run, "started"), store.last_event(run, "step")
    if begun and step and begun.get("steps") and step["step"] >= SHARE_DONE * begun["steps"]:
        speed = max(0.1, step["time"] - begun["time"]) / step["step"]
        rest = speed * (begun["steps"] - step["step"]) - (now - step["time"])
        return np.maximum(rest, 0.0) * np.exp(STEPS_SPREAD * rng.standard_normal(DRAWS))
    worked = now - started if started else 0.0
    draws = whole.draws(rng, DRAWS)
    return np.maximum(draws - worked, STILL * draws)


class Oracle:
    """Forecasts of an engine's queue, made at most once per TICK for all who look."""

    TICK = 1.0

    def __init__(self, store: Store):
        self.store, self.durations = store, Durations(store)
        self._made: dict[str, tuple[float, tuple, Forecast]] = {}
        self._lock = threading.Lock()

    def look(
        self, owner: str, order: Callable[[Turn | None], Sequence[Turn]], jobs: Sequence[tuple[int, ...]], slots: int
    ) -> Forecast:
        """Args:
        owner: who would queue a new run.
        order: what waits, the next turn first, with one turn more or without.
        jobs: the runs of each slot that is taken, begun or not.
        """
        waiting, now = tuple(self.store.waiting()), time.monotonic()
        state = (waiting, tuple(jobs), slots)
        with self._lock:
            at, of, made = self._made.get(owner, (-math.inf, (), Forecast()))
            if of == state and now - at < self.TICK:
                return made
            made = self._make(owner, order, jobs, slots)
            self._made = {who: kept for who, kept in self._made.items() if now - kept[0] < self.TICK}
            self._made[owner] = (now, state, made)
            return made

    def _make(
        self, owner: str, order: Callable[[Turn | None], Sequence[Turn]], jobs: Sequence[tuple[int, ...]], slots: int
    ) -> Forecast:
        rng, records = np.random.default_rng(0), {r.id: r for r in self.store.runs(status=WAITING)}
        learnt = self.durations.learnt()

        def whole(runs: Sequence[int]) -> Estimate:
            found = [learnt.estimate(records[run].spec) for run in runs if run in records]
            return shared([one for one in found if one] or [UNKNOWN])

        at_work, handed = list[np.ndarray](), list[Turn]()
        for runs in jobs:
            working = [records[run] for run in runs if run in records]
            if any(record.status == "running" for record in working):
                each = [left(self.store, one.id, one.started, whole([one.id]), rng) for one in working]
                at_work.append(np.max(each, axis=0))
            elif working:
                handed.append(Turn(tuple(one.id for one in working), working[0].owner, working[0].queued))
        drawn: dict[Turn, np.ndarray] = {}

        def lasts(turn: Turn) -> np.ndarray:
            if turn not in drawn:
                drawn[turn] = whole(turn.runs).draws(rng, DRAWS)
            return drawn[turn]

        def waits(turns: Sequence[Turn]) -> dict[int, Wait]:
            runs = [(run, begin) for turn, begin in zip(turns, begins(turns, at_work, lasts, slots), strict=True)
                    for run in turn.runs]  # fmt: skip
            return {run: wait(begin, nth, len(runs)) for nth, (run, begin) in enumerate(runs, 1)}

        now = waits([*handed, *order(None)])
        return Forecast(now, waits([*handed, *order(Turn((NEW,), owner, math.inf))])[NEW], bool(learnt.took))
