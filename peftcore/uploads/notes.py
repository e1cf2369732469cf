"""What somebody should know about their images before training: too few, missing, darker than they look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from peftcore.uploads.images import Pixels, bits_of
from peftcore.uploads.names import shown
from peftcore.uploads.splits import SPLITS


def of_depth(pixels: Sequence[Pixels]) -> tuple[int, list[str]]:
    """The depth of the values in 16-bit images, and notes on files that hold more, or less, than is read."""
    notes, bits = [], 16
    grey = [one.largest for one in pixels if one.largest is not None and not one.is_colour]
    colour = [one.largest for one in pixels if one.largest is not None and one.is_colour]
    if grey and (bits := bits_of(max(grey))) < 16:
        notes.append(
            f"{_images(len(grey))} of 16 bits with no value above {max(grey):,} of 65,535: kept here, they are read as "
            f"{bits}-bit images, since as 16-bit images they would be almost black. The task folder:PATH?bits={bits} "
            "reads them the same way."
        )
    if colour and bits_of(max(colour)) < 16:
        notes.append(
            f"{_images(len(colour))} with 16 bits per colour and no value above {max(colour):,} of 65,535. Only the "
            "upper 8 bits of such images are read, so they are almost black: stretch them to the whole range, or "
            "convert them to 8 bits, and upload them again."
        )
    if several := sum(one.has_more for one in pixels):
        notes.append(f"{_images(several)} with more than one picture in the file: only the first is read.")
    return bits, notes


def _images(count: int) -> str:
    return "There is 1 image" if count == 1 else f"There are {count:,} images"


def of_classes(before: Sequence[str], classes: Sequence[str], labels: np.ndarray, given: np.ndarray) -> Iterator[str]:
    """What a user should know before training."""
    if gone := [name for name in before if name not in classes]:
        yield f"No image of {listed(gone)} is intact, so {'it is' if len(gone) == 1 else 'they are'} left out."
    count = Counter(labels.tolist())
    if few := [index for index in range(len(classes)) if count[index] < 3]:
        what = "has" if len(few) == 1 else "have"
        where = "" if (given[np.isin(labels, few)] > 0).any() else ", which all go into training"
        yield f"{listed([classes[index] for index in few])} {what} fewer than three images{where}."
    if (given >= 0).any():
        trained = {*labels[given <= 0].tolist()}  # images without a split are for training, or drawn from
        if new := [name for index, name in enumerate(classes) if index not in trained]:
            yield f"There is no training image of {listed(new)}."
        if missing := [name for index, name in enumerate(SPLITS) if not (given == index).any()]:
            yield f"There is no {' and no '.join(missing)} folder; it is drawn from training."


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a sentence; of many, the first."""
    text = ", ".join(shown(name, 40) for name in names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")
