"""Races: variations of a run compared together. Side methods on one backbone read one set of frozen features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from . import errors
from .backbone import Backbone, load_backbone
from .features import FeatureCache, should_cache
from .model import attach
from .recipe import choose_device
from .spec import RunSpec
from .tasks import load_task
from .train import Result, drain, finetune


def race(specs: Sequence[RunSpec]) -> list[Result]:
    """Runs every spec and returns the results in the order of `specs`, each what it would be alone.

    The backbone is loaded once per (backbone, weights), and the side methods among specs that agree on backbone, task and
    preprocessing share its features: the frozen forward runs once for all of them.

    Raises:
        InvalidSetting: no specs; and whatever a single run raises.
    """
    if not specs:
        raise errors.InvalidSetting("A race needs at least one RunSpec.")
    results: dict[int, Result] = {}
    numbered = sorted(enumerate(specs), key=lambda pair: (_forward(pair[1]), pair[0]))
    for _, group in groupby(numbered, key=lambda pair: _forward(pair[1])):
        for number, result in _together(list(group)):
            results[number] = result
    return [results[i] for i in range(len(specs))]


def _forward(spec: RunSpec) -> tuple[str, ...]:
    """What decides the frozen forward: specs that agree on it can share its features."""
    return tuple(map(str, (spec.backbone, spec.pretrained, spec.weights, spec.device, spec.task, spec.normalisation,
                           spec.precision, spec.augmentation, spec.cache_features)))  # fmt: skip


def _together(group: list[tuple[int, RunSpec]]) -> Iterator[tuple[int, Result]]:
    first = group[0][1]
    backbone = load_backbone(first.backbone, first.pretrained, first.weights).to(choose_device(first.device))
    sides = [spec for _, spec in group if spec.method.kind == "side"]
    caches = _shared(backbone, sides) if len(sides) > 1 else None
    for number, spec in group:
        shared = caches if spec.method.kind == "side" else None
        yield number, drain(spec, finetune(spec, backbone=backbone, caches=shared))


def _shared(backbone: Backbone, specs: list[RunSpec]) -> dict[str, FeatureCache] | None:
    """Features at every tap that one of the methods reads; None where they do not fit or may not be kept."""
    spec, task = specs[0], load_task(specs[0].task)
    models = [attach(backbone, s.method, len(task.classes), verify=False) for s in specs]
    widest = max(models, key=lambda model: len(model.tuner.taps))
    images = len(task.train) + len(task.val)
    if spec.precision != "fp32" or not should_cache(widest, images, spec.cache_features, spec.augmentation):
        return None
    taps = [tap for model in models for tap in model.tuner.taps]
    caches = {}
    for name, split in (("train", task.train), ("val", task.val)):
        caches[name] = FeatureCache(backbone, taps, split.images, spec.normalisation)
        for _ in caches[name].fill():
            pass
    return caches
