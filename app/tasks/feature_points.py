"""Frozen features of a task's images and their place in two dimensions, computed beside the page.

A computation works in a process of its own, as long as somebody looks. What came to its end is never computed twice:
features are kept on disk by weights, pixels and preprocessing, and what was made of them in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import background, pictures, versions
from app.desk import Desk, Job, Work
from app.room import who
from app.worker import BYTES, Call
from app.worker_process import say
from peftcore.errors import BadData, HeadroomError, StoreUnavailable
from peftcore.task import Split, Task, fetch, load_task
from peftcore.uploads.division import stratified_split

MOST = {"train": 800, "val": 200}  # images that are looked at
BATCH = 16
SEED = 0
SECONDS = 4 * 3600  # of a processor, at most: it ends sooner where nobody looks
SHEET_SIDE = 64  # pixels of an image that is shown on hover


class Wish(NamedTuple):
    """Whose features: of a task's images, by a backbone with pretrained or random weights, under a normalisation
    and a way to resize."""

    task: str
    backbone: str
    pretrained: bool
    norm: str
    resize: str


class Reading(NamedTuple):
    """How far a computation is."""

    done: int = 0
    total: int | None = None
    what: str = "Waiting"

    @property
    def share(self) -> float:
        """0 to 1; 0 where the whole is not known."""
        return min(1.0, self.done / self.total) if self.total else 0.0


class Sample(NamedTuple):
    """The images that are looked at: training ones, then validation ones, numbered 0 to n - 1."""

    images: np.ndarray  # uint8 (n, H, W, 3)
    labels: np.ndarray  # (n,)
    train: int  # how many of them are training images
    names: list[str]  # 'five, train image 12'
    classes: tuple[str, ...]


class Drawn(NamedTuple):
    """What the figures' hover shows: all images on one sheet, and the name of each."""

    sheet: pictures.Sheet
    names: list[str]


@dataclass(frozen=True)
class Features:
    """Pooled features (n, width) of a sample, and what was made of them: two principal components with their shares
    of the variance, the accuracy of a linear classifier on validation images, and that of always guessing one class."""

    values: np.ndarray
    labels: np.ndarray
    train: int
    classes: tuple[str, ...]
    pca: np.ndarray
    shares: np.ndarray
    linear: float | None  # None where there are too few images or classes for one
    commonest: float


def drawn(task: str) -> Job:
    """A future of Drawn, or of a HeadroomError."""
    return _ask(_quick(), ("sheet", task, versions.of(task)), lambda: _drawn(task))


def features(wish: Wish, download: bool = False, size: int = 0) -> Job:
    """A future of Features, or of a HeadroomError. `download`: weights may be downloaded first; `size`: bytes that it
    may take, where that is more than any work may."""
    if download:
        who.fetch("weights")
    work = Call(_features, (wish, download), seconds=SECONDS, size=max(BYTES, size))
    return _ask(_slow(), (wish, versions.of(wish.task)), work)


def images(task: str) -> Job:
    """A future of None once a task's images were downloaded, or of a HeadroomError."""
    who.fetch("a task's images")
    return _ask(_slow(), ("images", task), lambda: _images(task))


def stay(job: Job, tell: Callable[[Reading], None], place: DeltaGenerator) -> Job:
    """Waits for a job, and tells in `place` how far it is."""
    background.wait(job, lambda: tell(Reading(*job.said)), place)
    return job


def download_button(slot: str, what: str, label: str) -> None:
    """Begins a download: the session's `slot` names `what` is to come, as long as it is wanted."""
    wanted = {slot: what}
    st.button(
        label, key=f"{slot}_download", icon=":material/download:", on_click=lambda: st.session_state.update(wanted)
    )


def perplexity_of(found: Features, asked: float) -> float:
    """The perplexity asked for, or less where there are few images: each needs three times as many."""
    return min(asked, max(1.0, (len(found.labels) - 1) // 3))


def tsne(wish: Wish, perplexity: float, found: Features) -> Job:
    """A future of points (n, 2), or of a HeadroomError."""
    return _ask(_quick(), ("tsne", wish, versions.of(wish.task), perplexity), lambda: _tsne(found.values, perplexity))


def _ask(desk: Desk, key: Hashable, work: Work) -> Job:
    """What went wrong before is done again."""
    job = desk.jobs.get(key)
    if job and job.done() and (job.exception() or isinstance(job.result(), HeadroomError)):
        desk.forget(key)
    return desk.ask(key, work)


@st.cache_resource(show_spinner=False)
def _quick() -> Desk:
    return Desk()


@st.cache_resource(show_spinner=False)
def _slow() -> Desk:
    return Desk(2)


def _images(task: str) -> HeadroomError | None:
    try:
        fetch(task, lambda done, total: say(done, total, "Downloading the images"))
    except HeadroomError as error:
        return error
    return None


def _sample(name: str) -> Sample:
    task: Task = load_task(name, download=False)
    images, labels, names = [], [], []
    for split, most in MOST.items():
        part: Split = getattr(task, split)
        chosen = np.arange(len(part))
        if len(part) > most:
            chosen = np.sort(stratified_split(part.labels, [most], SEED)[0])
        images.append(part.images[chosen])
        labels.append(part.labels[chosen])
        names += [f"{task.classes[part.labels[n]]}, {split} image {n}" for n in chosen]
    return Sample(np.concatenate(images), np.concatenate(labels), len(labels[0]), names, task.classes)


def _drawn(name: str) -> Drawn | HeadroomError:
    try:
        sample = _sample(name)
    except HeadroomError as error:
        return error
    return Drawn(pictures.sheet(sample.images, SHEET_SIDE), sample.names)


def _features(wish: Wish, download: bool) -> Features | HeadroomError:
    from peftcore.figures.projection import linear_accuracy, pca

    try:
        say(0, 0, "Reading the images")
        sample = _sample(wish.task)
        values = _pooled(wish, sample.images, download)
        say(len(values), len(values), "Fitting a linear classifier")
        points, shares = pca(values)
        n, labels = sample.train, sample.labels
        try:
            linear, commonest = linear_accuracy(values[:n], labels[:n], values[n:], labels[n:])
        except BadData:
            linear, commonest = None, 1.0
    except HeadroomError as error:
        return error
    return Features(values, labels, n, sample.classes, points, shares, linear, commonest)


def _pooled(wish: Wish, images: np.ndarray, download: bool) -> np.ndarray:
    """Pooled features (n, width), from disk where they were computed before."""
    from peftcore.backbone.load import load_backbone
    from peftcore.features.cache import FeatureCache
    from peftcore.fetch.backbones import fetch as weights
    from peftcore.fetch.places import here

    if download and wish.pretrained and not here(wish.backbone):
        weights(wish.backbone, tell=lambda done, total: say(done, total, "Downloading the weights"))
    say(0, len(images), "Loading the backbone")
    backbone = load_backbone(wish.backbone, wish.pretrained)
    for place in ("disk", "device"):
        cache = FeatureCache(backbone, ["pooled"], images, wish.norm, BATCH, place=place, resize=wish.resize)
        try:
            for done in cache.fill():
                say(done, len(images), "Images through the frozen backbone")
            return np.array(cache.tensors["pooled"].numpy())
        except StoreUnavailable:  # the disk is full, or keeps none: the same numbers, kept as long as the app runs
            if place == "device":
                raise
    raise AssertionError


def _tsne(values: np.ndarray, perplexity: float) -> np.ndarray | HeadroomError:
    from peftcore.figures.projection import tsne as project

    try:
        return project(values, perplexity, SEED)
    except HeadroomError as error:
        return error
