"""What the Tasks page shows of a task's images, made beside the page. Nothing here calls Streamlit while it works."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import streamlit as st

from app import pictures, versions
from app.desk import Desk
from peftcore.errors import HeadroomError
from peftcore.task import Split, Task, load_task

STRIP, STRIP_SIDE = 6, 64  # images on a card of the gallery; pixels of the page
SIDE = 64  # of an image in the grid
ROWS, PER_ROW, OF_ONE = 12, 9, 54  # classes with a row of their own, images in it, images of one chosen class
SEED = 0  # of augmentation
LOW, HIGH = -2.7, 2.7  # normalised values drawn as black and as white
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Facts:
    """What is known of a task once it is loaded. `counts`: images by split and class; `strip`: one of each class."""

    title: str
    description: str
    group: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    source: str
    pixels: tuple[int, int]  # height, width as they are stored
    strip: list[pictures.Thumbnail]
    symmetries: tuple[str, ...]

    def images(self, split: str) -> int:
        return sum(self.counts[split].values())

    @property
    def sizes(self) -> str:
        """'800 to train, 200 to validate, 1,000 to test'."""
        return ", ".join(
            f"{self.images(split):,} to {verb}"
            for split, verb in zip(SPLITS, ("train", "validate", "test"), strict=True)
        )


class Wish(NamedTuple):
    """Which images, and how. `label` None is every class; `more` is how often more of them were asked for."""

    task: str
    backbone: str
    norm: str
    resize: str
    augmentation: str
    split: str
    label: int | None
    more: int
    raw: bool  # the normalised values themselves, from LOW to HIGH


@dataclass(frozen=True)
class Seen:
    """Rows of images by class name; `left`: images or classes not shown; what the backbone reads, in numbers."""

    rows: dict[str, list[pictures.Thumbnail]]
    left: int
    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: float
    high: float
    average: float
    deviation: float


def facts(task: str) -> Future:
    """A future of Facts, or of the HeadroomError that says why the task cannot be read."""
    return _ask(("facts", task, versions.of(task)), lambda: _facts(task))


def seen(wish: Wish) -> Future:
    """A future of Seen, or of a HeadroomError."""
    return _ask((wish, versions.of(wish.task)), lambda: _seen(wish))


def _ask(key: Hashable, work: Callable[[], Any]) -> Future:
    """What went wrong before is tried again: a folder may have come, or a network."""
    desk = _desk()
    job = desk.jobs.get(key)
    if job and job.done() and (job.exception() or isinstance(job.result(), HeadroomError)):
        desk.forget(key)
    return desk.ask(key, work)


@st.cache_resource(show_spinner=False)
def _desk() -> Desk:
    return Desk(2)


def _facts(name: str) -> Facts | HeadroomError:
    try:
        task = load_task(name, download=False)
        splits = {split: getattr(task, split) for split in SPLITS}
        counts = {split: _counts(part.labels, task.classes) for split, part in splits.items()}
        _, first = np.unique(task.train.labels, return_index=True)
        first = first[np.linspace(0, len(first) - 1, min(STRIP, len(first))).astype(int)]
        strip = [
            pictures.thumbnail(image, task.classes[label], STRIP_SIDE)
            for image, label in zip(task.train.images[first], task.train.labels[first], strict=True)
        ]
        return Facts(
            task.title, task.description, task.group, task.classes, counts, task.source,
            tuple(task.train.images.shape[1:3]), strip, task.symmetries,
        )  # fmt: skip
    except HeadroomError as error:
        return error


def _counts(labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, int]:
    return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))


def _seen(wish: Wish) -> Seen | HeadroomError:
    import torch

    from peftcore.backbone.load import load_backbone
    from peftcore.backbone.preprocess import augmented, normalisation

    try:
        task = load_task(wish.task, download=False)
        split: Split = getattr(task, wish.split)
        chosen, left = _which(task, split, wish.label, wish.more)
        numbers = np.array([n for found in chosen.values() for n in found], np.int64)
        backbone = load_backbone(wish.backbone, pretrained=False, device="meta")
        read = augmented(
            split.images[numbers], backbone, wish.norm, "cpu", wish.resize, wish.augmentation,
            torch.Generator().manual_seed(SEED), task.symmetries,
        )  # fmt: skip
        values = read.permute(0, 2, 3, 1).numpy()  # (n, h, w, 3)
        mean, std = normalisation(backbone, wish.norm)
    except HeadroomError as error:
        return error
    shown = (
        (values - LOW) / (HIGH - LOW) if wish.raw else values * np.array(std, np.float32) + np.array(mean, np.float32)
    )
    drawn = iter(np.rint(255 * shown.clip(0, 1)).astype(np.uint8))
    rows = {
        name: [pictures.thumbnail(next(drawn), f"{name}, {wish.split} image {n}", SIDE) for n in found]
        for name, found in chosen.items()
    }
    range_and_moments = (float(values.min()), float(values.max()), float(values.mean()), float(values.std()))
    high, wide = backbone.input_size[-2:]
    return Seen(rows, left, (high, wide), tuple(mean), tuple(std), *range_and_moments)


def _which(task: Task, split: Split, label: int | None, more: int) -> tuple[dict[str, list[int]], int]:
    """Numbers of images by class name, in the split's order, and how many classes or images are left out."""
    if label is not None:
        found = np.flatnonzero(split.labels == label)
        return {task.classes[label]: found[: OF_ONE * more].tolist()}, max(0, len(found) - OF_ONE * more)
    labels = [n for n in range(len(task.classes)) if (split.labels == n).any()]
    few = len(labels) <= ROWS
    each = PER_ROW * more if few else PER_ROW
    shown = labels if few else labels[: ROWS * more]
    by_class = {n: np.flatnonzero(split.labels == n) for n in shown}
    left = sum(max(0, len(of) - each) for of in by_class.values()) if few else len(labels) - len(shown)
    return {task.classes[n]: of[:each].tolist() for n, of in by_class.items()}, left
