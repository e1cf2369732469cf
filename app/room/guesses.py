"""Whoever guesses the code waits longer with each wrong one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

FREE = 5  # wrong codes of one address before it waits
LONGEST = 300.0  # seconds
MOST = 10_000  # addresses that are remembered


class Guesses:
    """Wrong codes by address. A class behind one router shares an address, so a right code clears it."""

    def __init__(self, clock: Callable[[], float] = monotonic):
        self._clock, self._lock = clock, threading.Lock()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until this address may try again; 0 where it may."""
        with self._lock:
            count, last = self._wrong.get(address, (0, 0.0))
            pause = min(LONGEST, 2.0 ** min(count - FREE, 60)) if count >= FREE else 0.0
            return max(0.0, last + pause - self._clock())

    def wrong(self, address: str) -> None:
        """Notes a wrong code."""
        with self._lock:
            count, _ = self._wrong.pop(address, (0, 0.0))
            self._wrong[address] = count + 1, self._clock()
            while len(self._wrong) > MOST:
                self._wrong.popitem(last=False)

    def right(self, address: str) -> None:
        """Forgets its wrong ones."""
        with self._lock:
            self._wrong.pop(address, None)
