"""What a run answers on one image, and where it looks: computed beside the page, once for each run and image."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from app import background, cached, subjects, versions
from app.room import who
from app.try_it import named
from peftcore.errors import HeadroomError, NotMeasurable
from peftcore.figures.method_style import method_title
from peftcore.registry import METHODS

if TYPE_CHECKING:
    from torch import Tensor

    from peftcore.model import TunedModel

WINDOWS = (
    "A Swin attends within windows and has no class token, so no one map says where it looks. The Attention page shows "
    "it patch by patch."
)


@dataclass(frozen=True)
class Gaze:
    """Where a model looks: `map` (rows, columns) weights over patches, `prefix` the share of the class token and its
    like, `whose` attention it is, in words."""

    map: np.ndarray
    prefix: float
    whose: str


@dataclass(frozen=True)
class Answer:
    """`probabilities` (classes,). `gaze`, or in its place `why_none`."""

    probabilities: np.ndarray
    gaze: Gaze | None
    why_none: str


def ask(run: subjects.Run, image: str) -> Future:
    """A future of an Answer, or of the HeadroomError that says why there is none. `image`: its name (named.py)."""
    try:
        if found := named.tested(image):
            who.task(found[0])  # asked here, since the answer is for all who may see it
    except HeadroomError as error:
        return background.settled(error)
    key = ("answer", run.subject, run.finished, image, versions.of(found[0]) if found else 0)
    return background.later(key, lambda: _or_error(run, image))


def classes(run: subjects.Run) -> list[str]:
    """The names of the classes that a run knows, without its task."""
    return list(map(str, _started(run)["classes"]))


def _started(run: subjects.Run) -> dict[str, Any]:
    """Raises NotMeasurable: the run has not begun."""
    if found := subjects.events(run.subject, "started"):
        return found[-1]
    raise NotMeasurable(f"Run {run.subject.id} has not begun, so there is no trained model of it to ask yet.")


def _or_error(run: subjects.Run, image: str) -> Answer | HeadroomError:
    try:
        return _ask(run, image)
    except HeadroomError as error:
        return error


def _ask(run: subjects.Run, image: str) -> Answer:
    import torch

    from peftcore.backbone.preprocess import prepare

    shared = cached.shared_model(run.subject)
    x = prepare(named.array(run, image)[None], shared.model.backbone, **cached.preprocessing(run.spec))
    with shared.lock, torch.no_grad():
        probabilities = shared.model(x).softmax(-1)[0].float().cpu().numpy()
        try:
            return Answer(probabilities, _gaze(shared.model, x, run.method), "")
        except NotMeasurable as error:
            return Answer(probabilities, None, str(error))


def _gaze(model: TunedModel, x: Tensor, method: str) -> Gaze:
    """Of the last attention of the side network, else of the backbone's last layer, mean over heads: the class token's
    row, or the mean of all rows where there is none.

    Raises NotMeasurable: a Swin's, or an attention that forms no map.
    """
    from peftcore.probes.attention import attention_maps, side_attention

    backbone = model.backbone
    if model.is_side and model.tuner.attended:
        maps, grid = side_attention(model, x)[-1][0], backbone.blocks[model.tuner.attended[-1]].grid
        whose = f"{method_title(method)}'s side network"
    elif backbone.hierarchical:
        raise NotMeasurable(WINDOWS)
    else:
        maps, grid = attention_maps(model, x, -1)[0].mean(0), backbone.blocks[-1].grid
        whose = "the backbone" if METHODS.facts(method).kind == "side" else "the tuned backbone"
    prefix = backbone.prefix_tokens
    row = maps[0] if prefix else maps.mean(0)
    weights = row.float().cpu().numpy().astype(float)
    return Gaze(weights[prefix:].reshape(grid), float(weights[:prefix].sum()), whose)
