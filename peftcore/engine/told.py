"""How far what people were told of their waits was from what came, and spans that are set by it.

Conformal prediction (Romano, Patterson, Candès: Conformalized Quantile Regression, 2019): each end of a span is moved
by a quantile of the distances by which it missed before, so that four of five waits to come lie within, whatever the
model behind the spans gets wrong, as long as the machine goes on as it did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from peftcore.store import Store

ARTIFACT = "told"  # of a run that has begun: low, middle, high, and the seconds that came
NEWEST = 100  # waits that are learnt from
BEYOND = 0.1  # of the waits may lie below a span, and as many above it
ROUNDING = 5.0  # seconds that make no difference
# Distances that are assumed beforehand, sorted: of scripts/queue_forecast.py's rooms 20 to 25, with one and two slots.
ASSUMED = (
    (-1.69, -0.96, -0.65, -0.45, -0.27, -0.19, -0.13, -0.09, -0.05, 0.03),
    (-1.07, -0.90, -0.68, -0.38, -0.20, -0.13, -0.07, -0.03, 0.05, 0.42),
)


@dataclass(frozen=True)
class Wait:
    """Seconds until a run begins: low, middle and high, of which the true one is between low and high in four of five
    cases. `place`: 1 for the next one, of `of` that wait."""

    place: int
    of: int
    low: float
    middle: float
    high: float


def missed(wait: Wait, came: float) -> tuple[float, float]:
    """By how much, as logarithms, what came was below the low end and above the high one; negative within."""
    low, high, true = (math.log(seconds + ROUNDING) for seconds in (wait.low, wait.high, came))
    return low - true, true - high


class Calibration:
    """Args:
    misses: of former waits, the newest first, see `missed`.
    """

    def __init__(self, misses: Iterable[tuple[float, float]]):
        rows = np.array([*zip(*ASSUMED, strict=True), *list(misses)[:NEWEST]])
        rank = min(len(rows), math.ceil((1 - BEYOND) * (len(rows) + 1)))
        self.below, self.above = (max(0.0, float(value)) for value in np.sort(rows, axis=0)[rank - 1])

    def of(self, wait: Wait) -> Wait:
        """The same with a span that would have held four of five former waits.

        It is widened and never narrowed: the last waits of a workshop are foretold better than the first of the next.
        """
        if not wait.high:
            return wait  # a slot is free
        low, high = (wait.low + ROUNDING) * math.exp(-self.below), (wait.high + ROUNDING) * math.exp(self.above)
        low, high = min(low - ROUNDING, wait.middle), max(high - ROUNDING, wait.middle)
        return replace(wait, low=max(0.0, low), high=high)


class Told:
    """What was said of queued runs, and, in a store, what came."""

    def __init__(self, store: Store):
        self.store = store
        self._said: dict[int, tuple[float, Wait]] = {}  # when, and what, not yet calibrated

    def say(self, waits: Mapping[int, Wait], now: float) -> None:
        """Notes the first that is said of each run; runs that are gone are forgotten."""
        self._said = {run: self._said.get(run, (now, wait)) for run, wait in waits.items()}

    def came(self, runs: Iterable[int], now: float) -> None:
        """They begin: writes down what was said of them."""
        for run in runs:
            if run in self._said:
                at, wait = self._said.pop(run)
                if not wait.high:  # a slot was free: what it waited for is no queue
                    continue
                ends = {"low": wait.low, "middle": wait.middle, "high": wait.high, "came": max(0.0, now - at)}
                self.store.put_artifact(run, ARTIFACT, json.dumps(ends).encode())

    def calibration(self) -> Calibration:
        with self.store.read() as db:
            query = "SELECT data FROM artifacts WHERE name = ? ORDER BY run DESC LIMIT ?"
            newest = [json.loads(row[0]) for row in db.execute(query, (ARTIFACT, NEWEST))]
        return Calibration(missed(Wait(1, 1, one["low"], one["middle"], one["high"]), one["came"]) for one in newest)
