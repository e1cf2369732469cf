"""Zip and tar archives into a folder, told apart by their contents, not their names.

One entry that could leave the folder, or that is neither a file nor a folder, is enough to refuse the whole archive:
nobody packs images that way.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from typing import BinaryIO

from peftcore import errors
from peftcore.uploads import kinds, tars, zips
from peftcore.uploads.intake import Intake, Tell
from peftcore.uploads.limits import more, size

OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "packed with zstd, which this Python cannot unpack",
    b"\x1f\x9d": "packed with compress",
    b"MSCF": "a CAB archive",
    b"PK\x07\x08": "one part of a multi-part zip",
}
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, struct.error,
    NotImplementedError, ValueError, OverflowError,
)  # fmt: skip


def unpack(file: BinaryIO, intake: Intake, tell: Tell) -> list[str]:
    """Unpacks an archive, a seekable open file, within the limits of `intake`.

    Returns notes on what was guessed.

    Raises:
        BadData: not an archive, a damaged or encrypted one, one beyond a limit, or one that holds links, devices or
            names that lead out of the folder. Part of it may then be in the folder.
        StoreUnavailable: the disk is full.
    """
    file.seek(0, 2)
    if not (packed := file.tell()):
        raise errors.BadData("The file is empty; upload a zip or tar archive of images.")
    if packed > intake.limits.archive:
        raise errors.BadData(f"The file is larger than {size(intake.limits.archive)}; upload less, {more('archive')}.")
    file.seek(0)
    start = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    if other := next((what for mark, what in OTHERS.items() if start.startswith(mark)), None):
        raise errors.BadData(f"The file is {other}; pack the images as zip, tar, tar.gz, tar.bz2 or tar.xz.")
    if kinds.begins_as_image(start) or start.startswith(b"BM"):
        raise errors.BadData(
            "The file is a single image; upload several of each class, as an archive or as files with a table."
        )
    try:
        if start.startswith(b"PK"):
            return zips.unpack(file, intake, tell)
        tars.unpack(file, start, packed, intake, tell)
        return []
    except errors.HeadroomError:
        raise
    except DAMAGED as error:
        why = str(error).rstrip(".") or "its data ends too early"
        raise errors.BadData(f"The archive is damaged or truncated ({why}); pack or upload it again.") from error
