"""Train, val and test splits of a set of images: given by its folders, or drawn with every class in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peftcore import errors
from peftcore.uploads.splits import SPLITS

SHARES = tuple(round(step / 20, 2) for step in range(1, 10))  # of all images: 0.05 to 0.45
FEWEST = 3  # images in a class that is divided; smaller classes go into training whole


def divide(
    labels: np.ndarray, given: np.ndarray, val: float = 0.2, test: float = 0.2, seed: int = 0, drawn: bool = False
) -> dict[str, np.ndarray]:
    """Index arrays of 'train', 'val' and 'test', disjoint, together all images.

    Args:
        labels: (n,) class indices.
        given: (n,) indices into SPLITS, -1 where none is given. A val or test split without any image is drawn from
            training and from the images without a split.
        val, test: shares of the images drawn from, to within one image of each class.
        drawn: draws all three anew, ignoring `given`.

    A class that has a training image before the drawing keeps at least one. Raises BadData: too few images.
    """
    given = np.full_like(given, -1) if drawn else given
    fixed = {index for index in range(3) if (given == index).any()}
    loose = (given < 0) | (given == 0) if not {1, 2} <= fixed else given < 0
    pool = np.flatnonzero(loose)
    large = np.isin(labels[pool], np.flatnonzero(np.bincount(labels[pool]) >= FEWEST)) if len(pool) else loose[:0]
    drawable = pool[large]
    sizes = [0 if index in fixed else max(1, round(share * len(drawable))) for index, share in ((1, val), (2, test))]
    if sum(sizes) and sum(sizes) >= len(drawable):
        few = f"{len(drawable)} in classes of at least {FEWEST}" if len(drawable) else f"no class has {FEWEST}"
        raise errors.BadData(
            f"There are too few images to draw from: {few}. Add images, or provide train, val and test folders."
        )
    taken_val, taken_test = (drawable[part] for part in stratified_split(labels[drawable], sizes, seed))
    where = np.where(given < 0, 0, given)
    where[taken_val], where[taken_test] = 1, 2
    for label in np.setdiff1d(labels[pool], labels[where == 0]):  # tiny classes, large shares
        where[pool[labels[pool] == label][0]] = 0
    return {name: np.flatnonzero(where == index) for index, name in enumerate(SPLITS)}


def stratified_split(labels: np.ndarray, sizes: Sequence[int], seed: int) -> list[np.ndarray]:
    """Disjoint index arrays of exactly these sizes, each with every class in proportion (to within one image).

    `labels` (n,) integers; sum(sizes) <= n. Each class is shuffled and spread evenly over one line, which is then
    cut into pieces; each piece is shuffled. The same labels, sizes and seed give the same split.
    Raises InvalidSetting if more images are asked for than there are.
    """
    labels = np.asarray(labels)
    if sum(sizes) > len(labels):
        raise errors.InvalidSetting(
            f"A split into {' + '.join(map(str, sizes))} = {sum(sizes)} images was asked for, but there are only "
            f"{len(labels)}; make the parts smaller."
        )
    rng = np.random.default_rng(seed)
    place = np.empty(len(labels))  # each image's position on the line from 0 to 1
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[rng.permutation(members)] = (np.arange(len(members)) + rng.random()) / len(members)
    line = np.argsort(place, kind="stable")
    ends = np.cumsum(sizes)
    return [rng.permutation(line[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
