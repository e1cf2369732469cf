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

from app import recordings
from app.subjects import Run, Scores, Subject, adapter, run
from peftcore import errors
from peftcore.figures.theme import method_title
from peftcore.registry import METHODS
from peftcore.uploads.images import picture
from peftcore.uploads.pictures import decode

if TYPE_CHECKING:
    from torch import Tensor

    from peftcore.backbone.load import Backbone
    from peftcore.model import TunedModel
    from peftcore.task import Task

OWN = "own-"  # begins the name of an image that a reader brought, in the place of a test image's number
PHOTOS = {"photo-china": "china.jpg", "photo-flower": "flower.jpg"}  # of scikit-learn; names in the same place
MEAN = -1  # in a head's place: the mean over all
ONLY_SCORES = "The atlas keeps this run's scores, not its weights. Launch it again to look through its heads."
ROLLOUT = -2  # in a layer's place: through all of them, by attention rollout
SCORED_IMAGES, SCORED_BATCH = 200, 50  # for Taylor scores on request: images in all, and per step


@dataclass(frozen=True)
class Look:
    """Where one query looks: `maps` (heads, rows, columns) weights over patches; `prefix` (heads,) what the class token
    and its like get, `registers` (heads,) what of it registers get. Without a grid of its own the query is `asked`,
    (row, column) of this layer's grid or None."""

    maps: np.ndarray
    prefix: np.ndarray
    asked: tuple[int, int] | None
    has_prefix: bool
    registers: np.ndarray | None = None

    def to_registers(self, head: int) -> float | None:
        """What registers get of one head's attention, or for MEAN of the mean's; None without registers."""
        if self.registers is None:
            return None
        return float(self.registers.mean() if head == MEAN else self.registers[head])

    def head(self, head: int) -> tuple[np.ndarray, float]:
        """One head's map and prefix share, or for MEAN the mean over heads."""
        if head == MEAN:
            return self.maps.mean(0), float(self.prefix.mean())
        return self.maps[head], float(self.prefix[head])


@dataclass(frozen=True)
class Pair:
    """Two attentions to compare. `titles` for the pictures, `names` for their difference; `second_head`: which head of
    the second; `remark`: why there is no second, or no difference; `note`: what is compared where it is not plain."""

    first: Look
    second: Look | None = None
    second_head: int = MEAN
    titles: tuple[str, str] = ("", "")
    names: tuple[str, str] = ("", "")
    remark: str = ""
    note: str = ""

    def elsewhere(self, head: int) -> float:
        """The share of the attention over patches that lies elsewhere in the second: total variation, 0 to 1."""
        assert self.second is not None, "only two attentions differ"
        both = self.first.head(head)[0], self.second.head(self.second_head)[0]
        a, b = (grid / (grid.sum() or 1.0) for grid in both)
        return 0.5 * float(np.abs(b - a).sum())


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


@st.cache_resource(max_entries=6, show_spinner=False)
def task(name: str) -> Task:
    """A task, read once for all sessions; its arrays are not to be changed."""
    from peftcore.task import load_task

    return load_task(name)


def test_image(run: Run, image: int | str) -> np.ndarray:
    """A test image by its number, or a reader's own by its name; uint8 (H, W, 3). Raises BadData: it is not kept."""
    if image in PHOTOS:
        from importlib.resources import files

        file = str(files("sklearn.datasets.images") / PHOTOS[str(image)])
        return decode(file, max(anatomy(run.subject).input_size), "crop")
    if isinstance(image, str):
        return picture(image.removeprefix(OWN), max(anatomy(run.subject).input_size))
    return task(run.spec["task"]).test.images[image]


def image_name(image: int | str) -> str:
    """'test image 3', or 'your own image'."""
    if image in PHOTOS:
        return f"the photograph {PHOTOS[str(image)]}"
    return "your own image" if isinstance(image, str) else f"test image {image}"


def image_title(run: Run, image: int | str) -> str:
    """'Test image 3, class cat', or 'Your own image'."""
    if isinstance(image, str):
        return f"The photograph {PHOTOS[image]} (scikit-learn)" if image in PHOTOS else "Your own image"
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


def finished(blob: bytes | None) -> bytes:
    """A run's adapter. Raises NotMeasurable: it has none yet."""
    if blob is None:
        raise errors.NotMeasurable(
            "This run has not come to its end, so there is no trained model of it to look into yet."
        )
    return blob


@st.cache_resource(max_entries=6, show_spinner=False)
def shared_model(subject: Subject) -> Shared:
    """A run's trained model. Raises NotMeasurable: it has none yet."""
    from peftcore import adapters
    from peftcore.bench._finer import finer

    if not run(subject).has_weights:
        raise errors.NotMeasurable(ONLY_SCORES)
    blob = finished(adapter(subject))
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
        source = backbone(finished(adapter(subject))).clone()
        source = source if subject.times == 1 else finer_backbone(source, subject.times)
        lock = threading.Lock()
    own = shared.model.backbone
    with lock:
        if layer == ROLLOUT:
            maps = attention_flow(source, _pixels(subject, image)).numpy()  # (1, last N, first N)
            return _look(maps, own.blocks[-1].grid, own, query, own.grid)
        maps = attention_maps(source, _pixels(subject, image), layer)[0].numpy()  # (heads, N, N)
    return _look(maps, own.blocks[layer].grid, own, query)


@st.cache_data(max_entries=1024, show_spinner=False)
def side_attention(subject: Subject, image: int | str, module: int, query: tuple[int, int] | None) -> Look:
    """Where a query of a test image looks in attention module `module` of a side network."""
    from peftcore.probes.attention import side_attention as probe

    shared = shared_model(subject)
    with shared.lock:
        maps = probe(shared.model, _pixels(subject, image))[module].numpy()  # (1, N, N)
    return _look(maps, anatomy(subject).side_grids[module], shared.model.backbone, query)


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


def _look(
    maps: np.ndarray,
    grid: tuple[int, int],
    backbone: Backbone,
    query: tuple[int, int] | None,
    looked_at: tuple[int, int] | None = None,
) -> Look:
    """One row of (heads, N, N): the query's, or the class token's where there is one. `grid`: of those that ask;
    `looked_at`: of what they look at, where that is another."""
    prefix, registers = backbone.prefix_tokens, int(getattr(backbone.module, "num_reg_tokens", 0))
    if query is None and not prefix:
        query = (grid[0] // 2, grid[1] // 2)
    row = maps[:, 0 if query is None else prefix + query[0] * grid[1] + query[1]]  # (heads, N)
    to_patches = row[:, prefix:].reshape(-1, *(looked_at or grid)).astype(float)
    to_registers = row[:, prefix - registers : prefix].sum(1).astype(float) if registers else None
    return Look(to_patches, row[:, :prefix].sum(1).astype(float), query, prefix > 0, to_registers)


def pair(
    subject: Subject, image: int | str, layer: int, head: int, module: int | None, query: tuple[int, int] | None
) -> Pair:
    """The two attentions that a run lets one compare: backbone and side network, or before and after tuning."""
    known, method = anatomy(subject), run(subject).method
    first = attention(subject, image, layer, query, tuned=False)
    grid, shown = (known.grids[-1], known.grids[0]) if layer == ROLLOUT else (known.grids[layer],) * 2
    where = "all layers" if layer == ROLLOUT else f"layer {layer + 1}"
    if module is not None:
        other = known.side_grids[module]
        second = side_attention(subject, image, module, moved(query, grid, other))
        remark = ""
        if other != shown:
            remark = (
                f"No difference here: the map of {where} of the backbone has {shown[0]} x {shown[1]} patches and this "
                f"module {other[0]} x {other[1]}. Choose a layer and a module of one stage."
            )
        titles = (f"Backbone, {where}", f"Side network, module {module + 1}")
        return Pair(first, second, MEAN, titles, ("backbone", "side network"), remark)
    if known.in_backbone:
        second = attention(subject, image, layer, query)
        titles = (f"Before tuning, {where}", f"After tuning, {where}")
        note = f"{method_title(method)} has no side network: compared is the backbone, before and after tuning."
        return Pair(first, second, head, titles, ("before", "after"), note=note)
    able = " or ".join(map(method_title, METHODS.names(shows="attention")))
    remark = (
        f"{method_title(method)} leaves the backbone's attention as it is and has none of its own. "
        f"Choose a run of {able} to see where a side network looks."
    )
    return Pair(first, titles=(f"Backbone, {where}", ""), remark=remark)


def strongest(before: Look, after: Look, head: int) -> float:
    """The largest weight in two maps of one head: the end of a scale that both share."""
    return float(max(before.head(head)[0].max(), after.head(head)[0].max()))


def shift(before: Look, after: Look, head: int) -> float:
    """The share of a head's attention that lies elsewhere: total variation distance over all tokens, 0 to 1."""
    (first, first_prefix), (second, second_prefix) = before.head(head), after.head(head)
    return 0.5 * float(np.abs(second - first).sum() + abs(second_prefix - first_prefix))


def moved(query: tuple[int, int] | None, source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int] | None:
    """The patch of another grid that holds the centre of this grid's patch."""
    if query is None or source == target:
        return query
    row, column = (int((q + 0.5) * t / s) for q, s, t in zip(query, source, target, strict=True))
    return row, column
