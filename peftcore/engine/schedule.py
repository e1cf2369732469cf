"""Which turn begins when: slots that come free, an order, and how many turns of one person may work at once.

Times are drawn many times, and everything here is done to all draws at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from peftcore.engine.line import Turn

DRAWS = 256
EXPECTED = -1  # in the place of a run's number, as all below it: of one that somebody is expected to queue


def begins(
    order: Sequence[Turn],
    at_work: Sequence[np.ndarray],
    lasts: Callable[[Turn], np.ndarray],
    slots: int,
    comes: Callable[[], np.ndarray] | None = None,
    owners: Sequence[str] = (),
    most: Callable[[str], int | None] = lambda owner: None,
) -> list[np.ndarray]:
    """Seconds until each turn begins, (DRAWS,) each: the first of `slots` that is free takes the next turn whose owner
    may have one more at work.

    Args:
        at_work: seconds that the runs at work still take, (DRAWS,) each.
        lasts: seconds that a turn takes, (DRAWS,).
        comes: seconds until an expected turn is queued, (DRAWS,), drawn anew for each.
        owners: whose the runs at work are. most: turns of a person that work at once, at least 1; None for no cap.
    """
    free = np.zeros((DRAWS, max(slots, len(at_work), 1)))
    ends: dict[str, list[np.ndarray]] = {}  # of the turns of each person
    for slot, left in enumerate(at_work):
        free[:, slot] = left
    for owner, left in zip(owners, at_work, strict=False):
        ends.setdefault(owner, []).append(left)
    rows, found, waiting = np.arange(DRAWS), dict[int, np.ndarray](), list(enumerate(order))
    while waiting:
        slot = free.argmin(1)
        soonest = free[rows, slot].copy()
        place, begin = _next(waiting, soonest, lambda owner: _may(ends.get(owner, []), most(owner)))
        nth, turn = waiting.pop(place)
        is_there = comes() <= begin if turn.runs[0] <= EXPECTED and comes is not None else True
        found[nth], takes = begin, np.where(is_there, lasts(turn), 0.0)
        free[rows, slot] = np.where(takes > 0.0, begin + takes, soonest)
        ends.setdefault(turn.owner, []).append(begin + takes)
    return [found[nth] for nth in range(len(found))]


def _next(
    waiting: Sequence[tuple[int, Turn]], soonest: np.ndarray, may: Callable[[str], np.ndarray | None]
) -> tuple[int, np.ndarray]:
    """Which turn begins next, as its place among those that wait, and when, (DRAWS,): the first of those that begin the
    soonest. `soonest`: when a slot is free. `may`: from when a person may have one more; None for at once."""
    candidates: dict[str, tuple[int, np.ndarray]] = {}
    for place, (_, turn) in enumerate(waiting):
        if turn.owner not in candidates:
            free = may(turn.owner)
            candidates[turn.owner] = place, soonest if free is None else np.maximum(soonest, free)
            if free is None:  # no later one begins sooner
                break
    return min(candidates.values(), key=lambda one: np.median(one[1]))


def _may(ends: Sequence[np.ndarray], most: int | None) -> np.ndarray | None:
    """When a person whose turns end then has fewer than `most` at work, (DRAWS,); None for at once."""
    return None if not most or len(ends) < most else np.sort(ends, axis=0)[-most]
