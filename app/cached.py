"""Models of runs, tasks, head scores and attention: the one place that caches what pages compute.

A model is shared by all sessions. Probes put hooks on it for a moment, so each is used under its own lock; nothing
trains it, and adapters are attached to clones of the cached backbone. Torch is imported by what needs a model, never
by reading this file.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import recordings, versions
from app.looks import ROLLOUT, Look, look_of
from app.subjects import Run, Scores, Subject, adapter, run
from peftcore import errors
from peftcore.uploads.decoding import decode
from peftcore.uploads.images import picture

if TYPE_CHECKING:
    from torch import Tensor

    from peftcore.backbone.load import Backbone
    from peftcore.model import TunedModel
    from peftcore.task import Task

OWN = "own-"  # begins the name of an image that a reader brought, in the place of a test image's number
PHOTOS = {"photo-china": "china.jpg", "photo-flower": "flower.jpg"}  # of scikit-learn; names in the same place
ONLY_SCORES = "The atlas keeps this run's scores, not its weights. Launch it again to look through its heads."
SCORED_IMAGES, SCORED_BATCH = 200, 50  # for Taylor scores on request: images in all, and per step


@dataclass(frozen=True)
class Anatomy:
    """What pages must know of a model: blocks by grid and heads, and the side network's modules by grid."""

    grids: tuple[tuple[int, int], ...]
    heads: tuple[int, ...]
    prefix_tokens: int
    input_size: tuple[int, int]
    windowed: bool
    in_backbone: bool
    side_grids: tuple[tuple[int, int], ...]
    attended: tuple[int, ...]  # the layer that each module of the side network reads
    parameters: int  # of the backbone


@dataclass
class Shared:
    """A model and the lock under which it is used."""

    model: TunedModel
    lock: threading.Lock = field(default_factory=threading.Lock)


# Data and models


def task(name: str) -> Task:
    """A task, read once for all sessions; its arrays are not to be changed."""
    return _task(name, versions.of(name))


@st.cache_resource(max_entries=6, show_spinner=False)
def _task(name: str, version: float) -> Task:
    from peftcore.task import load_task

    return load_task(name)


def test_image(run: Run, image: int | str) -> np.ndarray:
    """A test image by its number, or a reader's own by its name; uint8 (H, W, 3). Raises BadData: it is not kept."""
    if image in PHOTOS:
        return photograph(str(image), max(anatomy(run.subject).input_size))
    if isinstance(image, str):
        return picture(image.removeprefix(OWN), max(anatomy(run.subject).input_size))
    return task(run.spec["task"]).test.images[image]


def photograph(code: str, side: int) -> np.ndarray:
    """One of PHOTOS, uint8 (side, side, 3): its shorter side brought to that, and its middle taken."""
    from importlib.resources import files

    return decode(str(files("sklearn.datasets.images") / PHOTOS[code]), side, "crop")


def image_name(image: int | str) -> str:
    """'test image 3', or 'your own image'."""
    if image in PHOTOS:
        return f"the photograph {PHOTOS[str(image)]}"
    return "your own image" if isinstance(image, str) else f"test image {image}"


def image_title(run: Run, image: int | str) -> str:
    """'Test image 3, class cat', 'The photograph china.jpg, from scikit-learn', or 'Your own image'."""
    if isinstance(image, str):
        return f"The photograph {PHOTOS[image]}, from scikit-learn" if image in PHOTOS else "Your own image"
    data = task(run.spec["task"])
    return f"Test image {image}, class {data.classes[data.test.labels[image]]}"


@st.cache_resource(max_entries=3, show_spinner=False)
def _backbone(name: str, pretrained: bool, weights: str | None, **options: Any) -> Backbone:
    from peftcore.backbone.load import load_backbone

    return load_backbone(name, pretrained, weights, **options)


def backbone(blob: bytes) -> Backbone:
    """What an adapter was trained on, before any tuning; shared by all sessions, and not to be changed."""
    from peftcore.adapters import trained_on
    from peftcore.adapters.packing import unpack

    return _backbone(**trained_on(unpack(blob)[1]))


def trained(subject: Subject) -> bytes:
    """A run's adapter. Raises NotMeasurable: it has none yet, or is a recording without one."""
    if not run(subject).has_weights:
        raise errors.NotMeasurable(ONLY_SCORES)
    if (blob := adapter(subject)) is None:
        raise errors.NotMeasurable("This run has not come to its end, so there is no trained model of it to look into.")
    return blob


@st.cache_resource(max_entries=6, show_spinner=False)
def shared_model(subject: Subject) -> Shared:
    """A run's trained model. Raises NotMeasurable: it has none yet."""
    from peftcore import adapters
    from peftcore.bench._finer import finer

    blob = trained(subject)
    base = backbone(blob)
    model = adapters.from_bytes(blob, base)
    return Shared(model if subject.times == 1 else finer(model, base, subject.times))


@st.cache_data(max_entries=64, show_spinner=False)
def anatomy(subject: Subject) -> Anatomy:
    model = shared_model(subject).model
    backbone = model.backbone
    return Anatomy(
        grids=tuple(block.grid for block in backbone.blocks),
        heads=backbone.heads,
        prefix_tokens=backbone.prefix_tokens,
        input_size=(backbone.input_size[-2], backbone.input_size[-1]),
        windowed=backbone.hierarchical,
        in_backbone=not model.is_side,
        side_grids=tuple(backbone.blocks[block].grid for block in model.tuner.attended) if model.is_side else (),
        attended=tuple(model.tuner.attended) if model.is_side else (),
        parameters=model.parameter_counts()["backbone"],
    )


# Probes


@st.cache_data(max_entries=64, show_spinner=False)
def head_scores(subject: Subject, score: Any) -> Scores:
    """Scores of the trained adapter: 'energy' from its weights, the Taylor ones on validation images, now."""
    if not run(subject).has_weights and score in (kept := recordings.run(subject.id)["scores"]):
        return Scores.of(kept[score])
    import torch

    from peftcore.backbone.preprocess import prepare
    from peftcore.probes.responsiveness import head_energy
    from peftcore.probes.responsiveness import head_scores as probe

    shared, spec = shared_model(subject), run(subject).spec
    if score == "energy":
        return Scores.of(head_energy(shared.model).to_dict())
    val = task(spec["task"]).val
    starts = range(0, min(SCORED_IMAGES, len(val)), SCORED_BATCH)
    backbone, how = shared.model.backbone, preprocessing(spec)
    with shared.lock:
        found = probe(
            shared.model,
            (prepare(val.images[s : s + SCORED_BATCH], backbone, **how) for s in starts),
            (torch.tensor(val.labels[s : s + SCORED_BATCH]) for s in starts),
            score,
        )
    return Scores.of(found.to_dict())


@st.cache_data(max_entries=1024, show_spinner=False)
def attention(
    subject: Subject, image: int | str, layer: int, query: tuple[int, int] | None, tuned: bool = True
) -> Look:
    """Where a query of a test image looks in block `layer`, or through all (ROLLOUT; the query is of the last block):
    in the trained model, or in the backbone before tuning."""
    from peftcore.bench._finer import finer_backbone
    from peftcore.probes.attention import attention_flow, attention_maps

    shared = shared_model(subject)
    source: Backbone | TunedModel = shared.model
    lock = shared.lock
    if not tuned:
        # A clone: probes put hooks on what they look at, and the cached backbone belongs to everybody.
        source = backbone(trained(subject)).clone()
        source = source if subject.times == 1 else finer_backbone(source, subject.times)
        lock = threading.Lock()
    own = shared.model.backbone
    with lock:
        if layer == ROLLOUT:
            maps = attention_flow(source, _pixels(subject, image)).numpy()  # (1, last N, first N)
            return look_of(maps, own.blocks[-1].grid, own, query, own.grid)
        maps = attention_maps(source, _pixels(subject, image), layer)[0].numpy()  # (heads, N, N)
    return look_of(maps, own.blocks[layer].grid, own, query)


@st.cache_data(max_entries=1024, show_spinner=False)
def side_attention(subject: Subject, image: int | str, module: int, query: tuple[int, int] | None) -> Look:
    """Where a query of a test image looks in attention module `module` of a side network."""
    from peftcore.probes.attention import side_attention as probe

    shared = shared_model(subject)
    with shared.lock:
        maps = probe(shared.model, _pixels(subject, image))[module].numpy()  # (1, N, N)
    return look_of(maps, anatomy(subject).side_grids[module], shared.model.backbone, query)


@st.cache_data(max_entries=64, show_spinner=False)
def added(subject: Subject, image: int | str) -> tuple[tuple[str, ...], list[float], list[float]]:
    """What each module of a side network adds to the token of a test image that the classifier reads: names, lengths as
    multiples of the frozen token's, and shares of the sum."""
    from peftcore.bench._added import added as probe

    shared = shared_model(subject)
    with shared.lock:
        found = probe(shared.model, _pixels(subject, image))
    return found.names, found.sizes()[:, 0].tolist(), found.shares()[:, 0].tolist()


def _pixels(subject: Subject, image: int | str) -> Tensor:
    """One image as the backbone reads it, (1, 3, H, W)."""
    from peftcore.backbone.preprocess import prepare

    spec = run(subject).spec
    return prepare(test_image(run(subject), image)[None], shared_model(subject).model.backbone, **preprocessing(spec))


def preprocessing(spec: Mapping[str, Any]) -> dict[str, str]:
    """What a run's spec says of its inputs, as `prepare` takes it; older runs know fewer fields."""
    return {"norm": spec.get("normalisation", "backbone"), "resize": spec.get("resize", "stretch")}
