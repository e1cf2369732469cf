"""Image files as one array of bytes, decoded as they are read, whatever their format, size and depth."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from peftcore import errors
from peftcore.home import gigabytes

if TYPE_CHECKING:
    from PIL import Image, ImageFile

FITS = ("stretch", "crop")
# Pillow reads more, but some start other programs (EPS), and nobody keeps photographs in the others.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
WORKERS = min(8, os.cpu_count() or 1)  # decoding threads: Pillow releases the interpreter lock
SHARE = 0.25  # of free memory that decoded images may take by default
LOOKED_AT = 256  # images between two progress reports of a check
MOST_AHEAD = 8  # most reads prepared at once: the runs of a race take turns

_keeping: WeakSet[Pictures] = WeakSet()
_deciding = Lock()


class Pictures:
    """The images of `files`, read like an array uint8 (n, size, size, 3): `pictures[index]` is a numpy array.

    Nothing is decoded before it is asked for. Decoded images are kept if all of them fit into `kept_bytes`, by default
    `room()`; otherwise memory holds only one read at a time, and files are decoded again on the next one. `size`, `fit`
    and `bits` are those of `decode`; `files` are paths, or whatever else a subclass reads an image by.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self,
        files: Sequence[Any],
        size: int,
        fit: str = "stretch",
        kept_bytes: int | None = None,
        bits: int = 16,
    ):
        self.files, self.size, self.fit, self.bits = tuple(files), size, fit, bits
        self.shape = (len(self.files), size, size, 3)
        self.nbytes = int(np.prod(self.shape))
        self._done, self._checked = np.zeros(len(self), bool), False
        self._coming: dict[bytes, tuple[np.ndarray, list[Future]]] = {}  # being decoded, by their numbers
        # The system allocates the pages of an empty array only when they are written.
        with _deciding:
            fits = self.nbytes <= (room() if kept_bytes is None else kept_bytes)
            self._kept = np.empty(self.shape, np.uint8) if fits else None
            if fits:
                _keeping.add(self)

    @property
    def kept(self) -> bool:
        """Whether decoded images stay in memory; otherwise they are streamed from their files."""
        return self._kept is not None

    @property
    def missing_bytes(self) -> int:
        """Bytes still to be decoded, where decoded images are kept."""
        return int(np.count_nonzero(~self._done)) * self.nbytes // max(1, len(self))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> np.ndarray:
        """The images at a number, slice, or array of numbers; a copy. Raises BadData naming a file that is broken."""
        numbers = np.arange(len(self))[index]
        wanted = np.atleast_1d(numbers)
        if self._kept is not None:
            self._keep(wanted, self._kept)
            images = self._kept[wanted]
        else:
            coming = self._coming.pop(wanted.tobytes(), None)
            images, parts = coming or self._decode(wanted)
            for part in parts:
                part.result()
        return images if np.ndim(numbers) else images[0]

    def ahead(self, index: Any) -> None:
        """Starts to decode what will be read next, unless it is kept; `index` is the one it will be read by."""
        if self.kept:
            return
        numbers = np.atleast_1d(np.arange(len(self))[index])
        if numbers.tobytes() in self._coming:
            return
        while len(self._coming) >= MOST_AHEAD:
            for part in self._coming.pop(next(iter(self._coming)))[1]:
                part.cancel()
        self._coming[numbers.tobytes()] = self._decode(numbers)

    def check(self) -> Iterator[int]:
        """Checks every image once and yields how many are done: kept ones are decoded, others only partly read.
        Raises BadData naming a file that is broken."""
        for start in range(0, len(self) if not self._checked else 0, LOOKED_AT):
            numbers = np.arange(start, min(start + LOOKED_AT, len(self)))
            if self._kept is not None:
                self._keep(numbers, self._kept)
            else:
                list(_pool().map(self._look, numbers))
            yield int(numbers[-1]) + 1
        self._checked = True

    def _keep(self, numbers: np.ndarray, kept: np.ndarray) -> None:
        missing = np.unique(numbers[~self._done[numbers]])
        if not len(missing):
            return
        images, parts = self._decode(missing)
        for part in parts:
            part.result()
        kept[missing] = images
        self._done[missing] = True  # last: a thread that reads meanwhile decodes the same bytes again

    def _decode(self, numbers: np.ndarray) -> tuple[np.ndarray, list[Future]]:
        """The array that will hold the images, and the futures to wait for."""
        out = np.empty((len(numbers), *self.shape[1:]), np.uint8)

        def some(rows: np.ndarray) -> None:
            for row in rows:
                out[row] = self._read(numbers[row])

        rows = np.array_split(np.arange(len(numbers)), min(len(numbers), 4 * WORKERS) or 1)
        return out, [_pool().submit(some, part) for part in rows]

    def _read(self, number: int) -> np.ndarray:
        return decode(self.files[number], self.size, self.fit, "", self.bits)

    def _look(self, number: int) -> None:
        look(self.files[number])


def room() -> int:
    """Bytes of decoded images that may still be kept: of HEADROOM_IMAGES_GB for all, by default a quarter of free
    memory. Raises InvalidSetting where that is not a size."""
    most = gigabytes("HEADROOM_IMAGES_GB")
    if most is not None:
        return int(most * 1e9) - sum(pictures.nbytes for pictures in _keeping)
    import psutil

    return int(SHARE * psutil.virtual_memory().available) - sum(pictures.missing_bytes for pictures in _keeping)


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="headroom-pictures")


def decode(file: str | Path | BytesIO, size: int, fit: str = "stretch", name: str = "", bits: int = 16) -> np.ndarray:
    """One image file as RGB bytes (size, size, 3): turned upright by its EXIF, laid on white, resized bicubically.

    `fit` is 'stretch' (the whole image, whatever its shape, as VTAB-1K's published code does) or 'crop' (the shorter
    side to `size`, then the middle). 16 bits per channel keep their upper 8, or the upper 8 of their lower `bits`. Of
    an animation, the first frame. `name` is what errors call an image that is not a file of its own.

    Raises:
        BadData: missing, not an image, broken, too large (Pillow's limit on pixels), or without a fixed range.
    """
    from PIL import ImageOps

    with _opened(file, name) as opened:
        return fitted(ImageOps.exif_transpose(opened), size, fit, bits)


def in_all_fits(file: str | Path, size: int, bits: int = 16) -> dict[str, np.ndarray]:
    """An image file under each of FITS, as `decode` returns it; it is read once. Raises as `decode` does."""
    from PIL import ImageOps

    with _opened(file) as opened:
        image = ImageOps.exif_transpose(opened)
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
        raise errors.BadData(
            f"{name} is not an image that can be read. Replace it, or take its line out of the list."
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


def _extremes(image: Image.Image) -> list[tuple[int, int]]:
    """Smallest and largest value of each channel except transparency."""
    found: Any = image.getextrema()
    found = [found] if image.getbands() == ("L",) else list(found)
    return found[:-1] if image.mode in ("RGBA", "LA") else found


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
