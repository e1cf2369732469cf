"""Frozen features on disk: a file per tap and set of images, found by what made it, checked before use, bounded.

A file is a header of 4,096 bytes (JSON: what made it, shape, type, checksum) and the values of one tensor. It is
written under a temporary name and renamed once complete, so a file under its final name is whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peftcore import errors
from peftcore.home import gigabytes, home

log = logging.getLogger(__name__)

_HEADER = 4096  # bytes
_CHUNK = 1 << 24  # bytes that are checked at a time
_DISK_GB = 20.0
_DTYPES = {str(t).removeprefix("torch."): t for t in (torch.float32, torch.bfloat16, torch.float16, torch.float64)}


@dataclass(frozen=True)
class Entry:
    """One file of the shelf. `used`: seconds since 1970."""

    path: Path
    bytes: int
    used: float
    about: dict[str, Any]  # empty where the file cannot be read


class Shelf:
    """The files of frozen features in `folder`, by default HEADROOM_HOME/features.

    `limit`: bytes that all of them may take, by default HEADROOM_CACHE_DISK_GB or 20 GB; the least recently used go
    first. Every tensor is read by memory map.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None):
        self.folder = folder or home() / "features"
        most = gigabytes("HEADROOM_CACHE_DISK_GB")
        self.limit = int((_DISK_GB if most is None else most) * 1e9) if limit is None else limit

    def path(self, about: dict[str, Any]) -> Path:
        return self.folder / f"{hash_of([json.dumps(about, sort_keys=True).encode()])}.features"

    def room(self) -> int:
        """Bytes that new features may take: within the limit, and at most half of the disk's free space beside ours."""
        return min(self.limit, self._held() + self._free() // 2)

    def _held(self) -> int:
        return sum(entry.bytes for entry in self.entries())

    def _free(self) -> int:
        folder = self.folder.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def read(self, about: dict[str, Any]) -> Tensor | None:
        """The tensor made of exactly this; None where there is none, or only a damaged one, which is removed."""
        path = self.path(about)
        try:
            tensor = _load(path, about)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            fault = str(error) or type(error).__name__
            log.warning("The cached features in %s are not usable (%s); they are computed anew.", path, fault)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):  # a folder that is read-only can still be read from
            _touch(path)
        return tensor

    def writer(self, about: dict[str, Any], count: int) -> Writer:
        return Writer(self.path(about), about, count)

    def make_room(self, need: int, keep: set[Path]) -> None:
        """Removes the least recently used files until `need` more bytes are within the limit and on the disk.

        Raises:
            StoreUnavailable: they never could be; nothing is removed then.
        """
        total = self._held()

        def fits() -> bool:
            return total + need <= self.limit and need < self._free()

        possible = need <= min(self.limit, total + self._free())
        for entry in reversed(self.entries() if possible else []):
            if not fits() and entry.path not in keep:
                with suppress(OSError):
                    entry.path.unlink()
                    total -= entry.bytes
                    log.info("Removed %s: the least recently used of the cached features.", entry.path)
        if not fits():
            sizes = (f"{size / 1e9:.2f} GB" for size in (need, self.limit, self._free()))
            raise _no_space(self.folder, "{} are needed, {} allowed and {} free".format(*sizes))

    def entries(self) -> list[Entry]:
        """The files, the most recently used first."""
        found = []
        for path in self.folder.glob("*.features"):
            with suppress(OSError):
                stat = path.stat()
                found.append(Entry(path, stat.st_size, stat.st_mtime, _about(path)))
        return sorted(found, key=lambda entry: -entry.used)

    def clear(self) -> int:
        """Removes every file, half ones of runs that died as well; bytes freed."""
        freed = 0
        for path in [*self.folder.glob("*.features"), *self.folder.glob("*.part")]:
            with suppress(FileNotFoundError):
                freed += path.stat().st_size
                path.unlink()
        return freed


class Writer:
    """A new file of `count` rows: `write` them in order, then `commit`; without it, `close` leaves nothing behind.

    Values go through write(), not through a memory map: a full disk is then an error and no crash.
    """

    def __init__(self, path: Path, about: dict[str, Any], count: int):
        self.path, self._count = path, count
        self._head: dict[str, Any] = {"about": about}
        self._part = path.with_name(f"{path.stem}.{os.getpid()}.{time.monotonic_ns()}.part")
        with _writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb")
            self._file.seek(_HEADER)

    def write(self, rows: Tensor) -> None:
        kind = {"shape": [self._count, *rows.shape[1:]], "dtype": str(rows.dtype).removeprefix("torch.")}
        values = rows.detach().cpu().contiguous().view(torch.uint8).numpy().data
        self._head |= kind | {"crc32": zlib.crc32(values, self._head.get("crc32", 0))}
        with _writing(self.path.parent):
            self._file.write(values)

    def commit(self) -> None:
        head = json.dumps(self._head).encode()
        with _writing(self.path.parent):
            self._file.seek(0)
            self._file.write(head.ljust(_HEADER))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            _touch(self._part)
            os.replace(self._part, self.path)

    def close(self) -> None:
        with suppress(OSError):  # flushing to a disk that is full
            self._file.close()
        with suppress(OSError):
            self._part.unlink()


def hash_of(parts: Iterable[bytes | memoryview]) -> str:
    """A hash of the bytes of all parts together."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _touch(path: Path) -> None:
    now = time.time_ns()  # the file system's own clock ticks too coarsely to tell two uses apart
    os.utime(path, ns=(now, now))


def _load(path: Path, about: dict[str, Any]) -> Tensor:
    """The tensor in a file, by memory map. Raises ValueError, among others, where it is not what it should be."""
    with path.open("rb") as file:
        head = json.loads(file.read(_HEADER))
    if head["about"] != about:
        raise ValueError("made of something else than its name says")
    shape, dtype = head["shape"], _DTYPES[head["dtype"]]
    expected = _HEADER + int(np.prod(shape)) * dtype.itemsize
    if (size := path.stat().st_size) != expected:
        raise ValueError(f"{size:,} bytes instead of {expected:,}")
    # Copy on write: the tensor may be written to, the file never is.
    values = np.memmap(path, np.uint8, mode="c", offset=_HEADER)
    crc = 0
    for start in range(0, len(values), _CHUNK):
        crc = zlib.crc32(values[start : start + _CHUNK].data, crc)
    if crc != head["crc32"]:
        raise ValueError("its checksum differs")
    return torch.from_numpy(values).view(dtype).view(shape)


def _about(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_HEADER))["about"]
    except (ValueError, LookupError, TypeError):
        return {}


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """What the system refuses becomes a sentence."""
    try:
        yield
    except OSError as error:
        raise _no_space(folder, error.strerror or str(error)) from error


def _no_space(folder: Path, why: str) -> errors.StoreUnavailable:
    return errors.StoreUnavailable(
        f"The frozen features cannot be kept in {folder} ({why}). Free space there, choose another disk with "
        "HEADROOM_HOME, allow more with HEADROOM_CACHE_DISK_GB, or use cache_features=False."
    )
