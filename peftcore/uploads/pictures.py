"""Image files as one array of bytes, decoded as they are read, and kept where there is room."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np

from peftcore.home import gigabytes
from peftcore.uploads.decoding import decode, look

WORKERS = min(8, os.cpu_count() or 1)  # decoding threads: Pillow releases the interpreter lock
SHARE = 0.25  # of free memory that decoded images may take by default
LOOKED_AT = 256  # images between two progress reports of a check
MOST_AHEAD = 8  # most reads prepared at once: the runs of a race take turns

_keeping: WeakSet[Pictures] = WeakSet()
_deciding = Lock()


class Pictures:
    """The images of `files`, read like an array uint8 (n, size, size, 3): `pictures[index]` is a numpy array.

    Nothing is decoded before it is asked for. Decoded images are kept if all of them fit into `kept_bytes`, by default
    `room()`; otherwise memory holds only one read at a time, and files are decoded again on the next one. `size`, `fit`
    and `bits` are those of `decode`; `files` are paths, or whatever else a subclass reads an image by.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self,
        files: Sequence[Any],
        size: int,
        fit: str = "stretch",
        kept_bytes: int | None = None,
        bits: int = 16,
    ):
        self.files, self.size, self.fit, self.bits = tuple(files), size, fit, bits
        self.shape = (len(self.files), size, size, 3)
        self.nbytes = int(np.prod(self.shape))
        self._done, self._checked = np.zeros(len(self), bool), False
        self._coming: dict[bytes, tuple[np.ndarray, list[Future]]] = {}  # being decoded, by their numbers
        # The system allocates the pages of an empty array only when they are written.
        with _deciding:
            fits = self.nbytes <= (room() if kept_bytes is None else kept_bytes)
            self._kept = np.empty(self.shape, np.uint8) if fits else None
            if fits:
                _keeping.add(self)

    @property
    def kept(self) -> bool:
        """Whether decoded images stay in memory; otherwise they are streamed from their files."""
        return self._kept is not None

    @property
    def missing_bytes(self) -> int:
        """Bytes still to be decoded, where decoded images are kept."""
        return int(np.count_nonzero(~self._done)) * self.nbytes // max(1, len(self))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> np.ndarray:
        """The images at a number, slice, or array of numbers; a copy. Raises BadData naming a file that is broken."""
        numbers = np.arange(len(self))[index]
        wanted = np.atleast_1d(numbers)
        if self._kept is not None:
            self._keep(wanted, self._kept)
            images = self._kept[wanted]
        else:
            coming = self._coming.pop(wanted.tobytes(), None)
            images, parts = coming or self._decode(wanted)
            for part in parts:
                part.result()
        return images if np.ndim(numbers) else images[0]

    def ahead(self, index: Any) -> None:
        """Starts to decode what will be read next, unless it is kept; `index` is the one it will be read by."""
        if self.kept:
            return
        numbers = np.atleast_1d(np.arange(len(self))[index])
        if numbers.tobytes() in self._coming:
            return
        while len(self._coming) >= MOST_AHEAD:
            for part in self._coming.pop(next(iter(self._coming)))[1]:
                part.cancel()
        self._coming[numbers.tobytes()] = self._decode(numbers)

    def check(self) -> Iterator[int]:
        """Checks every image once and yields how many are done: kept ones are decoded, others only partly read.
        Raises BadData naming a file that is broken."""
        for start in range(0, len(self) if not self._checked else 0, LOOKED_AT):
            numbers = np.arange(start, min(start + LOOKED_AT, len(self)))
            if self._kept is not None:
                self._keep(numbers, self._kept)
            else:
                list(_pool().map(self._look, numbers))
            yield int(numbers[-1]) + 1
        self._checked = True

    def _keep(self, numbers: np.ndarray, kept: np.ndarray) -> None:
        missing = np.unique(numbers[~self._done[numbers]])
        if not len(missing):
            return
        images, parts = self._decode(missing)
        for part in parts:
            part.result()
        kept[missing] = images
        self._done[missing] = True  # last: a thread that reads meanwhile decodes the same bytes again

    def _decode(self, numbers: np.ndarray) -> tuple[np.ndarray, list[Future]]:
        """The array that will hold the images, and the futures to wait for."""
        out = np.empty((len(numbers), *self.shape[1:]), np.uint8)

        def some(rows: np.ndarray) -> None:
            for row in rows:
                out[row] = self._read(numbers[row])

        rows = np.array_split(np.arange(len(numbers)), min(len(numbers), 4 * WORKERS) or 1)
        return out, [_pool().submit(some, part) for part in rows]

    def _read(self, number: int) -> np.ndarray:
        return decode(self.files[number], self.size, self.fit, "", self.bits)

    def _look(self, number: int) -> None:
        look(self.files[number])


def room() -> int:
    """Bytes of decoded images that may still be kept: of HEADROOM_IMAGES_GB for all, by default a quarter of free
    memory. Raises InvalidSetting where that is not a size."""
    most = gigabytes("HEADROOM_IMAGES_GB")
    if most is not None:
        return int(most * 1e9) - sum(pictures.nbytes for pictures in _keeping)
    import psutil

    return int(SHARE * psutil.virtual_memory().available) - sum(pictures.missing_bytes for pictures in _keeping)


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="headroom-pictures")
