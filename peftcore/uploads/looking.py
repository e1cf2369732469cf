"""Every image of a set looked at once: what its pixels reveal, or why it cannot be used."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from peftcore import errors
from peftcore.uploads.images import Pixels, open_image, read_pixels
from peftcore.uploads.intake import Tell
from peftcore.uploads.limits import Limits, more

WORKERS = 2
LARGE = 8_000_000  # pixels; larger images take hundreds of megabytes each and are decoded one at a time
AT_ONCE = 256  # files handed to the workers at a time


class Seen(NamedTuple):
    """One image: what its pixels reveal, and the bytes of its file."""

    pixels: Pixels
    bytes: int


def look(folder: Path, files: Sequence[str], limits: Limits, tell: Tell) -> list[Seen | str]:
    """Reads each file: what it found, or why the image cannot be used.

    Raises BadData: they have too many pixels together, as their headers say before one is decoded.
    """
    counted = _count(folder, files, limits, tell)
    pixels = [0 if isinstance(one, str) else one for one in counted]
    if (total := sum(pixels)) > limits.all_pixels:
        raise errors.BadData(
            f"Its images have {total / 1e6:,.0f} megapixels together, more than {limits.all_pixels / 1e6:,.0f}; make "
            f"them smaller or use fewer, {more('all_pixels')}."
        )
    one_at_a_time = threading.Lock()

    def one_of(number: int) -> Seen | str:
        path, refused = folder / files[number], counted[number]
        if isinstance(refused, str):
            return refused
        try:
            with one_at_a_time if pixels[number] > LARGE else nullcontext():
                return Seen(read_pixels(path, limits), path.stat().st_size)
        except errors.BadData as error:
            return str(error)

    seen: list[Seen | str] = []
    done = 0  # pixels: a large image takes as long as many small ones
    pool = ThreadPoolExecutor(WORKERS)
    try:
        for start in range(0, len(files), AT_ONCE):
            for one in pool.map(one_of, range(start, min(start + AT_ONCE, len(files)))):
                done += pixels[len(seen)]
                seen.append(one)
                tell("Looking at every image", done / max(total, 1))
    finally:
        pool.shutdown(cancel_futures=True)  # who stops it waits for the images at work alone
    return seen


def _count(folder: Path, files: Sequence[str], limits: Limits, tell: Tell) -> list[int | str]:
    """Pixels of each file by its header, or why the image cannot be used. Nothing is decoded."""
    counted: list[int | str] = []
    for number, file in enumerate(files):
        tell("Measuring every image", number / len(files))
        try:
            with open_image(folder / file, limits) as image:
                counted.append(image.width * image.height)
        except errors.BadData as error:
            counted.append(str(error))
    return counted
