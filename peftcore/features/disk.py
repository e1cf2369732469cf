"""Frozen features on disk: a file per tap and set of images, found by what made it, checked before use, bounded.

A file is a header of 4,096 bytes (JSON: what made it, shape, type, checksum) and the values of one tensor. It is written
under a temporary name and renamed once complete, so a file by its own name is whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from contextlib import suppress
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
        self.limit = int(gigabytes("HEADROOM_CACHE_DISK_GB", _DISK_GB) * 1e9) if limit is None else limit

    def path(self, about: dict[str, Any]) -> Path:
        return self.folder / f"{key_of(about)}.features"

    def room(self) -> int:
        """Bytes that new features may take: within the limit, and at most half of what the disk has free beside ours."""
        ours = sum(entry.bytes for entry in self.entries())
        return min(self.limit, ours + self._free() // 2)

    def _free(self) -> int:
        folder = self.folder.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def read(self, about: dict[str, Any]) -> Tensor | None:
        """The tensor that was made of exactly this; None where there is none, or only a damaged one, which is removed."""
        path = self.path(about)
        try:
            tensor, fault = _load(path, about)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            tensor, fault = None, str(error) or type(error).__name__
        if tensor is None:
            log.warning("The cached features in %s are not usable (%s); they are computed anew.", path, fault)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):  # a folder that is read-only can still be read from
            _touch(path)
        return tensor

    def writer(self, about: dict[str, Any], shape: tuple[int, ...], dtype: torch.dtype) -> Writer:
        return Writer(self.path(about), about, shape, dtype)

    def make_room(self, need: int, keep: set[Path]) -> None:
        """Removes the least recently used files until `need` more bytes are within the limit and on the disk.

        Raises:
            StoreUnavailable: they never could be; nothing is removed then.
        """
        if need > min(self.limit, sum(entry.bytes for entry in self.entries()) + self._free()):
            raise self._too_little(need)
        entries = sorted(self.entries(), key=lambda entry: entry.used)
        total = sum(entry.bytes for entry in entries)
        for entry in entries:
            if total + need <= self.limit and need < self._free():
                return
            if entry.path not in keep:
                with suppress(OSError):
                    entry.path.unlink()
                    total -= entry.bytes
                    log.info("Removed %s: the least recently used of the cached features.", entry.path)
        if total + need > self.limit or need >= self._free():
            raise self._too_little(need)

    def _too_little(self, need: int) -> errors.StoreUnavailable:
        return _no_space(
            self.folder,
            f"{need / 1e9:.2f} GB are needed, {self.limit / 1e9:.2f} GB allowed and {self._free() / 1e9:.2f} GB free",
        )

    def entries(self) -> list[Entry]:
        """What is there, the most recently used first."""
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
    """A file on its way: `write` rows in their order, then `commit`; without it, `close` leaves nothing behind.

    Values go through write(), not through a memory map: a full disk is then an error and no crash.
    """

    def __init__(self, path: Path, about: dict[str, Any], shape: tuple[int, ...], dtype: torch.dtype):
        self.path, self._crc = path, 0
        self._head = {"about": about, "shape": list(shape), "dtype": str(dtype).removeprefix("torch.")}
        self._part = path.with_name(f"{path.stem}.{os.getpid()}.{time.monotonic_ns()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb")
            self._file.seek(_HEADER)
        except OSError as error:
            raise _no_space(path.parent, error.strerror or str(error)) from error

    def write(self, rows: Tensor) -> None:
        values = rows.detach().cpu().contiguous().view(torch.uint8).numpy().data
        self._crc = zlib.crc32(values, self._crc)
        try:
            self._file.write(values)
        except OSError as error:
            raise _no_space(self.path.parent, error.strerror or str(error)) from error

    def commit(self) -> None:
        head = json.dumps({**self._head, "crc32": self._crc}).encode()
        try:
            self._file.seek(0)
            self._file.write(head.ljust(_HEADER))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            _touch(self._part)
            os.replace(self._part, self.path)
        except OSError as error:
            raise _no_space(self.path.parent, error.strerror or str(error)) from error

    def close(self) -> None:
        with suppress(OSError):  # flushing to a disk that is full
            self._file.close()
        with suppress(OSError):
            self._part.unlink()


def _touch(path: Path) -> None:
    now = time.time_ns()  # the file system's own clock ticks too coarsely to tell two uses apart
    os.utime(path, ns=(now, now))


def key_of(about: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


def _load(path: Path, about: dict[str, Any]) -> tuple[Tensor | None, str]:
    """The tensor in a file by memory map, or why it is not what it should be."""
    with path.open("rb") as file:
        head = json.loads(file.read(_HEADER))
    if head["about"] != about:
        return None, "made of something else than its name says"
    shape, dtype = head["shape"], _DTYPES[head["dtype"]]
    expected = _HEADER + int(np.prod(shape)) * dtype.itemsize
    if (size := path.stat().st_size) != expected:
        return None, f"{size:,} bytes instead of {expected:,}"
    # Copy on write: the tensor may be written to, the file never is.
    values = np.memmap(path, np.uint8, mode="c", offset=_HEADER)
    crc = 0
    for start in range(0, len(values), _CHUNK):
        crc = zlib.crc32(values[start : start + _CHUNK], crc)
    if crc != head["crc32"]:
        return None, "its checksum differs"
    return torch.from_numpy(values).view(dtype).view(shape), ""


def _about(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_HEADER))["about"]
    except (ValueError, LookupError, TypeError):
        return {}


def _no_space(folder: Path, why: str) -> errors.StoreUnavailable:
    return errors.StoreUnavailable(
        f"The frozen features cannot be kept in {folder} ({why}). Free space there, choose another disk with "
        "HEADROOM_HOME, allow more with HEADROOM_CACHE_DISK_GB, or use cache_features=False."
    )
