"""One run in the making: what it trains with, how far it is, and its events."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.adapters.save import to_bytes
from peftcore.backbone.load import Backbone
from peftcore.backbone.preprocess import augmented, normalisation
from peftcore.events import Checkpoint, Evaluation, Event, Finished, Progress, SideEntropy, Started, Step, StepMemory
from peftcore.features.cache import FeatureCache
from peftcore.features.disk import hash_of
from peftcore.features.plan import CachePlan, plan_cache
from peftcore.memory import Ledger, MemoryReport
from peftcore.model import attach
from peftcore.spec import SELECTED, RunSpec
from peftcore.task import Task, check_images, read_ahead
from peftcore.train.checkpoint import Best, State
from peftcore.train.recipe import choose_device, compiled, generator_of, learning_rate, make_optimizer

TRACED = 24  # at most this many steps of a run have their memory traced, spread evenly
APART = 8  # at least this many steps lie between them: tracing takes longer than a step of a side network does

LOOKED_AT = 16  # validation images on which a side network's attention is watched

Features = tuple[Tensor, ...]  # at each tap that a side method reads (b, ...)


@dataclass(frozen=True)
class Batch:
    """Some images of a split, for one step of training or of an evaluation. `epoch` counts from 0, `step` from 1.

    rows: which of the split's images: an array (b,), or a slice.
    features: the frozen ones of these images, where they have been computed already.
    """

    split: str
    rows: Any
    epoch: int = 0
    step: int = 0
    features: Features | None = None
    began: float = field(default_factory=time.perf_counter)


class Trainer:
    """What `finetune` and a race drive: batch by batch, each batch's loss and gradients made outside.

    `plan` and `caches`: where frozen features are kept, and those of each split; made by `begin` unless a race has set
    them. `traced`: at most this many steps have their memory traced; by default TRACED.
    """

    def __init__(self, spec: RunSpec, backbone: Backbone, task: Task, traced: int | None = None):
        task.check_select(spec.select)
        self.spec, self.backbone, self.task = spec, backbone, task
        self.device = choose_device(spec.device)
        self.model = attach(backbone, spec.method, len(task.classes), spec.seed)
        self.network = compiled(self.model) if spec.compile else self.model
        self.optimizer = make_optimizer(self.model, spec)
        self.per_epoch = math.ceil(len(task.train) / spec.batch_size)
        self.steps = spec.epochs * self.per_epoch
        self.coach = spec.method.coach(self.model, self.optimizer, spec.epochs, self.per_epoch)
        self.state = State(self.model, self.optimizer, self.coach)
        self.plan: CachePlan | None = None
        self.caches: dict[str, FeatureCache] = {}
        self.shown = min(2, self.steps)  # the first step with optimizer state: its memory is shown in full
        self.every = max(APART, self.steps // (traced or TRACED))
        self.report: MemoryReport | None = None  # of the step under way, where it is traced
        self.begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.state.seconds + time.perf_counter() - self.begun

    def begin(self, resume: bytes | None = None) -> Iterator[Event]:
        """What comes before the first batch: the state that is resumed, a look at all images, frozen features."""
        spec, task, model = self.spec, self.task, self.model
        every = (task.train, task.val, task.test)
        names = [[str(file).split("/")[-1] for file in getattr(of.images, "files", ())] for of in every]
        parts = [repr((task.classes, names)).encode(), *(np.asarray(of.labels).tobytes() for of in every)]
        self.key = f"{spec.key} {hash_of(parts)}"  # a run goes on with the images with which it began
        if resume is not None:
            self.state.restore(resume, self.key)
        plan = self.plan or plan_cache(model, len(task.train) + len(task.val), spec)
        settings = self._conditions() | {"features": plan.to_dict()}
        counts, classes, kind, device = model.parameter_counts(), list(task.classes), spec.method.kind, str(self.device)
        yield Started(spec.to_dict(), kind, counts, self.steps, spec.epochs, classes, device, settings)
        # A file that is broken is named now, not at the end of the run when the test images are read.
        yield from counted("looking at the images", [(split, check_images(split.images)) for split in every])
        if self.plan is None:  # the test images are read once, at the end of the run: their features are not kept
            self.caches = plan.caches(model, task, ("train", "val"), spec)
            yield from counted("caching frozen features", [(one, one.fill()) for one in self.caches.values()])

    def _conditions(self) -> dict[str, Any]:
        """What an accuracy depends on and a spec leaves to the backbone and the task."""
        spec, task, backbone = self.spec, self.task, self.backbone
        mean, std = normalisation(backbone, spec.normalisation)
        # The number of images that an accuracy is a share of, and how many of them are of the most frequent class.
        labels = {name: getattr(task, name).labels for name in ("val", "test")}
        sizes = {name: [len(of), int(np.bincount(of).max(initial=0))] for name, of in labels.items()}
        return {
            **{name: getattr(spec, name) for name in ("normalisation", "resize", "augmentation")},
            "mean": list(mean),
            "std": list(std),
            "image_size": list(task.train.images.shape[1:3]),
            "input_size": list(backbone.input_size[-2:]),
            "symmetries": list(task.symmetries),
            "images": sizes,
            "model_selection": SELECTED[spec.select],
            "pretrained": backbone.pretrained,
            "weights": backbone.origin and vars(backbone.origin),
            "weight_decay": spec.decay,
        }

    def batches(self) -> Iterator[Batch]:
        """The batches of every epoch that is left."""
        for epoch in range(len(self.state.epochs), self.spec.epochs):
            self.model.train()
            self.total, self.epoch_began = 0.0, time.perf_counter()
            order = torch.randperm(len(self.task.train), generator=generator_of(self.spec.seed, epoch, 0))
            parts = [part.numpy() for part in order.split(self.spec.batch_size)]
            for n, rows in enumerate(parts, 1):
                if n < len(parts) and "train" not in self.caches:
                    read_ahead(self.task.train.images, parts[n])
                yield Batch("train", rows, epoch, epoch * self.per_epoch + n)

    def inputs(self, batch: Batch) -> tuple[Tensor | None, Features | None, Tensor]:
        """Images (b, 3, h, w), or the frozen features that the method reads where there are any; labels (b,)."""
        features = batch.features
        if features is None and batch.split in self.caches:
            features = self.caches[batch.split].batch(batch.rows, self.model.tuner.taps)
        return self.images(batch) if features is None else None, features, self.labels(batch)

    def labels(self, batch: Batch) -> Tensor:
        return torch.tensor(getattr(self.task, batch.split).labels[batch.rows], device=self.device)

    def images(self, batch: Batch) -> Tensor:
        """Resized, augmented where they are trained on, and normalised: the same whenever they are asked for."""
        spec, how = self.spec, self.spec.augmentation if batch.split == "train" else "none"
        images, generator = getattr(self.task, batch.split).images, generator_of(spec.seed, batch.epoch, batch.step)
        where = (self.backbone, spec.normalisation, self.device, spec.resize)
        return augmented(images[batch.rows], *where, how, generator, self.task.symmetries)

    def logits(self, images: Tensor | None, features: Features | None, ledger: Ledger | None = None) -> Tensor:
        """(b, classes), from images or, if there are any, from frozen features."""
        if images is not None and self.model.is_side:
            features = self.model.features(images)
            if ledger:
                ledger.features(features)
        if features is not None:
            return self.model.from_features(features)
        return (self.network if self.model.training and not ledger else self.model)(images)

    def is_traced(self, batch: Batch) -> bool:
        return batch.step == self.shown or batch.step % self.every == 0

    @contextmanager
    def watched(
        self, batch: Batch, images: Tensor | None, features: Features | None, labels: Tensor
    ) -> Iterator[Ledger | None]:
        """Traces the memory of a few of the steps. A traced step computes the same numbers, only slower."""
        if not self.is_traced(batch):
            yield None
            return
        with Ledger(self.model, self.optimizer) as ledger:
            ledger.declare((labels, images))
            ledger.features(features or ())
            ledger.declare([t for cache in self.caches.values() for t in cache.resident], "cached_features")
            yield ledger
        self.report = ledger.report(device=str(self.device), precision=self.spec.precision, batch_size=len(labels))
        if self.report.peak > self.state.peak.get("peak", -1):
            self.state.peak = {"peak": self.report.peak, **self.report.components}

    def update(self, batch: Batch, loss: Tensor, ledger: Ledger | None = None) -> None:
        """Moves the weights along the gradients that are there.

        Raises:
            Diverged: loss or gradients are NaN or infinite.
        """
        self.coach.after_backward()
        parameters = [p for p in self.model.trainable_parameters() if p.grad is not None]
        self.norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        for what, value in (("loss", loss), ("gradient norm", self.norm)):
            if not torch.isfinite(value):
                raise errors.Diverged(
                    f"The {what} became {value.item()} at step {batch.step} of {self.steps} (epoch {batch.epoch + 1}). "
                    f"Try a lower learning rate than {self.spec.lr:g}, a longer warmup than {self.spec.warmup:g}"
                    + (", or precision='fp32'." if self.spec.precision == "bf16" else ", or another seed.")
                )
        if self.spec.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.spec.clip, self.norm)
        self.lr = learning_rate(batch.step, self.steps, self.spec)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * group["lr_ratio"]
        with ledger.phase("optimizer") if ledger else nullcontext():
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def after_step(self, batch: Batch, loss: Tensor) -> Iterator[Event]:
        """The events of a step and, where it is the last one of its epoch, of the epoch."""
        report, self.report = self.report, None
        step, epoch, images, value = batch.step, batch.epoch + 1, len(batch.rows), loss.item()
        self.total += images * value
        rate, memory = images / (time.perf_counter() - batch.began), dict(report.components) if report else None
        yield Step(step, epoch, value, self.lr, self.norm.item(), rate, self.seconds, memory)
        if report and step == self.shown:
            yield StepMemory(step, report.to_dict())
        yield from self.coach.after_step(step, epoch)
        if step % self.per_epoch == 0:
            yield from self._after_epoch(epoch, step)

    def _after_epoch(self, epoch: int, step: int) -> Iterator[Event]:
        spec, state, seconds = self.spec, self.state, time.perf_counter() - self.epoch_began
        evaluation = self.evaluate("val", epoch)
        mean, accuracy = self.total / len(self.task.train), evaluation.accuracy
        state.epochs.append({"epoch": epoch, "seconds": seconds, "train_loss": mean, "val_accuracy": accuracy})
        yield evaluation
        if self.model.is_side and self.model.tuner.attended:
            yield SideEntropy(step, epoch, self._entropies())
        may_be_selected = spec.select == "val" and self.coach.is_settled(step)
        if may_be_selected and (state.best is None or accuracy > state.best.accuracy):  # ties keep the earlier epoch
            state.best = Best(epoch, accuracy, {n: t.cpu() for n, t in self.model.adapter_state().items()})
        yield from self.coach.end_epoch(step, epoch)
        if epoch < spec.epochs:
            yield Checkpoint(epoch, step, blob=state.pack(self.key, self.seconds))

    @torch.no_grad()
    def _entropies(self) -> list[float]:
        """Of each attention module of the side network, after `evaluate`; see SideEntropy."""
        images, features, _ = self.inputs(Batch("val", slice(0, LOOKED_AT)))
        with self.autocast():
            maps = self.model.tuner.attention(features if images is None else self.model.features(images))
        rows = (torch.special.entr(map.float()).sum(-1) / math.log(max(2, map.shape[-1])) for map in maps)  # (b, N)
        return [row.mean().item() for row in rows]

    def finish(self) -> Iterator[Event]:
        """After the last batch: the weights that are selected, and the one look at the test images."""
        self.coach.close()
        state, chosen = self.state, self.spec.epochs
        if state.best:
            chosen = state.best.epoch
            self.model.load_adapter_state(state.best.weights)
        test = self.evaluate("test", chosen)
        yield test
        accuracy = state.epochs[chosen - 1]["val_accuracy"]
        blob = to_bytes(self.model, self.spec, list(self.task.classes))
        predicted = {"probabilities": self.outputs.softmax(1).half().numpy(), "classes": np.array(self.task.classes)}
        predicted |= {"predicted": self.outputs.argmax(1).numpy(), "labels": np.asarray(self.task.test.labels)}
        yield Finished(test.accuracy, accuracy, self.seconds, state.peak, state.epochs, blob, chosen, predicted)

    @torch.no_grad()
    def evaluate(self, name: str, epoch: int) -> Evaluation:
        """Accuracy and mean loss on a split, of the weights after an epoch (from 1)."""
        began, right, loss, split, size = time.perf_counter(), 0.0, 0.0, getattr(self.task, name), self.spec.batch_size
        outputs: list[Tensor] = []
        self.model.eval()
        for start in range(0, len(split), size):
            if name not in self.caches:
                read_ahead(split.images, slice(start + size, start + 2 * size))
            images, features, labels = self.inputs(Batch(name, slice(start, start + size)))
            with self.autocast():
                logits = self.logits(images, features).float()  # (b, classes)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(1) == labels).sum().item()
            outputs.append(logits.cpu())
        self.outputs = torch.cat(outputs)  # logits (n, classes) of the split that was evaluated last
        accuracy, loss, seconds = right / len(split), loss / len(split), time.perf_counter() - began
        return Evaluation(epoch, epoch * self.per_epoch, name, accuracy, loss, seconds)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.precision == "bf16")


def counted(what: str, parts: Sequence[tuple[Sized, Iterator[int]]]) -> Iterator[Progress]:
    """One count through several jobs, each with what it works on and how much of that is done."""
    before, total = 0, sum(len(whole) for whole, _ in parts)
    for whole, counts in parts:
        for done in counts:
            yield Progress(what=what, done=before + done, total=total)
        before += len(whole)
