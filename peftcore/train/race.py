"""Races: variations of a run trained together. Side methods on one backbone read one set of frozen features, and side
networks of one shape run in one call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.events import Event, Failed, Finished, Progress
from peftcore.features.plan import plan_cache
from peftcore.fetch.arrivals import arrivals
from peftcore.model import TunedModel
from peftcore.spec import RunSpec
from peftcore.train.inputs import Batch, memory_sentence
from peftcore.train.loop import Result, Trainer, finetune, result_of
from peftcore.train.recipe import choose_device


def race(specs: Sequence[RunSpec], backbone: Backbone | None = None) -> list[Result]:
    """Runs every spec and returns the results in the order of `specs`, each what it would be alone.

    Raises:
        InvalidSetting: no specs; and whatever a single run raises.
    """
    specs, finished = [RunSpec.of(spec) for spec in specs], dict[int, Finished]()
    stream = race_events(specs, backbone)
    while True:
        try:
            number, event = next(stream)
        except StopIteration as end:
            return [result_of(spec, finished[i], end.value[i]) for i, spec in enumerate(specs)]
        if isinstance(event, Finished):
            finished[number] = event
        if isinstance(event, Failed):
            raise getattr(errors, event.error)(event.message)


def race_events(
    specs: Sequence[RunSpec],
    backbone: Backbone | None = None,
    resume: Sequence[bytes | None] = (),
    left_out: Callable[[], Collection[int]] = tuple,
) -> Generator[tuple[int, Event], None, list[TunedModel | None]]:
    """(i, event of specs[i]) as they happen; returns the trained models, None where one failed.

    Side methods that agree on backbone, task and preprocessing train together, step by step: the frozen forward runs once
    for all of them, and those with equal method settings (other learning rates, seeds and the like) in one call. In-backbone
    methods train one after the other. One that fails tells so as a last event, `Failed`, and the others go on.

    `left_out` says, whenever it is asked, which are to go no further; it is asked before each step.

    Raises:
        InvalidSetting: no specs.
    """
    if not specs:
        raise errors.InvalidSetting("A race needs at least one RunSpec.")
    blobs = {i: blob for i, blob in enumerate(resume)}
    models: list[TunedModel | None] = [None] * len(specs)
    numbered = sorted(enumerate(specs), key=lambda pair: (pair[1].forward, pair[0]))
    for _, group in groupby(numbered, key=lambda pair: pair[1].forward):
        members = dict(group)
        first = next(iter(members.values()))
        try:
            for told in arrivals(first, with_weights=backbone is None):
                for i in members:
                    yield i, told
            shared = backbone or load_backbone(first.backbone, first.pretrained, first.weights)
            shared.to(choose_device(first.device))
        except errors.HeadroomError as error:
            yield from _failed(members, error)
            continue
        sides = {i: spec for i, spec in members.items() if spec.method.kind == "side"}
        streams = [_lockstep(sides, shared, blobs, left_out)] if sides else []
        streams += [_alone(i, spec, shared, blobs.get(i), left_out) for i, spec in members.items() if i not in sides]
        for stream in streams:
            for i, model in (yield from stream).items():
                models[i] = model
    return models


def _failed(members: Iterable[int], error: errors.HeadroomError) -> Iterator[tuple[int, Event]]:
    for i in members:
        yield i, Failed(type(error).__name__, str(error))


def _alone(
    number: int,
    spec: RunSpec,
    backbone: Backbone,
    resume: bytes | None,
    left_out: Callable[[], Collection[int]],
) -> Generator[tuple[int, Event], None, dict[int, TunedModel]]:
    with closing(finetune(spec, resume, backbone)) as stream:
        while number not in left_out():
            try:
                yield number, next(stream)
            except StopIteration as end:
                return {number: end.value}
            except errors.HeadroomError as error:
                yield from _failed([number], error)
                break
        return {}


def _lockstep(
    specs: dict[int, RunSpec],
    backbone: Backbone,
    resume: dict[int, bytes | None],
    left_out: Callable[[], Collection[int]],
) -> Generator[tuple[int, Event], None, dict[int, TunedModel]]:
    """Trains side methods together: each goes on to its next batch, then all batches are computed at once."""
    trainers: dict[int, Trainer] = {}
    for i, spec in specs.items():
        try:
            with memory_sentence(spec):
                trainers[i] = Trainer(spec, backbone, traced=1)  # a traced step is computed alone
        except errors.HeadroomError as error:
            yield from _failed([i], error)
    try:
        with memory_sentence(next(iter(specs.values()))):
            yield from _share_features(trainers)
    except errors.HeadroomError as error:
        yield from _failed(trainers, error)
        return {}
    with ExitStack() as stack:
        streams = {i: stack.enter_context(closing(t.events(resume.get(i)))) for i, t in trainers.items()}
        losses: dict[int, Tensor | None] = dict.fromkeys(streams)
        while streams:
            batches: dict[int, Batch] = {}
            for i in streams.keys() & set(left_out()):
                streams.pop(i).close()
                del trainers[i]
            for i in list(streams):
                try:
                    while True:
                        with memory_sentence(specs[i]):
                            told = streams[i].send(losses.pop(i, None))
                        if isinstance(told, Batch):
                            break
                        yield i, told
                    batches[i] = told
                except StopIteration:
                    del streams[i]
                except errors.HeadroomError as error:
                    yield from _failed([i], error)
                    del streams[i], trainers[i]
            if batches:
                try:
                    with memory_sentence(next(iter(batches.values())).spec):
                        losses = _together(batches)
                except errors.HeadroomError as error:  # nobody's in particular: one call for all
                    yield from _failed(batches, error)
                    for i in batches:
                        del streams[i], trainers[i]
    return {i: trainer.model for i, trainer in trainers.items()}


def _share_features(trainers: dict[int, Trainer]) -> Generator[tuple[int, Event], None, None]:
    """Where features can be kept, those of all splits at every tap that one of the trainers reads; without those of the
    test images where only these are too many. Else no trainer keeps any: K caches would take K times what is allowed."""
    if len(trainers) <= 1:
        return  # it fills a cache of its own, as it would alone
    first = next(iter(trainers.values()))
    taps = tuple(dict.fromkeys(tap for t in trainers.values() for tap in t.model.tuner.taps))
    for names in (("train", "val", "test"), ("train", "val")):
        splits = {name: getattr(first.task, name) for name in names}
        total = sum(len(split) for split in splits.values())
        try:
            plan = plan_cache(first.model, total, first.spec, taps)
        except errors.OutOfMemory:
            if "test" not in names:
                raise
            continue
        if plan.place != "none":
            break
    else:
        for trainer in trainers.values():
            trainer.plan = plan
        return
    before = 0
    for name, split in splits.items():
        cache = plan.cache(first.backbone, taps, split.images, first.spec)
        for done in cache.fill():
            for i in trainers:
                yield i, Progress(what="caching frozen features for all", done=before + done, total=total)
        before += len(split)
        for trainer in trainers.values():
            trainer.caches[name] = cache


def _together(batches: dict[int, Batch]) -> dict[int, Tensor]:
    """The loss of each batch, after every model has its gradients."""
    features = _frozen(batches)
    alike: dict[tuple, list[int]] = {}
    for i, batch in batches.items():
        # Dropout's random numbers belong to one run, so a method that has it is computed by itself.
        alone = i if getattr(batch.spec.method, "dropout", 0) else None
        alike.setdefault((str(batch.spec.method.settings()), len(batch.index), alone), []).append(i)
    losses = {}
    for members in alike.values():
        if len(members) == 1:
            (i,) = members
            losses[i] = batches[i].alone(features.get(i))
        else:
            losses |= _abreast({i: batches[i] for i in members}, features)
    return losses


def _frozen(batches: dict[int, Batch]) -> dict[int, tuple[Tensor, ...]]:
    """Where features are not cached: each batch's, with one forward for all that see the same images."""
    seeing: dict[tuple[int, ...], list[int]] = {}
    for i, batch in batches.items():
        if not batch.trainer.caches:
            seeing.setdefault((batch.spec.seed, batch.epoch, batch.step, len(batch.index)), []).append(i)
    found = {}
    for members in seeing.values():
        first, wanted = batches[members[0]], {i: batches[i].trainer.model.tuner.taps for i in members}
        points = tuple(dict.fromkeys(tap for taps in wanted.values() for tap in taps))
        with first.trainer.autocast():
            tokens = dict(zip(points, first.trainer.backbone.taps(first.images(), points), strict=True))
        found |= {i: tuple(tokens[tap] for tap in taps) for i, taps in wanted.items()}
    return found


def _abreast(batches: dict[int, Batch], features: dict[int, tuple[Tensor, ...]]) -> dict[int, Tensor]:
    """The losses of K models with equal method settings, in one call."""
    first, *others = batches.values()
    models = [batch.trainer.model for batch in batches.values()]
    if first.trainer.caches:
        same = all(torch.equal(first.index, other.index) for other in others)
        index = first.index if same else torch.cat([batch.index for batch in batches.values()])
        gathered = first.trainer.caches["train"].batch(index, first.trainer.model.tuner.taps)
        z = tuple(t.unflatten(0, (-1, len(first.index))) for t in gathered)
    else:
        rows = [features[i] for i in batches]
        same = all(row[0] is rows[0][0] for row in rows)
        z = tuple(t[0][None] if same else torch.stack(t) for t in zip(*rows, strict=True))
    labels = torch.stack([batch.labels() for batch in batches.values()])  # (K, B)
    with first.trainer.autocast():
        logits = TunedModel.abreast(models, z).float()  # (K, B, classes)
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(1)
    losses.sum().backward()
    return dict(zip(batches, losses.detach(), strict=True))
