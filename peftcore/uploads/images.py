"""A user's image: whether it is intact and within the limits, and a single one kept for the probes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from peftcore import errors
from peftcore.home import home
from peftcore.uploads import kinds, owned
from peftcore.uploads.decoding import FORMATS, decode, deep_values, to_rgb, upright
from peftcore.uploads.limits import Limits, more, size

if TYPE_CHECKING:
    from PIL import ImageFile

SIDE = 512  # most pixels on the longer side of a picture kept for the probes
MOST_KEPT = 200  # of these pictures, in a room of each person; the oldest go first
MOST_BYTES = 50 * 10**6  # of a file with a single image


class Pixels(NamedTuple):
    """What reading every pixel of an image reveals.

    `size`: its width and height, upright. `fingerprint`: equal for files, whatever their formats, that show a backbone
    the same picture. `largest`: the largest value of an image with 16 bits per channel, None for 8 bits. `is_colour`:
    it has three channels. `has_more`: the file holds further pictures, which are not read.
    """

    size: tuple[int, int]
    fingerprint: bytes
    largest: int | None
    is_colour: bool
    has_more: bool


def read_pixels(file: Path | BinaryIO, limits: Limits) -> Pixels:
    """Reads every pixel, once: a PNG's EXIF, which says how it is turned, may follow them.

    Raises BadData, a clause without the file's name that says what is wrong: not an image, too large, or broken.
    """
    with open_image(file, limits) as image:
        has_more = image.format != "MPO" and getattr(image, "is_animated", False)
        largest, is_colour = deep_values(image)
        bits = 16 if largest is None or is_colour else bits_of(largest)
        picture = to_rgb(upright(image), bits)
        seen = hashlib.sha256(b"%d x %d " % picture.size + b"of %d bits " % bits * (bits < 16))
        seen.update(picture.tobytes())
        return Pixels(picture.size, seen.digest(), largest, is_colour, has_more)


def bits_of(largest: int) -> int:
    """The actual bit depth of 16-bit images with this largest value: 8, 10, 12, 14 or 16, as cameras have."""
    return max(8, largest.bit_length() + largest.bit_length() % 2)


@contextmanager
def open_image(file: Path | BinaryIO, limits: Limits) -> Iterator[ImageFile.ImageFile]:
    """An image within the limits, not decoded yet; whatever Pillow raises, now or in the block, becomes BadData."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit on pixels; ours is checked before one is read
            if _bytes(file) == 0:
                raise errors.BadData("it is empty")
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                shape = f"{width:,} x {height:,} pixels"
                if width * height > limits.pixels:
                    raise errors.BadData(f"{shape} is more than {limits.pixels:,}; make it smaller, {more('pixels')}")
                if max(width, height) > limits.side:
                    raise errors.BadData(
                        f"{shape} has a side longer than {limits.side:,}; make it smaller, {more('side')}"
                    )
                yield image
    except errors.BadData:
        raise
    except Image.DecompressionBombError:
        raise errors.BadData(f"it has more than {limits.pixels:,} pixels; make it smaller, {more('pixels')}") from None
    except UnidentifiedImageError:
        raise errors.BadData(kinds.why_not_decoded(file)) from None
    except Exception as error:  # Pillow's readers raise errors of any kind for a broken file
        raise errors.BadData(f"it is broken: {str(error).rstrip('.') or type(error).__name__}") from error


def _bytes(file: Path | BinaryIO) -> int:
    if isinstance(file, Path):
        return file.stat().st_size
    length = file.seek(0, 2)
    file.seek(0)
    return length


def pictures() -> Path:
    """Where single images are kept: `pictures` in Headroom's own folder."""
    return home() / "pictures"


def keep_picture(file: BinaryIO, limits: Limits | None = None, owner: str = "") -> str:
    """Keeps one image for the probes, as `clean_picture` makes it. `owner`: whose pictures make room for it.

    Returns its code of 16 hexadecimal digits, which is the same for the same pixels.

    Raises:
        BadData: as `clean_picture`; StoreUnavailable: the disk is full or cannot be written.
    """
    clean = clean_picture(file, limits)
    code = hashlib.sha256(clean).hexdigest()[:16]
    _write(owned.folder(pictures(), owner) / f"{code}.png", clean)
    return code


def clean_picture(file: BinaryIO, limits: Limits | None = None) -> bytes:
    """An image as a PNG file in RGB of at most SIDE pixels: upright, on white, without its metadata (location, camera).

    Raises BadData: not an image, a broken one, or one beyond the limits.
    """
    from PIL import Image

    limits = limits or Limits.here()
    try:
        if (length := _bytes(file)) > MOST_BYTES:
            raise errors.BadData(f"it takes {size(length)}, more than {size(MOST_BYTES)}; make it smaller")
        with open_image(file, limits) as opened:
            largest, is_colour = deep_values(opened)
            bits = 16 if largest is None or is_colour else bits_of(largest)
            image = to_rgb(upright(opened), bits)
    except errors.BadData as error:
        raise errors.BadData(f"The image cannot be used: {error}. Choose another one.") from error
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    Image.frombytes("RGB", image.size, image.tobytes()).save(out, "PNG")  # pixels alone: no profile, no EXIF
    return out.getvalue()


def _write(path: Path, data: bytes) -> None:
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(part, path)
        kept = sorted(path.parent.glob("*.png"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in kept[MOST_KEPT:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        if part:
            Path(part).unlink(missing_ok=True)
        raise errors.StoreUnavailable(
            f"The image cannot be kept in {path.parent}: {error.strerror}. Make room, or set HEADROOM_HOME to another "
            "folder."
        ) from error


def picture(code: str, pixels: int) -> np.ndarray:
    """A kept picture, whoever brought it, as uint8 (pixels, pixels, 3): the shorter side to `pixels`, then the middle.

    Raises BadData where it is not kept, or no longer.
    """
    named = owned.folders(pictures()).values() if re.fullmatch("[0-9a-f]{16}", code) else ()
    path = next((path for folder in named if (path := folder / f"{code}.png").is_file()), None)
    if path is None:
        raise errors.BadData("The image of this link is no longer kept; upload it again, or choose a test image.")
    return decode(path, pixels, "crop")
