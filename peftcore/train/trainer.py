"""One run in the making: what it trains with, how far it is, and the events that say so."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
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
from peftcore.events import Checkpoint, Evaluation, Event, Finished, Progress, Started, Step, StepMemory
from peftcore.features.cache import FeatureCache
from peftcore.features.plan import CachePlan, plan_cache
from peftcore.memory import Ledger, MemoryReport
from peftcore.model import attach
from peftcore.spec import SELECTED, RunSpec
from peftcore.task import Task, check_images, read_ahead
from peftcore.train.checkpoint import Best, State
from peftcore.train.recipe import choose_device, compiled, generator_of, learning_rate, make_optimizer

TRACED = 24  # steps of a run whose memory is traced at most, spread evenly
APART = 8  # so many steps apart at least: tracing takes longer than a step of a side network does


@dataclass(frozen=True)
class Batch:
    """Some images of a split, for one step of training or of an evaluation. `epoch` counts from 0, `step` from 1."""

    split: str
    index: Tensor | slice
    epoch: int = 0
    step: int = 0
    began: float = field(default_factory=time.perf_counter)

    @property
    def rows(self) -> Any:
        """As NumPy takes them."""
        return self.index if isinstance(self.index, slice) else self.index.numpy()


class Unwatched:
    """Stands in for a Ledger on steps whose memory is not traced."""

    def phase(self, name: str) -> nullcontext:
        return nullcontext()

    def features(self, tensors: Any) -> None:
        pass

    region, explain = phase, features


UNWATCHED = Unwatched()


class Trainer:
    """What `finetune` and a race drive: batch by batch, each batch's loss and gradients made outside.

    `caches`: frozen features by split, and `plan`, where they are kept: made by `begin` unless a race has set them.
    `traced`: of so many steps at most the memory is traced, by default of TRACED.
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
        spec, task = self.spec, self.task
        if resume is not None:
            self.state.restore(resume, spec.key)
        mean, std = normalisation(self.backbone, spec.normalisation)
        # Splits whose features are read more than once. The test images are not: a run reads them once, at its end.
        splits = {"train": task.train, "val": task.val}
        plan = self.plan or plan_cache(self.model, sum(map(len, splits.values())), spec)
        yield Started(
            spec=spec.to_dict(),
            method_kind=spec.method.kind,
            parameters=self.model.parameter_counts(),
            steps=self.steps,
            epochs=spec.epochs,
            classes=list(task.classes),
            device=str(self.device),
            settings={
                "mean": list(mean),
                "std": list(std),
                "normalisation": spec.normalisation,
                "resize": spec.resize,
                "image_size": list(task.train.images.shape[1:3]),
                "input_size": list(self.backbone.input_size[-2:]),
                "augmentation": spec.augmentation,
                "symmetries": list(task.symmetries),
                # Of how many images an accuracy is the share, and how many of them are of the largest class.
                "images": {name: _sizes(getattr(task, name).labels) for name in ("val", "test")},
                "model_selection": SELECTED[spec.select],
                "pretrained": self.backbone.pretrained,
                "weights": self.backbone.origin and vars(self.backbone.origin),
                "weight_decay": spec.decay,
                "features": plan.to_dict(),
            },
        )
        # A file that is broken is named now, not at the end of the run when the test images are read.
        every = (task.train, task.val, task.test)
        yield from counted("looking at the images", [(len(split), check_images(split.images)) for split in every])
        if self.plan is None and plan.place != "none":
            for name, split in splits.items():
                self.caches[name] = plan.cache(self.backbone, self.model.tuner.taps, split.images, spec)
            yield from counted("caching frozen features", [(len(c), c.fill()) for c in self.caches.values()])

    def batches(self) -> Iterator[Batch]:
        """The batches of every epoch that is left."""
        for epoch in range(len(self.state.epochs), self.spec.epochs):
            self.model.train()
            self.total, self.epoch_began = 0.0, time.perf_counter()
            order = torch.randperm(len(self.task.train), generator=generator_of(self.spec.seed, epoch, 0))
            parts = order.split(self.spec.batch_size)
            for n, index in enumerate(parts, 1):
                if n < len(parts) and "train" not in self.caches:
                    read_ahead(self.task.train.images, parts[n].numpy())
                yield Batch("train", index, epoch, epoch * self.per_epoch + n)

    def inputs(
        self, batch: Batch, features: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor | None, tuple[Tensor, ...] | None, Tensor]:
        """Images (b, 3, h, w), or the frozen features (b, ...) that the method reads where there are any; labels (b,)."""
        if features is None and batch.split in self.caches:
            features = self.caches[batch.split].batch(batch.index, self.model.tuner.taps)
        return self.images(batch) if features is None else None, features, self.labels(batch)

    def labels(self, batch: Batch) -> Tensor:
        return torch.tensor(getattr(self.task, batch.split).labels[batch.rows], device=self.device)

    def images(self, batch: Batch) -> Tensor:
        """Resized, augmented where they are trained on, and normed; the same whenever it is asked."""
        spec, how = self.spec, self.spec.augmentation if batch.split == "train" else "none"
        images, generator = getattr(self.task, batch.split).images, generator_of(spec.seed, batch.epoch, batch.step)
        where = (self.backbone, spec.normalisation, self.device, spec.resize)
        return augmented(images[batch.rows], *where, how, generator, self.task.symmetries)

    def logits(self, images: Tensor | None, features: tuple[Tensor, ...] | None, ledger: Any = UNWATCHED) -> Tensor:
        """(b, classes), from images or, if there are any, from frozen features."""
        if not self.model.is_side:
            fast = ledger is UNWATCHED and self.model.training
            return (self.network if fast else self.model)(images)
        if features is None:
            with ledger.region("features"):
                features = self.model.features(images)
            ledger.features(features)
        return self.model.from_features(features)

    def is_traced(self, batch: Batch) -> bool:
        return batch.step == self.shown or batch.step % self.every == 0

    @contextmanager
    def watched(
        self, batch: Batch, images: Tensor | None, features: tuple[Tensor, ...] | None, labels: Tensor
    ) -> Iterator[Ledger | Unwatched]:
        """Traces the memory of a few of the steps. A traced step computes the same numbers, only slower."""
        if not self.is_traced(batch):
            yield UNWATCHED
            return
        with Ledger(self.model, self.optimizer) as ledger:
            ledger.declare((labels, images))
            ledger.features(features or ())
            ledger.declare([t for cache in self.caches.values() for t in cache.resident], "cached_features")
            yield ledger
        self.report = ledger.report()
        if self.report.peak > self.state.peak.get("peak", -1):
            self.state.peak = {"peak": self.report.peak, **self.report.components}

    def update(self, batch: Batch, loss: Tensor, ledger: Any = UNWATCHED) -> None:
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
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(batch.step, self.steps, self.spec) * group["lr_ratio"]
        with ledger.phase("optimizer"):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def after_step(self, batch: Batch, loss: Tensor) -> Iterator[Event]:
        """What a step has to say and, where it is the last one of its epoch, the epoch."""
        report, self.report = self.report, None
        self.total += len(batch.rows) * loss.item()
        yield Step(
            step=batch.step,
            epoch=batch.epoch + 1,
            loss=loss.item(),
            lr=learning_rate(batch.step, self.steps, self.spec),
            grad_norm=self.norm.item(),
            images_per_second=len(batch.rows) / (time.perf_counter() - batch.began),
            seconds=self.seconds,
            memory=dict(report.components) if report else None,
        )
        if report and batch.step == self.shown:
            yield StepMemory(step=batch.step, report=report.to_dict())
        yield from self.coach.after_step(batch.step, batch.epoch + 1)
        if batch.step % self.per_epoch == 0:
            yield from self._after_epoch(batch.epoch + 1, batch.step)

    def _after_epoch(self, epoch: int, step: int) -> Iterator[Event]:
        seconds, mean = time.perf_counter() - self.epoch_began, self.total / len(self.task.train)
        evaluation = self.evaluate("val", epoch)
        accuracy, state = evaluation.accuracy, self.state
        state.epochs.append({"epoch": epoch, "seconds": seconds, "train_loss": mean, "val_accuracy": accuracy})
        yield evaluation
        may_be_selected = self.spec.select == "val" and self.coach.is_settled(step)
        if may_be_selected and (state.best is None or accuracy > state.best.accuracy):  # ties keep the earlier epoch
            state.best = Best(epoch, accuracy, {n: t.cpu() for n, t in self.model.adapter_state().items()})
        yield from self.coach.end_epoch(step, epoch)
        if epoch < self.spec.epochs:
            yield Checkpoint(epoch=epoch, step=step, blob=state.pack(self.spec.key, self.seconds))

    def finish(self) -> Iterator[Event]:
        """After the last batch: the weights that are selected, and the one look at the test images."""
        self.coach.close()
        best = self.state.best
        if best:
            self.model.load_adapter_state(best.weights)
        chosen = best.epoch if best else self.spec.epochs
        test = self.evaluate("test", chosen)
        yield test
        yield Finished(
            test_accuracy=test.accuracy,
            val_accuracy=self.state.epochs[chosen - 1]["val_accuracy"],
            seconds=self.seconds,
            memory=self.state.peak,
            epochs=self.state.epochs,
            blob=to_bytes(self.model, self.spec, list(self.task.classes)),
            selected_epoch=chosen,
        )

    @torch.no_grad()
    def evaluate(self, name: str, epoch: int) -> Evaluation:
        """Accuracy and mean loss on a split, of the weights after an epoch (from 1)."""
        began, right, loss, split, size = time.perf_counter(), 0, 0.0, getattr(self.task, name), self.spec.batch_size
        self.model.eval()
        for start in range(0, len(split), size):
            if name not in self.caches:
                read_ahead(split.images, slice(start + size, start + 2 * size))
            images, features, labels = self.inputs(Batch(name, slice(start, start + size)))
            with self.autocast():
                logits = self.logits(images, features).float()  # (b, classes)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(1) == labels).sum().item()
        return Evaluation(
            epoch=epoch,
            step=epoch * self.per_epoch,
            split=name,
            accuracy=right / len(split),
            loss=loss / len(split),
            seconds=time.perf_counter() - began,
        )

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.precision == "bf16")


def counted(what: str, parts: list[tuple[int, Iterator[int]]]) -> Iterator[Progress]:
    """One count through several jobs; each has its size and says how much of it is done."""
    before, total = 0, sum(size for size, _ in parts)
    for size, counts in parts:
        for done in counts:
            yield Progress(what=what, done=before + done, total=total)
        before += size


def _sizes(labels: np.ndarray) -> list[int]:
    """How many there are, and of the most frequent."""
    return [len(labels), int(np.bincount(labels).max(initial=0))]
