"""Proof of life between processes: a locked file that the system unlocks when its holder ends, however it ends.

No clock is asked: neither a machine that slept nor a clock that was set makes a living holder look dead, or the other
way round.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from filelock import FileLock, Timeout


class Lease:
    """Held from construction to `release` or to the end of the process."""

    def __init__(self, folder: Path):
        self.id = secrets.token_hex(8)
        self._folder = folder
        self._locks = [_lock(folder, self.id)]  # the last one counts; a file that was removed is held on to
        self._locks[0].acquire(blocking=False)
        self._file = _identity(self._locks[0])

    def keep(self) -> None:
        """Makes the file again where somebody cleared the folder: the holder would look dead."""
        if self._locks and _identity(self._locks[-1]) != self._file:
            with contextlib.suppress(Timeout, OSError):  # at the next turn
                lock = _lock(self._folder, self.id)
                lock.acquire(blocking=False)
                self._locks.append(lock)
                self._file = _identity(lock)

    def release(self) -> None:
        while self._locks:
            lock = self._locks.pop()
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    @staticmethod
    def held(folder: Path, id: str) -> bool:
        """Whether the holder of this id still lives; the file of a dead one is cleared away."""
        lock = _lock(folder, id)
        path = Path(lock.lock_file)
        if not path.exists():
            return False
        try:
            with lock.acquire(blocking=False):
                path.unlink(missing_ok=True)
        except Timeout:
            return True
        return False


def _identity(lock: FileLock) -> tuple[int, int] | None:
    """Which file stands under the lock's name."""
    try:
        found = os.stat(lock.lock_file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _lock(folder: Path, id: str) -> FileLock:
    return FileLock(folder / f"{id}.lock", mode=0o600, thread_local=False)
