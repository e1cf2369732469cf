"""When queued runs will begin: their order, and how long those before them take, drawn many times.

Durations are what finished runs of this machine teach (store/durations.py), with their spread; a run at work is judged
by its own steps once it has taken some.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np

from peftcore.backbone import embedded
from peftcore.engine.line import Turn
from peftcore.engine.schedule import DRAWS, EXPECTED, begins
from peftcore.engine.told import Told, Wait
from peftcore.store import WAITING, Store
from peftcore.store.durations import Durations, Estimate, Learnt

LIKELY = (0.1, 0.9)  # of the draws: what a wait is said to lie between
NEWEST = 40  # finished runs that an unknown one is like
REMEMBERED = 12 * 3600.0  # seconds of history from which people's habits are taken
LIKELY_SPREAD = 1.2816  # standard deviations, the same of a normal number
SHARE_DONE, STEPS_SPREAD = 0.1, 0.15  # of its steps: from there on a run's own speed counts, and how well it tells
STILL = 0.05  # of its estimate: what is left of a run that has worked for longer than that
NEW = 0  # in the place of the number of a run that is not queued yet
UNKNOWN = Estimate(60.0, 1.2)  # before any run has finished


@dataclass(frozen=True)
class Forecast:
    """`waits` by run; `new`: of a run that would be queued now; `learnt`: from finished runs. `held`: queued runs that
    nobody knows the wait of, since their owner's queue is paused; with NEW, also of one that would be queued now."""

    waits: dict[int, Wait] = field(default_factory=dict)
    new: Wait | None = None
    held: frozenset[int] = frozenset()
    learnt: Learnt = field(default_factory=lambda: Learnt([]))

    @property
    def known(self) -> bool:
        """Whether any run has finished to learn from."""
        return bool(self.learnt.took)

    def lasts(self, settings: Mapping[str, Any]) -> tuple[float, float] | None:
        """Seconds from its begin to its end, low and high, of a run with these settings; None where no run has
        finished that it is like: on its backbone, or on any where it is one of the small ones."""
        found = self.learnt.estimate(settings)
        if found is None or not (self.learnt.knows(settings) or settings["backbone"] in embedded.names()):
            return None
        reach = math.exp(LIKELY_SPREAD * found.spread)
        return found.seconds / reach, found.seconds * reach


class Habits:
    """Who comes back, and how soon: of the people who were here lately and have nothing queued, as many are expected
    to queue another run as did before, and it comes before a second one of those who have had a turn since.

    Args:
        history: of runs of the last hours, owner, and when it was queued, and when it ended or None.
        now: seconds since 1970.
    """

    LATELY = 1800.0  # seconds after which somebody is thought to have left
    FIRST = (1.0, 2.0)  # returns, of so many ends, that are assumed beforehand

    def __init__(self, history: Iterable[tuple[str, float, float | None]], now: float):
        queued: dict[str, list[float]] = {}
        ended: dict[str, list[float]] = {}
        for owner, at, end in history:
            queued.setdefault(owner, []).append(at)
            if end is not None:
                ended.setdefault(owner, []).append(end)
        after = [
            min((at - end for at in queued[owner] if at > end), default=math.inf)
            for owner, ends in ended.items()
            for end in ends
        ]
        self.gaps = np.array([gap for gap in after if gap < self.LATELY] or [60.0])
        self.returning = (self.FIRST[0] + sum(gap < self.LATELY for gap in after)) / (self.FIRST[1] + len(after))
        self.here = {owner for owner in queued if now - max([*queued[owner], *ended.get(owner, [])]) < self.LATELY}

    def expected(self, waiting: Collection[str], at_work: Collection[str], now: float) -> list[Turn]:
        """Turns of people who have nothing queued."""
        owners = sorted((self.here | set(at_work)) - set(waiting))
        return [Turn((EXPECTED - nth,), owner, now) for nth, owner in enumerate(owners)]

    def comes(self, rng: np.random.Generator) -> np.ndarray:
        """Seconds until one of them queues it, (DRAWS,); infinite where they do not."""
        return np.where(rng.random(DRAWS) < self.returning, rng.choice(self.gaps, DRAWS), math.inf)


def wait(begin: np.ndarray, place: int, of: int) -> Wait:
    low, middle, high = np.quantile(begin, [LIKELY[0], 0.5, LIKELY[1]])
    return Wait(place, of, float(low), float(middle), float(high))


def shared(each: Sequence[Estimate]) -> Estimate:
    """Of runs that train in one process: more than the longest, less than all one by one."""
    longest, total = max(one.seconds for one in each), sum(one.seconds for one in each)
    most = max(each, key=lambda one: one.spread)
    spread = math.hypot(most.spread, math.log(total / longest) / 2)
    return Estimate(math.sqrt(longest * total), spread, most.shared, most.group)


def left(store: Store, run: int, started: float | None, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seconds that a run at work still takes, (DRAWS,). `draws`: what it takes as a whole."""
    now = time.time()
    begun, step = store.last_event(run, "started"), store.last_event(run, "step")
    if begun and step and begun.get("steps"):
        before = _resumed_at(store, run, begun, step)
        taken, to_take = step["step"] - before, begun["steps"] - before
        if taken and taken >= SHARE_DONE * to_take:
            speed = max(0.1, step["time"] - begun["time"]) / taken
            rest = speed * (begun["steps"] - step["step"]) - (now - step["time"])
            return np.maximum(rest, 0.0) * np.exp(STEPS_SPREAD * rng.standard_normal(DRAWS))
        if before:  # the steps of an earlier attempt are not taken again
            draws, started = draws * to_take / begun["steps"], begun["time"]
    worked = now - started if started else 0.0
    return np.maximum(draws - worked, STILL * draws)


def _resumed_at(store: Store, run: int, begun: Mapping[str, Any], step: Mapping[str, Any]) -> int:
    """Steps that were taken before a run began the last time; 0 of one that was never resumed."""
    query = "SELECT data FROM events INDEXED BY events_by_kind WHERE run = ? AND kind = 'step' AND seq > ?"
    with store.read() as db:
        first = db.execute(f"{query} ORDER BY seq LIMIT 1", (run, begun["seq"])).fetchone()
    return json.loads(first[0])["step"] - 1 if first else step["step"]


class Oracle:
    """Forecasts of an engine's queue, made at most once per TICK for all who look."""

    TICK = 1.0

    def __init__(self, store: Store):
        self.store, self.durations, self.told = store, Durations(store), Told(store)
        self._made: dict[str, tuple[float, tuple, Forecast]] = {}
        self._lock = threading.Lock()

    def look(
        self,
        owner: str,
        order: Callable[[Sequence[Turn]], Sequence[Turn]],
        jobs: Sequence[tuple[int, ...]],
        slots: int,
        most: Callable[[str], int | None] = lambda owner: None,
    ) -> Forecast:
        """Args:
        owner: who would queue a new run.
        order: what waits, the next turn first, with some turns more.
        jobs: the runs of each slot that is taken, begun or not.
        most: turns of a person that work at once; 0 where none begins, None for no cap.
        """
        waiting, now = tuple(self.store.waiting()), time.monotonic()
        state = (waiting, tuple(jobs), slots, most(owner))
        with self._lock:
            at, of, made = self._made.get(owner, (-math.inf, (), Forecast()))
            if of == state and now - at < self.TICK:
                return made
            made = self._make(owner, order, jobs, slots, most)
            self._made = {who: kept for who, kept in self._made.items() if now - kept[0] < self.TICK}
            self._made[owner] = (now, state, made)
            return made

    def _make(
        self,
        owner: str,
        order: Callable[[Sequence[Turn]], Sequence[Turn]],
        jobs: Sequence[tuple[int, ...]],
        slots: int,
        most: Callable[[str], int | None],
    ) -> Forecast:
        most = cache(most)
        rng, records = np.random.default_rng(0), {r.id: r for r in self.store.runs(status=WAITING)}
        learnt = self.durations.learnt()

        def whole(runs: Sequence[int]) -> Estimate:
            found = [learnt.estimate(records[run].spec) for run in runs if run in records]
            return shared([one for one in found if one] or [UNKNOWN])

        @cache
        def drawn(runs: tuple[int, ...]) -> np.ndarray:
            return whole(runs).draws(rng, DRAWS, in_common)

        in_common: dict[Hashable, np.ndarray] = {}
        at_work, owners, handed = list[np.ndarray](), list[str](), list[Turn]()
        for runs in jobs:
            working = [records[run] for run in runs if run in records]
            if any(record.status == "running" for record in working):
                each = [left(self.store, one.id, one.started, drawn((one.id,)), rng) for one in working]
                at_work.append(np.max(each, axis=0))
                owners.append(working[0].owner)
            elif working:
                handed.append(Turn(tuple(one.id for one in working), working[0].owner, working[0].queued))

        habits = self._habits(now := time.time())
        busy = [records[run].owner for runs in jobs for run in runs if run in records]

        def waits(*new: Turn) -> dict[int, Wait]:
            there = {record.owner for record in records.values() if record.status == "queued"}
            expected = habits.expected({*there, *(turn.owner for turn in new)}, busy, now)
            turns = [*handed, *(turn for turn in order([*new, *expected]) if most(turn.owner) != 0)]
            lasts = partial(_lasts, drawn, learnt, rng)
            found = begins(turns, at_work, lasts, slots, lambda: habits.comes(rng), owners, most)
            runs = [(run, begin) for turn, begin in zip(turns, found, strict=True) for run in turn.runs]
            real = [(run, begin) for run, begin in runs if run > EXPECTED]
            return {run: wait(begin, nth, len(real)) for nth, (run, begin) in enumerate(real, 1)}

        spans, said = self.told.calibration(), waits()
        stands = {record.id for record in records.values() if record.status == "queued" and most(record.owner) == 0}
        self.told.say({} if stands else said, now)  # a wait says nothing of the others once somebody has held the queue
        new = None if most(owner) == 0 else spans.of(waits(Turn((NEW,), owner, now))[NEW])
        stands |= {NEW} if new is None else set()
        return Forecast({run: spans.of(wait) for run, wait in said.items()}, new, frozenset(stands), learnt)

    def _habits(self, now: float) -> Habits:
        with self.store.read() as db:
            query = "SELECT owner, queued, finished FROM runs WHERE queued > ?"
            return Habits(db.execute(query, (now - REMEMBERED,)).fetchall(), now)


def _lasts(
    drawn: Callable[[tuple[int, ...]], np.ndarray], learnt: Learnt, rng: np.random.Generator, turn: Turn
) -> np.ndarray:
    return drawn(turn.runs) if turn.runs[0] > EXPECTED else anyone(learnt, rng)


def anyone(learnt: Learnt, rng: np.random.Generator) -> np.ndarray:
    """Seconds that a run takes of which nothing is known, (DRAWS,): those of the newest that have finished."""
    return rng.choice([one.seconds for one in learnt.took[:NEWEST]] or [UNKNOWN.seconds], DRAWS)
