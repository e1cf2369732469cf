"""Takes files into a folder: every name is checked, every byte counted, and only files and folders are created."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from pathlib import Path
from shutil import disk_usage

from peftcore import errors
from peftcore.uploads.limits import Limits, more, size
from peftcore.uploads.names import Taken, parts, shown

CHUNK = 2**18
SPARED = 200 * 10**6  # bytes of the disk left free

Allow = Callable[[int, int], None]  # whether somebody may add so many images, of so many bytes; raises where not
Tell = Callable[[str, float], None]  # what is going on, and the share that is done, 0 to 1; may raise to stop it


def silent(what: str, share: float) -> None:
    """For callers that need no progress."""


def anything(images: int, adds: int) -> None:
    """For callers who may add whatever is within the limits."""


class Intake:
    """Takes files into `folder`, which is empty."""

    def __init__(self, folder: Path, limits: Limits, packed: int | None = None, allow: Allow = anything):
        """`packed`: bytes of the archive that the files come from; None where there is none. `allow`: is asked of every
        byte before it is written."""
        self.folder, self.limits, self.packed, self.allow = folder, limits, packed, allow
        self.entries = self.bytes = self.files = 0
        self._taken, self._made = Taken(), {folder}

    def foresee(self, entries: int, total: int) -> None:
        """Checks what an archive claims to hold. Raises BadData, StoreUnavailable, and what `allow` raises."""
        self._check(entries, total)
        free = disk_usage(self.folder).free
        if total + SPARED > free:
            raise errors.StoreUnavailable(
                f"The images need {size(total)} on the disk of {self.folder.parent}, where {size(free)} are free; "
                "make room, or set HEADROOM_HOME to another disk."
            )

    def folder_named(self, name: str) -> None:
        """Counts an entry that is a folder; the folder is created with the first file in it."""
        self._count()
        if (found := parts(name)) is not None:
            self._taken.take(found, folder=True)

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        """Writes one file, or only counts it where its name is to be ignored (.DS_Store).

        Raises BadData for a bad name or beyond a limit, StoreUnavailable where the disk is full, and what `allow`
        raises.
        """
        self._count()
        found = parts(name)
        if found is None:
            for chunk in chunks:
                self._grow(len(chunk))
            return
        self._taken.take(found)
        path = self.folder.joinpath(*found)
        try:
            if path.parent not in self._made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(path.parent)
            with path.open("xb") as file:
                for chunk in chunks:
                    self._grow(len(chunk))
                    file.write(chunk)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise errors.StoreUnavailable(
                    f"The disk of {self.folder.parent} is full; make room, or set HEADROOM_HOME to another disk."
                ) from error
            if error.errno == errno.ENAMETOOLONG:
                raise errors.BadData(f"The name {shown(name)} is too long for this disk; rename it.") from error
            raise
        self.files += 1

    def _count(self) -> None:
        self.entries += 1
        self._check(self.entries, self.bytes)

    def _grow(self, count: int) -> None:
        self.bytes += count
        self._check(self.entries, self.bytes)

    def _check(self, entries: int, total: int) -> None:
        check(entries, total, self.packed, self.limits)
        self.allow(0, total)


def check(entries: int, total: int, packed: int | None, limits: Limits) -> None:
    """Raises BadData where there are too many entries or bytes, or too many bytes for the size of the archive."""
    if entries > limits.files:
        raise errors.BadData(f"It holds more than {limits.files:,} files and folders; use fewer, {more('files')}.")
    if total > limits.bytes:
        raise errors.BadData(f"Unpacked, it is larger than {size(limits.bytes)}; upload less, {more('bytes')}.")
    if packed is not None and total > 10**7 and total > limits.ratio * packed:
        raise errors.BadData(
            f"It unpacks to more than {limits.ratio} times its size, as images never do; pack them again, "
            f"{more('ratio')}."
        )
