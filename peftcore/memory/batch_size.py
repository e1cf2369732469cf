"""The largest batch that fits a memory, found by predictions alone."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from peftcore import errors
from peftcore.memory.predict import predict_memory
from peftcore.spec import RunSpec

LIMIT = 4096  # images, the largest batch that a RunSpec takes
_STRAIGHT = 12  # guesses along a line, before the search halves what is left


def largest_batch(spec: RunSpec, budget: int, **options: Any) -> int:
    """The largest batch of `spec` whose predicted step fits into `budget` bytes; 0 where a single image does not.

    A batch that is returned was predicted to fit, and one image more was predicted not to, unless it is LIMIT.
    `options` go to `predict_memory`.

    Raises:
        InvalidSetting: a budget that is not positive; and whatever `predict_memory` raises.
    """
    return largest_batches(spec, (budget,), **options)[budget]


def largest_batches(spec: RunSpec, budgets: Iterable[int], **options: Any) -> dict[int, int]:
    """`largest_batch` for several budgets, which share their predictions."""
    budgets = tuple(budgets)
    for budget in budgets:
        if budget <= 0:
            raise errors.InvalidSetting(f"A memory of {budget:,} bytes holds nothing; give a positive number of bytes.")

    @cache
    def peak(batch: int) -> int:
        return predict_memory(spec.replace(batch_size=batch), **options).peak

    return {budget: _search(peak, budget, spec.batch_size) for budget in budgets}


def _search(peak: Any, budget: int, first: int) -> int:
    """The last batch whose peak is within the budget. Peaks are straight lines in the batch, piece by piece, so the
    next guess lies on the line through the last two; where lines run out, halving ends it."""
    if peak(1) > budget:
        return 0
    fits, misses, guesses, guess = 1, LIMIT + 1, 0, min(max(first, 2), LIMIT)
    points = [1]
    while misses - fits > 1:
        guess = min(max(guess, fits + 1), misses - 1)
        points.append(guess)
        if peak(guess) <= budget:
            fits = guess
        else:
            misses = guess
        guesses += 1
        guess = _on_the_line(peak, budget, *points[-2:]) if guesses < _STRAIGHT else (fits + misses) // 2
    return fits


def _on_the_line(peak: Any, budget: int, a: int, b: int) -> int:
    """The batch that fills the budget, on the line through the peaks of batches a and b."""
    slope = (peak(b) - peak(a)) / (b - a)
    return LIMIT if slope <= 0 else int(b + (budget - peak(b)) // slope)
