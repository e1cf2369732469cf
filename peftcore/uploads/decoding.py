"""One image file as RGB bytes, whatever its format, size and depth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from peftcore import errors
from peftcore.uploads import kinds

if TYPE_CHECKING:
    from PIL import Image, ImageFile

FITS = ("stretch", "crop")
# Pillow reads more, but some start other programs (EPS), and nobody keeps photographs in the others.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")


def decode(file: str | Path | BytesIO, size: int, fit: str = "stretch", name: str = "", bits: int = 16) -> np.ndarray:
    """One image file as RGB bytes (size, size, 3): turned upright by its EXIF, laid on white, resized bicubically.

    `fit` is 'stretch' (the whole image, whatever its shape, as VTAB-1K's published code does) or 'crop' (the shorter
    side to `size`, then the middle). 16 bits per channel keep their upper 8, or the upper 8 of their lower `bits`. Of
    an animation, the first frame. `name` is what errors call an image that is not a file of its own.

    Raises:
        BadData: missing, not an image, broken, too large (Pillow's limit on pixels), or without a fixed range.
    """
    with _opened(file, name) as opened:
        return fitted(upright(opened), size, fit, bits)


def in_all_fits(file: str | Path, size: int, bits: int = 16) -> dict[str, np.ndarray]:
    """An image file under each of FITS, as `decode` returns it; it is read once. Raises as `decode` does."""
    with _opened(file) as opened:
        image = upright(opened)
        return {fit: fitted(image, size, fit, bits) for fit in FITS}


def fitted(image: Image.Image, size: int, fit: str, bits: int = 16) -> np.ndarray:
    """An opened image as `decode` returns it."""
    from PIL import Image, ImageOps

    image = to_rgb(image, bits)
    if image.size != (size, size):
        if fit == "crop":
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        else:
            image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def look(file: str | Path) -> None:
    """Checks what can be checked without decoding: format, size and PNG checksums. A file that may be truncated is
    decoded. Raises BadData as `decode` does."""
    with _opened(file) as opened:
        if opened.format == "JPEG":
            with open(file, "rb") as stream:
                stream.seek(-min(64, os.fstat(stream.fileno()).st_size), os.SEEK_END)
                whole = b"\xff\xd9" in stream.read()  # its end marker; some cameras write more after it
            if not whole:
                opened.load()
        else:
            opened.verify()


@contextmanager
def _opened(file: str | Path | BytesIO, name: str = "") -> Iterator[ImageFile.ImageFile]:
    """The image in a file; whatever Pillow raises, now or in the block, becomes BadData with the file's name."""
    from PIL import Image, UnidentifiedImageError

    name = name or str(file)
    try:
        with Image.open(file, formats=FORMATS) as opened:
            yield opened
    except FileNotFoundError:
        raise errors.BadData(f"The image {name} is missing. Put it there, or take its line out of the list.") from None
    except UnidentifiedImageError:
        why = kinds.why_not_decoded(Path(file) if isinstance(file, str) else file)
        raise errors.BadData(
            f"{name} cannot be used: {why}. Replace it, or take it out; of a list, its line."
        ) from None
    except Exception as error:  # Pillow's readers raise errors of any kind for a broken file
        raise errors.BadData(
            f"The image {name} cannot be decoded: {str(error).rstrip('.')}. Replace it, or take its line out of the "
            "list."
        ) from error


def deep_values(image: ImageFile.ImageFile) -> tuple[int | None, bool]:
    """The largest value of an opened image with 16 bits per channel, None for 8 bits; and whether it has colours.

    Of colours Pillow reads only the upper 8 bits, so their largest value is known to within 255.
    """
    if image.mode.startswith("I"):
        return max(0, int(np.asarray(image).max())), False
    if ";16" in str(image.tile):  # the layout of its pixels in the file, until it is decoded
        return max(high for _, high in _extremes(image)) * 256 + 255, True
    return None, False


def largest_grey(file: str | Path) -> int | None:
    """The largest value of a file with 16 bits and no colours; None of any other file, also of one that is broken."""
    try:
        with _opened(file) as opened:
            largest, is_colour = deep_values(opened)
    except errors.BadData:
        return None
    return None if is_colour else largest


def _extremes(image: Image.Image) -> list[tuple[int, int]]:
    """Smallest and largest value of each channel except transparency."""
    found: Any = image.getextrema()
    found = [found] if image.getbands() == ("L",) else list(found)
    return found[:-1] if image.mode in ("RGBA", "LA") else found


def upright(image: Image.Image) -> Image.Image:
    """A copy turned as its EXIF says. Pillow's `exif_transpose` writes the EXIF anew, which fails where any of its tags
    is malformed, as some cameras' are."""
    from PIL.Image import Transpose as T

    image.load()
    turns = (T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_270, T.TRANSVERSE, T.ROTATE_90)
    turn = dict(enumerate(turns, 2)).get(image.getexif().get(0x0112, 1))
    return image.copy() if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image, bits: int = 16) -> Image.Image:
    """Pillow alone would clip 16 bits at 255 and show what transparent pixels hide. `bits` as in `decode`."""
    from PIL import Image

    if image.mode.startswith("I"):  # one channel of 16 bits, which some formats open as 32
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError(
                "its pixels are 32-bit numbers, and only 8 and 16 bits have a fixed range; convert it to 8 bits"
            )
        return Image.fromarray((values >> (bits - 8)).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError(
            "its pixels are floating-point numbers, and only 8 and 16 bits have a fixed range; convert it to 8 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
