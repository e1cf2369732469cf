"""Proof of life between processes: a locked file that the system unlocks when its holder ends, however it ends."""

from __future__ import annotations

import secrets
from pathlib import Path

from filelock import FileLock, Timeout


class Lease:
    """Held from construction to `release` or to the end of the process."""

    def __init__(self, folder: Path):
        self.id = secrets.token_hex(8)
        self._lock = _lock(folder, self.id)
        self._lock.acquire(blocking=False)

    def release(self) -> None:
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

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


def _lock(folder: Path, id: str) -> FileLock:
    return FileLock(folder / f"{id}.lock", mode=0o600, thread_local=False)
