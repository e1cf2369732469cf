"""What a file is: an image, an image that cannot be read here, or something else. One rule for archives and folders.

The name's ending decides; where that says nothing ('0001', 'cat.jpg_large'), the first bytes do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

IMAGES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif", ".mpo",
)  # fmt: skip
TABLES = (".csv", ".tsv", ".txt")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".rar", ".zst")
# Image formats that are not read here, by the endings of file names.
_UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys(
        (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw"), "a camera's raw format"
    ),
    **dict.fromkeys((".dcm", ".dicom"), "DICOM"),
    **dict.fromkeys((".nii", ".mha", ".mhd", ".nrrd"), "a medical volume"),
    **dict.fromkeys((".exr", ".hdr"), "an image of floating-point numbers"),
    ".jxl": "JPEG XL", ".svg": "SVG", ".eps": "EPS", ".ps": "PostScript", ".pdf": "PDF", ".psd": "Photoshop",
    ".ai": "Illustrator", ".xcf": "GIMP", ".tga": "TGA", ".ico": "an icon", ".npy": "a NumPy array", ".fits": "FITS",
}  # fmt: skip
# The same by a file's first bytes: (offset, bytes, format).
_STARTS = (
    *((8, brand, "HEIC") for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")),
    (0, b"\xff\x0a", "JPEG XL"), (4, b"JXL \r\n", "JPEG XL"), (0, b"8BPS", "Photoshop"), (0, b"%!PS", "PostScript"),
    (0, b"%PDF", "PDF"), (128, b"DICM", "DICOM"), (0, b"\x93NUMPY", "a NumPy array"), (0, b"SIMPLE  =", "FITS"),
    (0, b"<svg", "SVG"),
)  # fmt: skip
_IMAGE_STARTS = (
    b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*",
    b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51",
)  # fmt: skip
HEAD = 132  # bytes that suffice for all of these
CONVERT = "convert it to JPEG or PNG"
NOT_AN_IMAGE = "it is not an image that can be read"


def is_image(folder: Path, file: str) -> bool:
    """Whether a file, a path relative to the folder, is or claims to be an image, readable here or not."""
    ending = os.path.splitext(file)[1].casefold()
    if ending in IMAGES or ending in _UNREAD:
        return True
    if ending in TABLES or ending in ARCHIVES:
        return False
    try:
        with (folder / file).open("rb") as opened:
            return begins_as_image(opened.read(HEAD))
    except OSError:
        return False


def begins_as_image(start: bytes) -> bool:
    """Whether a file with these first bytes is an image."""
    if start.startswith(_IMAGE_STARTS) or start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return True
    return start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis") or _unread(start) == "HEIC"


def why_not_an_image(folder: Path, file: str) -> str:
    """Why a file that is not an image (`is_image`) is left out, as a clause."""
    if file.casefold().endswith(TABLES):
        return "it is neither an image nor a table that labels the images"
    return "it is an archive within this one; unpack it" if file.casefold().endswith(ARCHIVES) else NOT_AN_IMAGE


def why_unreadable(name: str, start: bytes) -> str:
    """Why a file that no reader recognises cannot be used, and what to do, as a clause; `start`: its first bytes."""
    if found := _unread(start) or _UNREAD.get(os.path.splitext(name)[1].casefold()):
        return f"it is {found}, which cannot be read here; {CONVERT}"
    return NOT_AN_IMAGE


def is_unread(name: str) -> bool:
    """Whether a file is by its name of a format that is not read here."""
    return os.path.splitext(name)[1].casefold() in _UNREAD


def why_not_decoded(file: Path | BinaryIO) -> str:
    """`why_unreadable` of a file that is there, by its name and its first bytes."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return why_unreadable(file.name, opened.read(HEAD))
    file.seek(0)
    return why_unreadable(getattr(file, "name", "") or "", file.read(HEAD))


def _unread(start: bytes) -> str | None:
    return next((what for at, mark, what in _STARTS if start.startswith(mark, at)), None)
