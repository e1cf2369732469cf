"""Digits: real handwriting, the 1,797 images of 8 x 8 pixels that come with scikit-learn, enlarged to 64 x 64."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from peftcore.task import Split, Task
from peftcore.uploads.division import stratified_split

TITLE = "Handwritten digits"
DESCRIPTION = "Which digit is it? Real handwriting of 43 people, 1,797 small images."
GROUP = "natural"
CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
SOURCE = (
    "scikit-learn's load_digits: UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), CC BY 4.0"
)
SYMMETRIES = ("shift", "warp")
SEED = 1797
SIZES = (800, 200, 797)  # train, val, test
SIZE = 64  # pixels on a side


def load(argument: str = "") -> Task:
    """The task, read once per process."""
    return _task()


@lru_cache(maxsize=1)
def _task() -> Task:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.stack([enlarge(image) for image in data.images])
    labels = data.target.astype(np.int64)
    train, val, test = (Split(images[part], labels[part]) for part in stratified_split(labels, SIZES, SEED))
    for split in (train, val, test):
        split.images.flags.writeable = split.labels.flags.writeable = False  # callers share this one copy
    return Task("digits", TITLE, DESCRIPTION, GROUP, CLASSES, train, val, test, source=SOURCE, symmetries=SYMMETRIES)


def enlarge(image: np.ndarray) -> np.ndarray:
    """(8, 8) of 0..16 to (64, 64, 3) bytes, bicubic, clipped where the cubic overshoots."""
    from PIL import Image

    large = Image.fromarray(image.astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    grey = np.rint(np.clip(np.asarray(large) * (255 / 16), 0, 255)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
