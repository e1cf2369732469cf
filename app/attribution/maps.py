"""What the Attribution page shows, computed in processes on models of their own: the probes put hooks on them."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import background, cached, heavy, subjects
from app.desk import Desk, Job
from app.heads.measuring import Stopped
from app.worker import BYTES, Call
from app.worker_process import say
from peftcore.backbone import embedded
from peftcore.errors import HeadroomError, NotMeasurable

if TYPE_CHECKING:
    from torch import Tensor

    from peftcore.model import TunedModel

_STOPPED = "attribution_stopped"  # in the session: keys of the maps that this reader stopped
CELLS = 64  # of a map's side, at most
SECONDS = 1800  # of a processor, at most: it ends sooner where nobody waits


@dataclass
class Models:
    """The tuned model and, where the classifier fits the frozen backbone, the same with every update off."""

    tuned: TunedModel
    before: TunedModel | None
    lock: threading.Lock

    def one(self, tuned: bool) -> TunedModel:
        if not tuned and self.before is None:
            raise NotMeasurable("This method's classifier reads its own features, so there is none before tuning.")
        return self.tuned if tuned or self.before is None else self.before


@dataclass(frozen=True)
class Said:
    """Probabilities of the classes: `tuned` (classes,), `before` the same or None, `lens` (depth + 1, classes)."""

    tuned: np.ndarray
    before: np.ndarray | None
    lens: np.ndarray


@dataclass(frozen=True)
class Explained:
    """`values` (rows, columns). `delta`: of integrated gradients. `layer`: Grad-CAM's, from 0."""

    values: np.ndarray
    delta: float | None
    layer: int | None


@st.cache_resource(max_entries=3, show_spinner=False)
def models(subject: subjects.Subject) -> Models:
    """Both models of a run. Raises NotMeasurable: it has no adapter yet."""
    import peftcore as pc
    from peftcore.adapters import from_bytes
    from peftcore.bench._finer import finer, finer_backbone

    blob = cached.trained(subject)
    backbone = cached.backbone(blob)
    tuned = from_bytes(blob, backbone)
    if subject.times > 1:
        tuned, backbone = finer(tuned, backbone, subject.times), finer_backbone(backbone, subject.times)
    before = pc.attach(backbone, "linear", tuned.head.out_features, verify=False).eval()
    fits = before.head.weight.shape == tuned.head.weight.shape
    if fits:
        before.head.load_state_dict(tuned.head.state_dict())
    return Models(tuned.eval(), before if fits else None, threading.Lock())


def pixels(run: subjects.Run, image: int | str) -> Tensor:
    """One image as the backbone reads it, (1, 3, H, W)."""
    from peftcore.backbone.preprocess import prepare

    how = {"norm": run.spec.get("normalisation", "backbone"), "resize": run.spec.get("resize", "stretch")}
    return prepare(cached.test_image(run, image)[None], models(run.subject).tuned.backbone, **how)


def said(run: subjects.Run, image: int | str) -> Job:
    """A future of what both models say of an image (Said), or of an error."""
    return _apart(run, ("said", run.subject, run.finished, image), _said, run, image)


def key_of(run: subjects.Run, image: int | str, target: int, how: Mapping[str, Any], tuned: bool) -> Hashable:
    """Which map: the same key is the same computation."""
    return "explained", run.subject, run.finished, image, target, tuple(how.items()), tuned


def explained(run: subjects.Run, image: int | str, target: int, how: Mapping[str, Any], tuned: bool) -> Future:
    """A future of a map (Explained), or of an error, or of Stopped. `how`: by, layer and steps, as `pc.attribute` takes
    them. It says which share of its work is done."""
    key = key_of(run, image, target, how, tuned)
    if key in st.session_state.get(_STOPPED, ()):
        return background.settled(Stopped())
    return _apart(run, key, _explained, run, image, target, dict(how), tuned)


def stop(key: Hashable) -> None:
    """Ends a map under way; for this reader it stays so until `again`."""
    _desk().forget(key)
    st.session_state.setdefault(_STOPPED, set()).add(key)


def again(key: Hashable) -> None:
    """A map that was stopped may be begun again."""
    st.session_state.get(_STOPPED, set()).discard(key)


def patches(run: subjects.Run, image: int | str) -> Job:
    """A future of what the classifier would say of every patch, (depth + 1, rows, columns, classes), or of an error."""
    return _apart(run, ("patches", run.subject, run.finished, image), _patches, run, image)


def _apart(run: subjects.Run, key: Hashable, work: Callable[..., Any], *args: Any) -> Job:
    size = BYTES if run.spec["backbone"] in embedded.names() else heavy.free()
    return _desk().ask(key, Call(_or_error, (work, *args), seconds=SECONDS, size=size))


@st.cache_resource(show_spinner=False)
def _desk() -> Desk:
    return Desk(2)


def result(job: Future, place: Any, what: str) -> Any:
    """Waits in sight. Raises the error where there was one."""
    began = monotonic()
    background.wait(job, lambda: place.caption(f"{what}: {monotonic() - began:.0f} s so far."), place)
    place.empty()
    found = job.result()
    if isinstance(found, HeadroomError):
        raise found
    return found


def _or_error(work: Callable[..., Any], *args: Any) -> Any:
    try:
        return work(*args)
    except HeadroomError as error:
        return error


def _patches(run: subjects.Run, image: int | str) -> np.ndarray:
    from peftcore.bench._lens import layer_lens

    both, x = models(run.subject), pixels(run, image)
    grid = both.tuned.backbone.blocks[-1].grid
    with both.lock:
        said = layer_lens(both.tuned, x, patches=True)[:, 0].softmax(-1)  # (depth + 1, patches, classes)
    return said.unflatten(1, grid).float().cpu().numpy()


def _said(run: subjects.Run, image: int | str) -> Said:
    import torch

    from peftcore.bench._lens import layer_lens

    both, x = models(run.subject), pixels(run, image)
    with both.lock, torch.no_grad():
        tuned, before = (None if model is None else model(x).softmax(-1)[0] for model in (both.tuned, both.before))
        lens = layer_lens(both.tuned, x)[:, 0].softmax(-1)
    assert tuned is not None
    return Said(
        tuned.float().cpu().numpy(),
        None if before is None else before.float().cpu().numpy(),
        lens.float().cpu().numpy(),
    )


def _explained(run: subjects.Run, image: int | str, target: int, how: Mapping[str, Any], tuned: bool) -> Explained:
    import torch.nn.functional as F

    from peftcore.bench._watched import watched
    from peftcore.probes.attribution import attribute

    both, x = models(run.subject), pixels(run, image)
    model = both.one(tuned)
    # How many images run: the steps and both ends; the whole and each patch less; a forward for each layer's map.
    runs = {"integrated_gradients": how.get("steps", 0) + 2, "occlusion": 1 + math.prod(model.backbone.grid)}
    with both.lock, watched(model, runs.get(how["by"], model.backbone.depth), say):
        found = attribute(model, x, target, **how)
    height, width = found.maps.shape[1:]
    shape = min(CELLS, height), min(CELLS, width)
    if how["by"] in ("occlusion", "integrated_gradients"):  # single pixels' gradients are noise: quarters of a patch
        finer = 2 if how["by"] == "integrated_gradients" else 1
        shape = finer * model.backbone.grid[0], finer * model.backbone.grid[1]
    values = F.adaptive_avg_pool2d(found.maps[:, None], shape)[0, 0].detach().double().cpu().numpy()
    if how["by"] == "integrated_gradients":  # a sum stays one: over all cells it is the difference of the logits
        values = values * (height * width / values.size)
    return Explained(values, None if found.delta is None else float(found.delta[0]), found.layer)
