"""Image files as one array of bytes: decoded when they are read, whatever their kind, size and depth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from peftcore import errors

if TYPE_CHECKING:
    from PIL import Image

FITS = ("stretch", "crop")
# Pillow knows more, among them some that start other programs (EPS) or that nobody has photographs in.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
KEPT_BYTES = 512 * 2**20  # of decoded images per split; a larger split is decoded again whenever it is read
WORKERS = min(8, os.cpu_count() or 1)  # threads that decode: Pillow lets go of the interpreter meanwhile


class Pictures:
    """The images of `files`, read like an array uint8 (n, size, size, 3): `pictures[index]` is a numpy array.

    Nothing is decoded before it is asked for. What was decoded is kept if the whole fits into `kept_bytes`; else
    memory holds only what one reading asks for, and the files are decoded again at the next.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, files: Sequence[str | Path], size: int, fit: str = "stretch", kept_bytes: int = KEPT_BYTES):
        self.files, self.size, self.fit = tuple(files), size, fit
        self.shape = (len(self.files), size, size, 3)
        self.nbytes = int(np.prod(self.shape))
        # The system gives memory to the pages of an empty array only when they are written.
        self._kept = np.empty(self.shape, np.uint8) if self.nbytes <= kept_bytes else None
        self._done = np.zeros(len(self), bool)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> np.ndarray:
        """The images at a number, slice, or array of numbers; a copy. Raises BadData naming a file that is broken."""
        numbers = np.arange(len(self))[index]
        wanted = np.atleast_1d(numbers)
        if self._kept is None:
            images = np.empty((len(wanted), *self.shape[1:]), np.uint8)
            self._decode(images, range(len(wanted)), wanted)
        else:
            missing = np.unique(wanted[~self._done[wanted]])
            self._decode(self._kept, missing, missing)
            self._done[missing] = True  # last: another thread that reads meanwhile decodes the same bytes once more
            images = self._kept[wanted]
        return images if np.ndim(numbers) else images[0]

    def _decode(self, out: np.ndarray, rows: Sequence[int], numbers: np.ndarray) -> None:
        def one(row: int, number: int) -> None:
            out[row] = decode(self.files[number], self.size, self.fit)

        if len(numbers) < 2 * WORKERS:
            list(map(one, rows, numbers))
        else:
            with ThreadPoolExecutor(WORKERS) as pool:
                list(pool.map(one, rows, numbers))


def decode(file: str | Path, size: int, fit: str = "stretch") -> np.ndarray:
    """One image file as RGB bytes (size, size, 3): upright by its EXIF, what is transparent on white, then bicubic.

    `fit` is 'stretch' (the whole image, whatever its shape, as VTAB-1K's published code does) or 'crop' (the shorter
    side to `size`, then the middle). 16 bits per channel keep their upper 8. Of an animation, the first frame.

    Raises:
        BadData: missing, no image, broken, too large (Pillow's limit on pixels), or of a kind without a fixed range.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file, formats=FORMATS) as opened:
            image = _to_rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise errors.BadData(f"The image {file} is missing. Put it there, or take its line out of the list.") from None
    except UnidentifiedImageError:
        raise errors.BadData(
            f"{file} is no image that can be read. Replace it, or take its line out of the list."
        ) from None
    except Exception as error:  # what Pillow's readers raise of a broken file is no closed list
        raise errors.BadData(
            f"The image {file} cannot be decoded: {str(error).rstrip('.')}. Replace it, or take its line out of the list."
        ) from error
    if image.size != (size, size):
        if fit == "crop":
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        else:
            image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Pillow alone would clip 16 bits at 255 and show what hides behind transparent pixels."""
    from PIL import Image

    if image.mode.startswith("I"):  # one channel of 16 bits, which some formats open as 32
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("its pixels are 32-bit numbers, and only 8 and 16 bits have a fixed range")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, and only 8 and 16 bits have a fixed range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
