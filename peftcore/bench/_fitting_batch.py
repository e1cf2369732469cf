"""The largest batch that fits a memory, found by predictions alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from peftcore import errors
from peftcore.features.plan import share_of
from peftcore.memory.predict import predict_memory
from peftcore.spec import RunSpec

LIMIT = 4096  # images, the largest batch that a RunSpec takes
_STRAIGHT = 12  # guesses along a line, before the search halves what is left


def largest_batches(
    spec: RunSpec, budgets: Iterable[int], *, num_classes: int, held: int = 0, **options: Any
) -> dict[int, int]:
    """The largest batch of `spec` whose predicted step fits into each budget of bytes; 0 where a single image does not.

    A batch that is returned was predicted to fit, and one image more was predicted not to, unless it is LIMIT. held:
    bytes of the cached features of all images, which lie in this memory where they are within the share of it that a
    cache may take, and elsewhere otherwise. `options` go to `predict_memory`.

    Raises:
        InvalidSetting: a budget that is not positive; and whatever `predict_memory` raises.
    """

    @cache
    def peak(batch: int) -> int:
        return predict_memory(spec.replace(batch_size=batch), num_classes=num_classes, **options).peak

    found = {}
    for budget in budgets:
        if budget <= 0:
            raise errors.InvalidSetting(f"A memory of {budget:,} bytes holds nothing; give a positive number of bytes.")
        left = budget - (held if held <= share_of(budget) else 0)
        found[budget] = _search(peak, left, spec.batch_size)
    return found


def _search(peak: Callable[[int], int], budget: int, first: int) -> int:
    """The last batch whose peak is within the budget. Peaks are straight lines in the batch, piece by piece, so the
    next guess lies on the line through the last two; where lines run out, halving ends it."""
    last, size = 1, peak(1)
    if size > budget:
        return 0
    fits, misses, guess, guesses = 1, LIMIT + 1, min(max(first, 2), LIMIT), 0
    while misses - fits > 1:
        guesses += 1
        before, below = last, size
        last = min(max(guess, fits + 1), misses - 1)
        size = peak(last)
        fits, misses = (last, misses) if size <= budget else (fits, last)
        slope = (size - below) / (last - before)
        straight = int(last + (budget - size) // slope) if slope > 0 else LIMIT
        guess = straight if guesses < _STRAIGHT else (fits + misses) // 2
    return fits
