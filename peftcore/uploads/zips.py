"""Zip archives, refused by their list of files wherever possible."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO

from peftcore import errors
from peftcore.uploads import encodings
from peftcore.uploads.intake import CHUNK, Intake, Tell
from peftcore.uploads.limits import more, size
from peftcore.uploads.names import shown

CENTRAL_ENTRY = 1024  # most bytes of a zip's directory per file; usual are 46 and the name
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others zipfile unpacks 300 MB at once
UTF8_FLAG, UNICODE_PATH = 0x800, 0x7075  # the two ways for an entry to mark its name as UTF-8


def unpack(file: BinaryIO, intake: Intake, tell: Tell) -> list[str]:
    """Unpacks a zip, once all its entries have been looked at, and returns notes on what was guessed.

    Raises what archives.unpack does, and what zipfile does.
    """
    with opened(file, intake.limits.files, f", {more('files')}") as archive:
        entries = archive.infolist()
        names, notes = _names(entries)
        for entry, name in zip(entries, names, strict=True):
            refuse(entry, shown(name))
        total = sum(entry.file_size for entry in entries)
        intake.foresee(len(entries), total)
        done = 0
        for entry, name in zip(entries, names, strict=True):
            tell("Unpacking", done / max(total, 1))
            done += entry.file_size
            if name.endswith(("/", "\\")):
                intake.folder_named(name)
                continue
            with archive.open(entry) as source:
                intake.add(name, iter(partial(source.read, CHUNK), b""))
    return notes


def opened(file: BinaryIO, most: int, otherwise: str = "") -> zipfile.ZipFile:
    """A zip of `most` files and folders at most, which are counted before zipfile makes an object of each.

    Args:
        otherwise: the end of the sentence that refuses more: how to allow them.

    Raises:
        BadData: the record at its end is missing, it is one of several parts, or it holds more. And what zipfile does.
    """
    length = file.seek(0, io.SEEK_END)
    file.seek(max(0, length - 2**17))  # with a comment of at most 64 kB
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        raise errors.BadData("The zip is truncated: the list of files at its end is missing. Upload it again.")
    disk, first_disk, _, total = struct.unpack_from("<4H", tail, at + 4)
    if at >= 76 and tail.startswith(b"PK\x06\x06", at - 76) and tail.startswith(b"PK\x06\x07", at - 20):  # zip64
        disk, first_disk, _, total = struct.unpack_from("<LLQQ", tail, at - 60)
    if disk or first_disk:
        raise errors.BadData("The file is one part of a multi-part zip; pack all into one.")
    counted = _Counted(file, most, otherwise)
    counted.check(total)
    return zipfile.ZipFile(counted)


class _Counted:
    """A zip's file that counts the entries of its directory as zipfile reads it.

    zipfile makes an object of each entry, 1 GB for two million, and ignores the number that the zip itself states.
    """

    def __init__(self, file: BinaryIO, most: int, otherwise: str):
        self._file, self._most, self._otherwise = file, most, otherwise
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        if count > max(CHUNK, CENTRAL_ENTRY * self._most):
            raise errors.BadData(f"The zip's list of files takes {size(count)}; use fewer files{self._otherwise}.")
        data, at, entries = self._file.read(count), 0, 0
        while data.startswith(b"PK\x01\x02", at) and at + 46 <= len(data):
            entries += 1
            self.check(entries)
            at += 46 + sum(struct.unpack_from("<3H", data, at + 28))
        return data

    def check(self, entries: int) -> None:
        if entries > self._most:
            raise errors.BadData(f"It holds more than {self._most:,} files and folders; use fewer{self._otherwise}.")


def refuse(entry: zipfile.ZipInfo, name: str) -> None:
    """Raises BadData: it is encrypted, a link or a device, or packed in a way whose memory has no bound."""
    mode = entry.external_attr >> 16
    if entry.flag_bits & 0x1:
        raise errors.BadData("The zip is encrypted; pack it without a password.")
    if stat.S_ISLNK(mode):
        raise errors.BadData(f"{name} in the zip is a symbolic link; pack the file it points to.")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise errors.BadData(f"{name} in the zip is a device or the like; pack only files.")
    if entry.compress_type not in METHODS:
        names: dict[int, str] = zipfile.compressor_names  # type: ignore[attr-defined]  # not in typeshed
        how = names.get(entry.compress_type, f"method {entry.compress_type}")
        raise errors.BadData(f"{name} in the zip is packed by {how}; pack it as deflate, which every tool can.")


# ------------------------------------------------------------------------------------------- names


def _names(entries: Sequence[zipfile.ZipInfo]) -> tuple[list[str], list[str]]:
    """The entries' names as they were packed, by whatever tool, and a note where their encoding is a guess.

    zipfile reads names not marked as UTF-8 as cp437 (backslashes then appear inside Japanese letters), and ends them at
    a NUL. Many tools write UTF-8 without the mark, or the encoding of their user's system.
    """
    names = [_marked(entry) for entry in entries]
    raw = [entry.orig_filename.encode("cp437") for entry, name in zip(entries, names, strict=True) if name is None]
    encoding, notes = "utf-8", []
    if not all(map(_is_utf8, raw)):
        found = encodings.guess([name for name in raw if not name.isascii()], encodings.OF_ARCHIVES, "cp437")
        encoding = found.name
        notes = [
            f"Names in the zip do not state their encoding and were read as {found.title} ({found.name}). If they look "
            "wrong, pack the images with a tool that writes UTF-8."
        ]
    rest = iter(raw)
    return [next(rest).decode(encoding) if name is None else name for name in names], notes


def _marked(entry: zipfile.ZipInfo) -> str | None:
    """The name of an entry marked as UTF-8: by its flag, or in Info-ZIP's field beside a name in another encoding."""
    if entry.flag_bits & UTF8_FLAG:
        return entry.orig_filename
    extra = entry.extra
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == UNICODE_PATH and length > 5 and _is_utf8(extra[9 : 4 + length]):  # after a version and a checksum
            return extra[9 : 4 + length].decode("utf-8")
        extra = extra[4 + length :]
    return None


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
