"""Proof of life between processes: a locked file that the system unlocks when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path


class Lease:
    """Held from construction to `release` or to the end of the process."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.id = secrets.token_hex(8)
        self.path = folder / f"{self.id}.lock"
        self._file: int | None = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None

    @staticmethod
    def held(folder: Path, id: str) -> bool:
        """Whether the holder of this id still lives; the file of a dead one is cleared away."""
        path = folder / f"{id}.lock"
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(file)
