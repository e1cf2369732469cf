"""What named data sets share: the choice of training, validation and test images, and lazy reading.

Settings of such tasks, behind a question mark:

    train   number of training images, 800 by default; or all that are not for validation
    shots   instead: number of training images per class
    val     number of validation images, 200 by default
    test    number of test images, or all (default)
    seed    which training and validation images are drawn; 0 by default
    size, fit, symmetries   as in vtab.py

Train and val are drawn from the data set's own training split, every class in proportion. Test is its own test split;
where that has no labels or is not published, its validation split; where it has only one split, a fifth of that. Which
images these are does not depend on the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from peftcore import errors
from peftcore.task import SYMMETRIES, Split
from peftcore.tasks.files import _folders
from peftcore.uploads.division import stratified_split
from peftcore.uploads.pictures import Pictures

NUMBER = range(1, 10**9)
SETTINGS = {
    "train": (800, ("all", NUMBER)),
    "shots": (None, (range(1, 10_001),)),
    "val": (200, (NUMBER,)),
    "test": ("all", ("all", NUMBER)),
    "seed": (0, (range(0, 10**6),)),
    "symmetries": (None, tuple(_folders.SYMMETRIES_SAID)),
    **_folders.DECODING,
}
TEST_SEED = 0
TEST_SHARE = 0.2  # of a data set with one split

Places = dict[str, tuple[str, np.ndarray]]  # split of the task -> split of the data set, indices of its images


def places(name: str, labels: Mapping[str, np.ndarray], said: Mapping[str, Any]) -> tuple[Places, str]:
    """Which images of a data set's splits become train, val and test, and a sentence that says so.

    `labels`: (n,) classes of the images in each of its splits: "train", and perhaps "val" and "test"; or only "all".

    Raises InvalidSetting: more images are asked for than there are.
    """
    own = next(split for split in ("train", "all", "val", "test") if split in labels)
    last = next((split for split in ("test", "val") if split in labels and split != own), own)
    pool, tested = np.arange(len(labels[own])), np.arange(len(labels[last]))
    if last == own:
        share = max(1, round(TEST_SHARE * len(pool)))
        tested, pool = stratified_split(labels[own], (share, len(pool) - share), TEST_SEED)
    whole = len(tested)
    if said["test"] != "all":
        tested = tested[_drawn(name, "test", labels[last][tested], (said["test"],), TEST_SEED)[0]]
    kinds = labels[own][pool]
    if said["shots"]:
        train, val = _shots(name, kinds, said["shots"], said["val"], said["seed"])
    else:
        count = len(pool) - said["val"] if said["train"] == "all" else said["train"]
        train, val = _drawn(name, "train and val", kinds, (max(1, count), said["val"]), said["seed"])
    source = "its images" if own == "all" else f"its {own} split"
    text = f"{len(train):,} to train and {len(val):,} to validate from the {len(pool):,} of {source}"
    if said["shots"]:
        text += f", {said['shots']} of each class to train"
    elif said["train"] != "all":
        text += ", every class in proportion"
    text += f" (seed {said['seed']}); tested on "
    if last == own:
        text += f"{len(tested):,} others of them, set apart whatever the seed, since it has no test split."
    else:
        text += f"{'all' if len(tested) == whole else f'{len(tested):,} of the'} {whole:,} of its {last} split"
        text += ", since its test split has no labels." if last == "val" else "."
    return {"train": (own, pool[train]), "val": (own, pool[val]), "test": (last, np.sort(tested))}, text


def _drawn(name: str, what: str, labels: np.ndarray, sizes: Sequence[int], seed: int) -> list[np.ndarray]:
    if sum(sizes) > len(labels):
        raise errors.InvalidSetting(
            f"{name}: {' + '.join(f'{size:,}' for size in sizes)} images were asked for as {what}, but there are only "
            f"{len(labels):,}; ask for fewer, as in {name}?train={max(1, len(labels) * 4 // 5)}&"
            f"val={max(1, len(labels) // 5)}."
        )
    return stratified_split(labels, sizes, seed)


def _shots(name: str, labels: np.ndarray, shots: int, val: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `shots` images of each class, and of `val` of the others."""
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    if shots > counts.min():
        raise errors.InvalidSetting(
            f"{name}: shots={shots} was asked for, but its smallest class has {counts.min()} images to train on."
        )
    train = np.concatenate([rng.permutation(np.flatnonzero(labels == one))[:shots] for one in classes])
    rest = np.setdiff1d(np.arange(len(labels)), train)
    return rng.permutation(train), rest[_drawn(name, "val", labels[rest], (val,), seed)[0]]


def splits(
    found: Places, labels: Mapping[str, np.ndarray], read: Callable[[str, int], np.ndarray], size: int, fit: str
) -> tuple[Split, Split, Split]:
    """The task's train, val and test; `read(split of the data set, index)` returns an image's bytes (size, size, 3)."""
    made = []
    for own, numbers in (found[split] for split in ("train", "val", "test")):
        kinds = labels[own][numbers].astype(np.int64)
        kinds.flags.writeable = False
        made.append(Split(_Read(partial(read, own), numbers, size, fit), kinds))
    train, val, test = made
    return train, val, test


class _Read(Pictures):
    """Pictures that a function reads by their indices in a data set."""

    def __init__(self, read: Callable[[int], np.ndarray], numbers: np.ndarray, size: int, fit: str):
        super().__init__(numbers.tolist(), size, fit)
        self.read = read

    def _read(self, number: int) -> np.ndarray:
        return self.read(self.files[number])

    def _look(self, number: int) -> None:
        self._read(number)


def symmetries(said: Mapping[str, Any], known: tuple[str, ...] = SYMMETRIES) -> tuple[str, ...]:
    """What augmentation may do: as the settings say, else as is known of the data set."""
    return known if said["symmetries"] is None else _folders.SYMMETRIES_SAID[said["symmetries"]]


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Class names; one that occurs twice gets its number appended."""
    names = [str(name) for name in names]
    return tuple(f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names))
