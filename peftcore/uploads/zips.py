"""Zip archives, refused by their list of files wherever that can be."""

from __future__ import annotations

import stat
import zipfile
from typing import BinaryIO

from peftcore import errors
from peftcore.uploads.intake import CHUNK, Intake, Tell, check
from peftcore.uploads.limits import Limits, more, size
from peftcore.uploads.names import shown

CENTRAL_ENTRY = 1024  # bytes of zip directory per file that are believed; 46 and the name are usual
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # LZMA's memory has no bound in zipfile


def unpack(file: BinaryIO, intake: Intake, tell: Tell) -> None:
    """Unpacks a zip, after all its entries were looked at. Raises what archives.unpack does, and what zipfile does."""
    _count_first(file, intake.limits)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        for entry in entries:
            _refuse_zip_entry(entry)
        total = sum(entry.file_size for entry in entries)
        intake.foresee(len(entries), total)
        done = 0
        for entry in entries:
            tell("Unpacking", done / max(total, 1))
            done += entry.file_size
            if entry.is_dir() or entry.filename.endswith("\\"):
                intake.folder_named(_zip_name(entry))
                continue
            with archive.open(entry) as source:
                intake.add(_zip_name(entry), iter(lambda source=source: source.read(CHUNK), b""))


def _count_first(file: BinaryIO, limits: Limits) -> None:
    """Counts a zip's directory before zipfile makes an object of each of its entries (2 million take 1 GB)."""
    end = zipfile._EndRecData(file)  # as zipfile itself finds it: two readings that differ would be a way in
    if end is None:
        raise errors.BadData("The zip is cut off: its list of files, which is its end, is missing. Upload it again.")
    if end[zipfile._ECD_DISK_NUMBER] or end[zipfile._ECD_DISK_START]:
        raise errors.BadData("The file is one part of a zip in several parts; pack the images into one.")
    length, total = end[zipfile._ECD_SIZE], end[zipfile._ECD_ENTRIES_TOTAL]
    check(total, 0, None, limits)
    if length > CENTRAL_ENTRY * limits.files:
        raise errors.BadData(f"The zip's list of files takes {size(length)}; give fewer files, {more('files')}.")
    here = end[zipfile._ECD_LOCATION] - length
    if end[zipfile._ECD_SIGNATURE] == zipfile.stringEndArchive64:
        here -= zipfile.sizeEndCentDir64 + zipfile.sizeEndCentDir64Locator
    if here < 0:
        raise zipfile.BadZipFile("its directory is cut off")
    file.seek(here)
    directory, at, count = file.read(length), 0, 0
    while at + 46 <= len(directory):
        count += 1
        check(count, 0, None, limits)
        at += 46 + sum(int.from_bytes(directory[at + place : at + place + 2], "little") for place in (28, 30, 32))


def _refuse_zip_entry(entry: zipfile.ZipInfo) -> None:
    name, mode = shown(_zip_name(entry)), entry.external_attr >> 16
    if entry.flag_bits & 0x1:
        raise errors.BadData("The zip is encrypted; pack the images without a password.")
    if stat.S_ISLNK(mode):
        raise errors.BadData(f"{name} in the zip is a symbolic link; pack the file it points to.")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise errors.BadData(f"{name} in the zip is a device or the like; pack images alone.")
    if entry.compress_type not in METHODS:
        how = zipfile.compressor_names.get(entry.compress_type, f"method {entry.compress_type}")
        raise errors.BadData(f"{name} in the zip is packed by {how}; pack it as deflate, which every tool can.")


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """As it was packed: many tools write UTF-8 without saying so, and zipfile then reads it as cp437, and ends at NUL."""
    name = entry.orig_filename
    if not entry.flag_bits & 0x800:
        try:
            return name.encode("cp437").decode("utf-8")
        except UnicodeError:
            return name
    return name
