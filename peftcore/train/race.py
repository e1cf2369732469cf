"""Races: variations of a run trained together. Side methods on one backbone read one set of frozen features, and side
networks of one shape run in one call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.events import Event, Failed
from peftcore.features.plan import CachePlan, plan_shared
from peftcore.model import TunedModel
from peftcore.spec import RunSpec
from peftcore.task import Task
from peftcore.train.loop import Result, Returning, loaded, step
from peftcore.train.recipe import with_remedies
from peftcore.train.trainer import Batch, Trainer, counted

Numbered = Generator[tuple[int, Event], None, Any]  # which run, and its event
Lane = tuple[Trainer, Batch]  # a racer, and where it is


def race(specs: Sequence[RunSpec], backbone: Backbone | None = None) -> list[Result]:
    """Runs every spec and returns the results in the order of `specs`, each what it would be alone.

    Raises:
        InvalidSetting: no specs; and whatever a single run raises.
    """
    specs, ends = [RunSpec.of(spec) for spec in specs], dict[int, Event]()
    stream = Returning(race_events(specs, backbone))
    for i, event in stream:
        ends[i] = event
        if isinstance(event, Failed):
            raise getattr(errors, event.error)(event.message)
    return [Result.of(spec, ends[i], stream.value[i]) for i, spec in enumerate(specs)]


def race_events(
    specs: Sequence[RunSpec],
    backbone: Backbone | None = None,
    resume: Sequence[bytes | None] = (),
    left_out: Callable[[], Collection[int]] = tuple,
) -> Numbered:
    """(i, event of specs[i]) as they happen; returns the trained models, without those of runs that failed.

    Side methods that agree on backbone, task and preprocessing train together, step by step: the frozen forward runs
    once for all of them, and those with equal method settings (other learning rates, seeds and the like) in one call.
    In-backbone methods train one after the other. A run that fails ends with `Failed`, and the others go on.

    `left_out`: called before each step, gives the numbers of the runs that are to go no further.

    Raises:
        InvalidSetting: no specs.
    """
    if not specs:
        raise errors.InvalidSetting("A race needs at least one RunSpec.")
    models: dict[int, TunedModel] = {}
    blobs = dict(enumerate(resume))
    numbered = sorted(enumerate(specs), key=lambda pair: (pair[1].forward, pair[0]))
    for _, group in groupby(numbered, key=lambda pair: pair[1].forward):
        members = dict(group)
        first = next(iter(members.values()))
        try:
            with with_remedies(first):
                shared, task = yield from _for_each(members, loaded(first, backbone))
        except errors.HeadroomError as error:
            yield from _failed(dict.fromkeys(members, error))
            continue
        sides = [i for i, spec in members.items() if spec.method.kind == "side"]
        for team in (sides, *([i] for i in members if i not in sides)):
            racing = {i: members[i] for i in team if i not in left_out()}
            models |= yield from _lockstep(racing, shared, task, blobs, left_out)
    return models


def _for_each(numbers: Iterable[int], events: Iterable[Event]) -> Numbered:
    """Every event for each of these; returns what the generator of the events returns."""
    stream = Returning(events)
    for event in stream:
        yield from ((i, event) for i in numbers)
    return stream.value


def _failed(faults: dict[int, errors.HeadroomError]) -> Iterator[tuple[int, Event]]:
    for i in tuple(faults):
        error = faults.pop(i)
        yield i, Failed(type(error).__name__, str(error))


def _lockstep(
    specs: Mapping[int, RunSpec],
    backbone: Backbone,
    task: Task,
    resume: Mapping[int, bytes | None],
    left_out: Callable[[], Collection[int]],
) -> Numbered:
    """Trains together, step by step; returns the models of the runs that came to their end."""
    racers: dict[int, Trainer] = {}
    models: dict[int, TunedModel] = {}
    faults: dict[int, errors.HeadroomError] = {}

    @contextmanager
    def may_fail(*numbers: int) -> Iterator[None]:
        """Where the code inside fails, these runs go no further; the others do."""
        try:
            with with_remedies(specs[numbers[0]]):
                yield
        except errors.HeadroomError as error:
            for i in numbers:
                racers.pop(i, None)
                faults[i] = error

    for i, spec in specs.items():
        with may_fail(i):
            racers[i] = Trainer(spec, backbone, task, traced=1 if spec.method.kind == "side" else None)
    if len(racers) > 1:  # one alone fills a cache of its own
        with may_fail(*racers):
            yield from _for_each(tuple(racers), _share_features(list(racers.values())))
    yield from _failed(faults)
    for i, racer in tuple(racers.items()):
        with may_fail(i):
            yield from _for_each([i], racer.begin(resume.get(i)))
    batches = {i: racer.batches() for i, racer in racers.items()}
    while True:
        yield from _failed(faults)
        for i in racers.keys() & set(left_out()):
            del racers[i]
        if not racers:
            return models
        lanes, losses = {i: (racer, next(batches[i])) for i, racer in racers.items()}, dict[int, Tensor]()
        with may_fail(*racers):
            side = {i: (r, batch) for i, (r, batch) in lanes.items() if r.model.is_side and not r.is_traced(batch)}
            lanes |= _with_features(side)
            losses = _together({i: lanes[i] for i in side})
        for i, racer in tuple(racers.items()):
            batch = lanes[i][1]
            with may_fail(i):
                if i in losses:
                    racer.update(batch, losses[i])
                else:
                    losses[i] = step(racer, batch)
                yield from _for_each([i], racer.after_step(batch, losses[i]))
                if batch.step == racer.steps:
                    yield from _for_each([i], racer.finish())
                    models[i] = racers.pop(i).model


def _share_features(racers: Sequence[Trainer]) -> Iterator[Event]:
    """One set of features for all, as `plan_shared` says. Where it fits nowhere, no racer keeps any: K caches would
    take K times what is allowed."""
    first = racers[0]
    plan, taps, names = plan_shared([racer.model for racer in racers], first.task, first.spec)
    caches = plan.caches(first.model, first.task, names, first.spec, taps)
    yield from counted("caching frozen features for all", [(one, one.fill()) for one in caches.values()])
    if caches:
        held = sum(cache.nbytes for cache in caches.values())
        plan = CachePlan(held, plan.place, {}, "The features were computed before, for all runs of this race.")
    for racer in racers:
        racer.plan, racer.caches = plan, caches


def _with_features(lanes: Mapping[int, Lane]) -> dict[int, Lane]:
    """Where features are not cached: each batch with its own, by one forward for all that see the same images."""
    seeing: dict[tuple[int, ...], dict[int, Lane]] = {}
    for i, (racer, batch) in lanes.items():
        if not racer.caches:
            seeing.setdefault((racer.spec.seed, racer.spec.batch_size, batch.step), {})[i] = racer, batch
    given: dict[int, Lane] = {}
    for members in seeing.values():
        first, batch = next(iter(members.values()))
        points = tuple(dict.fromkeys(tap for racer, _ in members.values() for tap in racer.model.tuner.taps))
        with first.autocast():
            tokens = dict(zip(points, first.backbone.taps(first.images(batch), points), strict=True))
        for i, (racer, batch) in members.items():
            given[i] = racer, replace(batch, features=tuple(tokens[tap] for tap in racer.model.tuner.taps))
    return given


def _together(lanes: Mapping[int, Lane]) -> dict[int, Tensor]:
    """The losses of the side networks that run in one call; their gradients are then in place."""
    losses: dict[int, Tensor] = {}
    alike: dict[tuple, dict[int, Lane]] = {}
    for i, (racer, batch) in lanes.items():
        # Dropout's random numbers belong to one run, so a method that has it is computed by itself.
        alone = i if getattr(racer.spec.method, "dropout", 0) else None
        alike.setdefault((str(racer.spec.method.settings()), len(batch.rows), alone), {})[i] = racer, batch
    for members in alike.values():
        if len(members) > 1:
            losses |= zip(members, _abreast(list(members.values())), strict=True)
    return losses


def _abreast(lanes: Sequence[Lane]) -> Tensor:
    """The losses (K,) of K models with equal method settings, in one call; their gradients are then in place."""
    first, rows = lanes[0][0], [batch.rows for _, batch in lanes]
    if first.caches:
        same = all(np.array_equal(rows[0], other) for other in rows)
        kept = first.caches["train"].batch(rows[0] if same else np.concatenate(rows), first.model.tuner.taps)
        # (K, b, ...), or (1, b, ...) where all are the same
        z = tuple(t.unflatten(0, (-1, len(rows[0]))) for t in kept)
    else:
        features = [batch.features or () for _, batch in lanes]
        same = all(one[0] is features[0][0] for one in features)
        z = tuple(t[0][None] if same else torch.stack(t) for t in zip(*features, strict=True))
    labels = torch.stack([racer.labels(batch) for racer, batch in lanes])  # (K, b)
    with first.autocast():
        logits = TunedModel.abreast([racer.model for racer, _ in lanes], z).float()  # (K, b, classes)
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(1)
    losses.sum().backward()
    return losses.detach()
