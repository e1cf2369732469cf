"""How long a run will take, learnt from the finished runs of this machine.

A run takes its epochs and a rest (loading, caching features, the test images). Of each the logarithm is estimated as a
mean that leans on ever larger groups: runs of as many epochs, with the same settings that decide the time, on the same
task, of the same method, of the same backbone, all runs. A group's mean counts as many times as it has runs, its
parent's as often as PRIOR (a nested normal model); newer runs count more, since the machine's load changes.
"""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from peftcore.store.runs import Store

NEWEST = 200  # finished runs that are learnt from
HALF_LIFE = 20.0  # runs after which one counts half
FIRST_SPREADS = (
    1.2,
    0.9,
    0.6,
    0.4,
    0.3,
    0.25,
)  # standard deviations of the logarithm, by the smallest group that is known,
PRIOR = 0.25  # runs; with 1, waits in scripts/queue_forecast.py were foretold a fifth too short
FIRST_WEIGHT = 4.0  # which count as this many runs
TO_DEVIATION = 1.4826  # from the median distance of normal numbers to their standard deviation
SHORTEST = 0.05  # seconds


@dataclass(frozen=True)
class Took:
    """What a run was, and the seconds of its mean epoch and of all the rest."""

    groups: tuple[Hashable, ...]
    epochs: int
    epoch: float
    rest: float

    @property
    def seconds(self) -> float:
        return self.rest + self.epochs * self.epoch


@dataclass(frozen=True)
class Estimate:
    """Seconds, as a median, and the standard deviation of their logarithm.

    shared: its part that runs with equal settings (`group`) have in common, as it is the estimate's own error.
    """

    seconds: float
    spread: float
    shared: float = 0.0
    group: Hashable = None

    def draws(self, rng: np.random.Generator, count: int, known: dict[Hashable, np.ndarray]) -> np.ndarray:
        """(count,) seconds. `known`: what is in common, by group, drawn once for all estimates."""
        if self.group not in known:
            known[self.group] = rng.standard_normal(count)
        own = math.sqrt(max(0.0, self.spread**2 - self.shared**2))
        return self.seconds * np.exp(self.shared * known[self.group] + own * rng.standard_normal(count))


def groups(settings: Mapping[str, Any]) -> tuple[Hashable, ...]:
    """What a run's time is learnt from, the largest group first."""
    backbone, method, task = settings.get("backbone"), dict(settings.get("method") or {}).get("name"), settings["task"]
    names = ("batch_size", "image_size", "precision", "device", "augmentation", "cache_features", "weights")
    said = {name: settings.get(name) for name in names}
    same = (backbone, method, task, json.dumps(said, sort_keys=True))
    return (), (backbone,), (backbone, method), (backbone, method, task), same, (*same, settings.get("epochs"))


class Learnt:
    """An estimator. `took`: finished runs, the newest first."""

    def __init__(self, took: list[Took]):
        self.took = took
        self._sums: dict[Hashable, np.ndarray] = {}  # of weights, of weighted logs of epoch and rest; and the count
        for age, one in enumerate(took):
            weight = 0.5 ** (age / HALF_LIFE)
            for group in one.groups:
                known = self._sums.setdefault(group, np.zeros(4))
                known += weight * np.array([1.0, *_logs(one), 1 / weight])
        self.spreads = self._spreads()

    def estimate(self, settings: Mapping[str, Any]) -> Estimate | None:
        """None before any run has finished."""
        return self.of(groups(settings), int(settings.get("epochs", 1)))

    def knows(self, settings: Mapping[str, Any]) -> bool:
        """Whether any run on this backbone has finished: one on another says little, at a hundred times its size."""
        return groups(settings)[1] in self._sums

    def of(self, chain: tuple[Hashable, ...], epochs: int) -> Estimate | None:
        """The same of `groups`, and a number of epochs."""
        if (found := self._found(chain)) is None:
            return None
        (epoch, rest), level = found
        spread, alike = self.spreads[level], self._sums.get(chain[-1], np.zeros(4))[3]
        return Estimate(_seconds(epoch, rest, epochs), spread, spread / math.sqrt(1.0 + alike), chain[-1])

    def _found(
        self, chain: tuple[Hashable, ...], without: Took | None = None
    ) -> tuple[tuple[float, float], int] | None:
        """Means of the logarithms, and which group is the smallest known. `without`: one that is left out."""
        mean, level = None, 0
        for depth, group in enumerate(chain):
            sums = self._sums.get(group, np.zeros(4))
            if without is not None and group in without.groups and sums[3]:
                mine = 0.5 ** (self.took.index(without) / HALF_LIFE)
                sums = sums - mine * np.array([1.0, *_logs(without), 1 / mine])
            if sums[3] < 0.5:
                break
            mean = sums[1:3] / sums[0] if mean is None else (sums[1:3] + PRIOR * mean) / (sums[0] + PRIOR)
            level = depth
        return None if mean is None else ((float(mean[0]), float(mean[1])), level)

    def _spreads(self) -> tuple[float, ...]:
        """By the smallest group known: how far runs lay from what the others say of them, by the median, so that a run
        during which the machine stood still changes little."""
        errors: list[list[float]] = [[] for _ in FIRST_SPREADS]
        for one in self.took:
            for level in range(len(FIRST_SPREADS)):
                found = self._found(one.groups[: level + 1], without=one)
                if found and found[1] == level:
                    errors[level].append(abs(math.log(one.seconds / _seconds(*found[0], one.epochs))))
        return tuple(
            (len(some) * TO_DEVIATION * float(np.median(some)) + FIRST_WEIGHT * first) / (len(some) + FIRST_WEIGHT)
            if some
            else first
            for some, first in zip(errors, FIRST_SPREADS, strict=True)
        )


class Durations:
    """The estimator of a store, learnt anew when a run has finished. Each run is read once."""

    def __init__(self, store: Store):
        self.store = store
        self._read: OrderedDict[tuple[int, float], Took | None] = OrderedDict()
        self._stamp: tuple | None = None
        self._learnt = Learnt([])
        self._lock = threading.Lock()

    def learnt(self) -> Learnt:
        with self._lock:
            with self.store.read() as db:
                query = "SELECT id, finished, started, spec FROM runs WHERE status = 'finished' ORDER BY finished DESC"
                stamp = db.execute("SELECT max(finished), count(*) FROM runs WHERE status = 'finished'").fetchone()
                rows = [] if stamp == self._stamp else db.execute(f"{query} LIMIT ?", (NEWEST,)).fetchall()
            if stamp != self._stamp:
                self._learnt = Learnt([one for row in rows if (one := self._took(*row))])
                self._stamp = stamp
            return self._learnt

    def estimate(self, settings: Mapping[str, Any]) -> Estimate | None:
        """Seconds from when a worker begins it to its end; None before any run has finished."""
        return self.learnt().estimate(settings)

    def _took(self, run: int, finished: float, started: float | None, spec: str) -> Took | None:
        key = (run, finished)
        if key not in self._read:
            self._read[key] = took(json.loads(spec), self.store.last_event(run, "finished"), (started or 0.0, finished))
            while len(self._read) > 2 * NEWEST:
                self._read.popitem(last=False)
        return self._read[key]


def took(spec: Mapping[str, Any], end: Mapping[str, Any] | None, span: tuple[float, float]) -> Took | None:
    """From a run's spec, its event 'finished', and when it began and ended; None where nobody timed its epochs."""
    each = [epoch["seconds"] for epoch in end["epochs"]] if end and end.get("epochs") else []
    if not each or end is None:
        return None
    whole = max(float(end["seconds"]), span[1] - span[0] if span[0] else 0.0)
    if whole > 2 * float(end["seconds"]) + 60:  # it lay still in between: its app had ended
        whole = float(end["seconds"])
    return Took(groups(spec), len(each), max(SHORTEST, float(np.mean(each))), max(SHORTEST, whole - sum(each)))


def _seconds(epoch: float, rest: float, epochs: int) -> float:
    """From the logarithms."""
    return math.exp(rest) + epochs * math.exp(epoch)


def _logs(one: Took) -> tuple[float, float]:
    return math.log(one.epoch), math.log(one.rest)
