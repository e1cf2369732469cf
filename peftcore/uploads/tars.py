"""Tar archives, plain or packed by gzip, bzip2 or xz, counted while they are read: they have no list of their files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from peftcore import errors
from peftcore.uploads.intake import CHUNK, Intake, Tell, check
from peftcore.uploads.limits import Limits, size
from peftcore.uploads.names import shown

LARGEST_HEADER = 2**20  # bytes before a file of a tar; names take a few hundred
XZ_MEMORY = 2**28  # bytes that unpacking xz may take; xz -9 needs 65 MB
HEADERS = 3 * tarfile.BLOCKSIZE  # bytes of a tar per file, beside its data: header, long name, padding


def unpack(file: BinaryIO, start: bytes, packed: int, intake: Intake, tell: Tell) -> None:
    """Unpacks a tar while it is read once; `start`: its first bytes. Raises what archives.unpack does, and DAMAGED."""
    stream = _Metered(_unpacked(file, start), packed, intake.limits)
    with _opened(stream) as archive:
        while True:
            stream.allow(LARGEST_HEADER)
            if (entry := archive.next()) is None:
                break
            archive.members = []  # it would remember all it has seen
            tell("Unpacking", min(1.0, file.tell() / packed))
            _refuse_tar_entry(entry)
            if entry.isdir():
                intake.folder_named(entry.name)
                continue
            check(intake.entries, intake.bytes + entry.size, packed, intake.limits)
            stream.allow(entry.size + LARGEST_HEADER)
            intake.add(entry.name, _data(archive, entry))
        ended = archive.offset
    stream.drain()
    if stream.last_written > ended:
        raise tarfile.ReadError(f"what follows byte {ended:,} is no entry")
    if stream.read_bytes < ended + tarfile.BLOCKSIZE:
        raise tarfile.ReadError("its end mark is missing")


def _opened(stream: _Metered) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape")
    except tarfile.ReadError:
        raise errors.BadData(
            "The file is no archive that can be read; upload a zip, tar, tar.gz, tar.bz2 or tar.xz of images."
        ) from None


def _data(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[bytes]:
    source, left = archive.extractfile(entry), entry.size
    while left:
        chunk = source.read(min(CHUNK, left))
        if not chunk:
            raise tarfile.ReadError("unexpected end of data")
        left -= len(chunk)
        yield chunk


def _refuse_tar_entry(entry: tarfile.TarInfo) -> None:
    name = shown(entry.name)
    if entry.issym() or entry.islnk():
        kind = "symbolic" if entry.issym() else "hard"
        raise errors.BadData(f"{name} in the tar is a {kind} link; pack the file it points to (tar --dereference).")
    if entry.issparse() or not (entry.isreg() or entry.isdir()):
        raise errors.BadData(f"{name} in the tar is a device, a sparse file or the like; pack images alone.")


def _unpacked(file: BinaryIO, start: bytes) -> Iterator[bytes]:
    if start.startswith(b"\xfd7zXZ") or start.startswith(b"\x5d\x00\x00\x80"):
        yield from _unxz(file)
        return
    source = file
    if start.startswith(b"\x1f\x8b"):
        source = gzip.GzipFile(fileobj=file)
    elif start.startswith(b"BZh"):
        source = bz2.BZ2File(file)
    try:
        yield from iter(lambda: source.read(CHUNK), b"")
    except OSError as error:
        if error.errno is None:  # bz2's and gzip's own word for bad data
            raise EOFError(str(error)) from error
        raise


def _unxz(file: BinaryIO) -> Iterator[bytes]:
    """lzma.LZMAFile has no bound on memory: a file may ask for gigabytes."""
    decoder, rest = lzma.LZMADecompressor(memlimit=XZ_MEMORY), b""
    while True:
        if decoder.eof:
            rest = (decoder.unused_data or file.read(CHUNK)).lstrip(b"\0")  # streams may follow each other, padded
            if not rest:
                return
            decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
        elif decoder.needs_input and not rest and not (rest := file.read(CHUNK)):
            raise EOFError("the packed data end too early")
        chunk, rest = decoder.decompress(rest, CHUNK), b""
        if chunk:
            yield chunk


class _Metered:
    """A stream for tarfile that counts. Where a header asks for more than is allowed, it is refused unread."""

    def __init__(self, chunks: Iterator[bytes], packed: int, limits: Limits):
        self.chunks, self.packed, self.limits = chunks, packed, limits
        self.read_bytes = self.last_written = 0  # all so far, and where the last one that is not zero ends
        self._chunk, self._allowed = io.BytesIO(), LARGEST_HEADER

    def allow(self, count: int) -> None:
        self._allowed = count + 2 * tarfile.RECORDSIZE

    def read(self, count: int) -> bytes:
        self._allowed -= count
        if self._allowed < 0:
            raise errors.BadData(f"A header in the tar is larger than {size(LARGEST_HEADER)}; pack the images again.")
        out = self._chunk.read(count)
        while len(out) < count and (chunk := next(self.chunks, b"")):
            self._chunk = io.BytesIO(chunk)
            out += self._chunk.read(count - len(out))
        self._seen(out)
        return out

    def drain(self) -> None:
        """Reads to the end, where gzip and xz have their checksums."""
        self._seen(self._chunk.read())
        for chunk in self.chunks:
            self._seen(chunk)

    def _seen(self, data: bytes) -> None:
        if written := len(data.rstrip(b"\0")):
            self.last_written = self.read_bytes + written
        self.read_bytes += len(data)
        # Headers pack better than images: tiny files are mostly headers.
        check(0, max(0, self.read_bytes - HEADERS * self.limits.files), self.packed, self.limits)
