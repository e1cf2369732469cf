"""Which recipe a search tries next, decided from what was tried: no state of its own, so it goes on where it stopped.

Accuracies are validation's, in percent, the mean over the search's tasks.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

SEEDS = (0, 1, 2)
FINALISTS = 2  # recipes of each kind that are tried with every seed
NEAR = 10.0  # points: what is further behind the best with the first seed is no finalist; seeds move a mean by 2 to 5
MARGIN = 1.0  # points by which more epochs, another weight decay or an option that is ours must win
RATES = tuple(float(f"{m}e{power}") for power in range(-5, 1) for m in (1, 3))  # 0.00001, 0.00003 ... 1, 3
STAGES = ("rates", "options", "epochs", "decay")
PUBLISHED, DEFAULT = "published", "default"


@dataclass(frozen=True)
class Candidate:
    """A recipe. variant: by name, settings of the method and of RunSpec. decay: "default" is the kind's own."""

    lr: float
    epochs: int
    variant: str = PUBLISHED
    decay: str = DEFAULT


@dataclass(frozen=True)
class Space:
    """Where the search of one method begins, and how far it goes."""

    lr: float
    epochs: int
    most_epochs: int
    variants: tuple[str, ...] = (PUBLISHED,)  # each with rates of its own
    options: tuple[str, ...] = ()  # variants too, tried at the rate that stands, as another weight decay is
    decays: tuple[str, ...] = ()
    keeps_epochs: bool = False  # more are tried, and no recipe whatever they win

    @property
    def start(self) -> Candidate:
        return Candidate(min(RATES, key=lambda rate: abs(rate / self.lr - 1)), self.epochs)


Trial = tuple[Candidate, int]  # with which seed
Tried = Mapping[Trial, float]  # -inf: stopped early, or diverged


def mean(tried: Tried, candidate: Candidate) -> float | None:
    """Over all seeds; None where one is missing."""
    values = [tried[candidate, seed] for seed in SEEDS if (candidate, seed) in tried]
    return statistics.mean(values) if len(values) == len(SEEDS) else None


def best(space: Space, tried: Tried, until: str = STAGES[-1]) -> Candidate | None:
    """The recipe that stands after the stages up to `until`, as far as they are done; None before the first is."""
    found = [candidate for _, candidate in _steps(space, tried, STAGES[: STAGES.index(until) + 1]) if candidate]
    return found[-1] if found else None


def missing(space: Space, tried: Tried, stage: str) -> Trial | None:
    """The next trial of the stages up to this one; None where they are done."""
    return next((trial for trial, _ in _steps(space, tried, STAGES[: STAGES.index(stage) + 1]) if trial), None)


Step = tuple[Trial | None, Candidate | None]  # a trial that is missing, with which steps end, or what stands now


def _steps(space: Space, tried: Tried, stages: tuple[str, ...]) -> Iterator[Step]:
    stands: Candidate | None = None
    for variant in space.variants:
        trial, found = _climb(replace(space.start, variant=variant), tried)
        if trial:
            yield trial, None
            return
        stands = _better(tried, stands, found)
    yield None, stands
    if stands is None:
        return
    bounded = [replace(stands, variant=option) for option in space.options if "options" in stages]
    for trial, found in _instead(stands, bounded, tried):
        yield trial, found
        if trial:
            return
        stands = found or stands
    while "epochs" in stages and 2 * stands.epochs <= space.most_epochs:
        trial, found = _climb(replace(stands, epochs=2 * stands.epochs), tried)
        if trial:
            yield trial, None
            return
        if space.keeps_epochs or _better(tried, stands, found) == stands:
            break
        stands = found or stands
        yield None, stands
    decayed = [replace(stands, decay=decay) for decay in space.decays if "decay" in stages]
    yield from _instead(stands, decayed, tried)


def _instead(stands: Candidate, others: Iterable[Candidate], tried: Tried) -> Iterator[Step]:
    """Recipes with another value of one setting: with the first seed, and where that is better with every one."""
    for other in others:
        for seed in SEEDS:
            if (other, seed) not in tried:
                yield (other, seed), None
                return
            if tried[other, SEEDS[0]] <= tried[stands, SEEDS[0]]:
                break
        else:
            stands = _better(tried, stands, other) or stands
            yield None, stands


def _better(tried: Tried, stands: Candidate | None, other: Candidate | None) -> Candidate | None:
    """`other` where it wins by the margin, and `stands` where not."""
    if stands is None or other is None:
        return stands or other
    ours, theirs = mean(tried, stands), mean(tried, other)
    return other if ours is not None and theirs is not None and theirs >= ours + MARGIN else stands


def _climb(start: Candidate, tried: Tried) -> tuple[Trial | None, Candidate | None]:
    """The rate's climb: with the first seed from the start in both directions until the best has worse ones on both
    sides; the best with every seed; and on, where the mean over the seeds prefers an end."""

    def known(lr: float) -> float | None:
        return tried.get((replace(start, lr=lr), 0))

    if known(start.lr) is None:
        return (start, 0), None
    rates = [rate for rate in RATES if known(rate) is not None]
    order = sorted(rates, key=lambda rate: (-(known(rate) or 0), rate))  # of equals, the lower
    if trial := _beside(start, order[0], rates):
        return trial, None
    least = max((known(order[0]) or 0) - NEAR, 0)
    finalists = [replace(start, lr=rate) for rate in order[:FINALISTS] if (known(rate) or 0) > least]
    for candidate in finalists:
        for seed in SEEDS:
            if (candidate, seed) not in tried:
                return (candidate, seed), None
    if not finalists:
        return None, None
    winner = max(finalists, key=lambda candidate: mean(tried, candidate) or 0)
    return _beside(start, winner.lr, rates), winner


def _beside(start: Candidate, rate: float, rates: list[float]) -> Trial | None:
    """The neighbour of a rate that was not tried, the higher one first."""
    place = RATES.index(rate)
    for neighbour in (place + 1, place - 1):
        if 0 <= neighbour < len(RATES) and RATES[neighbour] not in rates:
            return replace(start, lr=RATES[neighbour]), 0
    return None
