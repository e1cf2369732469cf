"""Tar archives, plain or packed by gzip, bzip2 or xz, counted as they are read, since they have no list of files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from peftcore import errors
from peftcore.uploads.intake import CHUNK, Intake, Tell, check
from peftcore.uploads.limits import Limits, size
from peftcore.uploads.names import shown

LARGEST_HEADER = 2**20  # most bytes before a file in a tar; names take a few hundred
XZ_MEMORY = 2**28  # most bytes of memory to unpack xz; xz -9 needs 65 MB
HEADERS = 3 * tarfile.BLOCKSIZE  # bytes of a tar per file, beside its data: header, long name, padding


class _Source(Protocol):
    def read(self, count: int, /) -> bytes: ...


def unpack(file: BinaryIO, start: bytes, packed: int, intake: Intake, tell: Tell) -> None:
    """Unpacks a tar while it is read once; `start`: its first bytes. Raises what archives.unpack does, and DAMAGED."""
    stream = _Counter(_unpacked(file, start), packed, intake.limits)
    with _opened(stream) as archive:
        while True:
            stream.allow(LARGEST_HEADER)
            if (entry := archive.next()) is None:
                break
            archive.members = []  # type: ignore[attr-defined]  # or it would remember every entry
            tell("Unpacking", min(1.0, file.tell() / packed))
            _refuse(entry)
            if entry.isdir():
                intake.folder_named(entry.name)
                continue
            check(intake.entries, intake.bytes + entry.size, packed, intake.limits)
            stream.allow(entry.size + LARGEST_HEADER)
            intake.add(entry.name, _data(archive, entry))
        ended = archive.offset
    stream.drain()
    if stream.last_written > ended:
        raise tarfile.ReadError(f"what follows byte {ended:,} is not an entry")
    if stream.count < ended + tarfile.BLOCKSIZE:
        raise tarfile.ReadError("its end mark is missing")


def _opened(stream: Any) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape")
    except tarfile.ReadError:
        raise errors.BadData(
            "The file is not an archive that can be read; upload a zip, tar, tar.gz, tar.bz2 or tar.xz of images."
        ) from None


def _data(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[bytes]:
    source, left = archive.extractfile(entry), entry.size
    assert source is not None  # links and devices were refused
    while left:
        chunk = source.read(min(CHUNK, left))
        if not chunk:
            raise tarfile.ReadError("unexpected end of data")
        left -= len(chunk)
        yield chunk


def _refuse(entry: tarfile.TarInfo) -> None:
    """All but files and folders, and sparse files of any size. `Intake` looks at names, as for any archive."""
    name = shown(entry.name)
    if entry.issym() or entry.islnk():
        kind = "symbolic" if entry.issym() else "hard"
        raise errors.BadData(f"{name} in the tar is a {kind} link; pack the file it points to (tar --dereference).")
    if entry.issparse() or not (entry.isreg() or entry.isdir()):
        raise errors.BadData(f"{name} in the tar is a device, a sparse file or the like; pack only images.")


def _unpacked(file: BinaryIO, start: bytes) -> _Source:
    """The tar's own bytes. tarfile's stream unpacks too, but checks no checksum and bounds no memory."""
    if start.startswith((b"\xfd7zXZ", b"\x5d\x00\x00\x80")):
        return _Xz(file)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    return bz2.BZ2File(file) if start.startswith(b"BZh") else file


class _Xz:
    """lzma.LZMAFile with a bound on memory, since a file may ask for gigabytes."""

    def __init__(self, file: BinaryIO):
        self._file, self._decoder = file, lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def read(self, count: int, /) -> bytes:
        chunk = b""
        while not chunk:
            packed = b""
            if self._decoder.eof:  # another stream may follow, after padding
                packed = (self._decoder.unused_data or self._file.read(CHUNK)).lstrip(b"\0")
                if not packed:
                    return b""
                self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
            elif self._decoder.needs_input and not (packed := self._file.read(CHUNK)):
                raise EOFError("the packed data ends too early")
            chunk = self._decoder.decompress(packed, count)
        return chunk


class _Counter:
    """The bytes of a tar on their way to tarfile. A header that asks for more than is allowed is refused unread."""

    def __init__(self, source: _Source, packed: int, limits: Limits):
        self.source, self.packed, self.limits = source, packed, limits
        self.count = self.last_written = 0  # bytes so far, and the end of the last one that is not zero
        self._allowed = LARGEST_HEADER

    def allow(self, count: int) -> None:
        """Lets tarfile read `count` more bytes before the next `allow`."""
        self._allowed = self.count + count + 2 * tarfile.RECORDSIZE

    def read(self, count: int) -> bytes:
        if self.count + count > self._allowed:
            raise errors.BadData(f"A header in the tar is larger than {size(LARGEST_HEADER)}; pack the images again.")
        return self._next(count)

    def drain(self) -> None:
        """Reads to the end, where gzip and xz keep their checksums."""
        while self._next(CHUNK):
            pass

    def _next(self, count: int) -> bytes:
        try:
            data = self.source.read(count)
        except OSError as error:
            if error.errno is None:  # this is how bz2 and gzip report bad data
                raise EOFError(str(error)) from error
            raise
        if written := len(data.rstrip(b"\0")):
            self.last_written = self.count + written
        self.count += len(data)
        # Headers pack better than images: tiny files are mostly headers.
        check(0, max(0, self.count - HEADERS * self.limits.files), self.packed, self.limits)
        return data
