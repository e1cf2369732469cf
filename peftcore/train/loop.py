"""finetune(spec): one loop for every method, a generator of events.

All randomness follows from (seed, epoch) and (seed, step), so a run that goes on from a checkpoint ends with the weights
it would have had, and whatever else draws random numbers between two events changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.adapters.save import to_bytes
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.backbone.preprocess import normalisation, prepare
from peftcore.events import Checkpoint, Evaluation, Event, Finished, Progress, Started, Step, StepMemory
from peftcore.features.cache import FeatureCache
from peftcore.features.plan import CachePlan, plan_cache
from peftcore.fetch.arrivals import arrivals
from peftcore.memory import Ledger
from peftcore.model import TunedModel, attach
from peftcore.spec import RunSpec
from peftcore.task import Split, Task, check_images, load_task, read_ahead
from peftcore.train import conditions
from peftcore.train.checkpoint import Best, restore, state_of
from peftcore.train.inputs import Batch, memory_sentence
from peftcore.train.recipe import choose_device, compiled, generator_of, learning_rate, make_optimizer

if TYPE_CHECKING:
    import pandas as pd

TRACED = 24  # steps of a run whose memory is traced at most, spread evenly
APART = 8  # so many steps apart at least: tracing takes longer than a step of a side network does


@dataclass(frozen=True)
class Result:
    """What `run` returns. Accuracies are shares in 0..1, of the selected epoch's weights (spec.select); memory in bytes."""

    spec: RunSpec
    test_accuracy: float
    val_accuracy: float
    memory: dict[str, Any]
    seconds: float
    epochs: pd.DataFrame
    model: TunedModel
    selected_epoch: int  # from 1


def run(spec: RunSpec, resume: bytes | None = None, backbone: Backbone | None = None) -> Result:
    """Drains `finetune` and returns its result."""
    spec = RunSpec.of(spec)
    return drain(spec, finetune(spec, resume=resume, backbone=backbone))


def drain(spec: RunSpec, events: Generator[Event, None, TunedModel]) -> Result:
    """The result of a `finetune` that is run to its end."""
    last: Event | None = None
    while True:
        try:
            last = next(events)
        except StopIteration as end:
            model = end.value
            break
    assert isinstance(last, Finished)
    return result_of(spec, last, model)


def result_of(spec: RunSpec, told: Finished, model: TunedModel) -> Result:
    import pandas as pd

    return Result(
        spec,
        told.test_accuracy,
        told.val_accuracy,
        told.memory,
        told.seconds,
        pd.DataFrame(told.epochs),
        model,
        told.selected_epoch,
    )


def finetune(
    spec: RunSpec,
    resume: bytes | None = None,
    backbone: Backbone | None = None,
    caches: dict[str, FeatureCache] | None = None,
) -> Generator[Event, None, TunedModel]:
    """Trains as `spec` says and yields events; its return value is the trained model. Closing it stops the run.

    `spec` may be a dict of a RunSpec's fields. `resume`: the blob of a Checkpoint of the same spec. `backbone`: one that
    is loaded already. `caches`: its features of the 'train' and 'val' images, filled, with all taps that the method reads
    (see racing.py).

    Raises:
        Diverged: NaN or infinite loss or gradient, with step and remedy.
        OutOfMemory: with remedies; and whatever loading the backbone, the task or the method raises.
    """
    spec = RunSpec.of(spec)
    yield from arrivals(spec, with_weights=backbone is None)
    with memory_sentence(spec):
        trainer = Trainer(spec, backbone, caches)
        with closing(trainer.events(resume)) as stream:
            loss = None
            while True:
                try:
                    told = stream.send(loss)
                except StopIteration:
                    return trainer.model
                loss = told.alone() if isinstance(told, Batch) else None
                if loss is None:
                    yield told


class Trainer:
    """One run in the making: `events` yields what happens, and a `Batch` wherever it wants to be sent the loss of one.

    Who answers may compute several trainers' batches together (see racing.py).
    """

    def __init__(
        self,
        spec: RunSpec,
        backbone: Backbone | None = None,
        caches: dict[str, FeatureCache] | None = None,
        traced: int | None = None,
    ):
        self.spec = spec
        self.device = choose_device(spec.device)
        self.task: Task = load_task(spec.task)
        conditions.must_be_fair(spec, self.task)
        self.backbone = backbone or load_backbone(spec.backbone, spec.pretrained, spec.weights)
        self.backbone.to(self.device)
        self.model = attach(self.backbone, spec.method, len(self.task.classes), spec.seed)
        self.network = compiled(self.model) if spec.compile else self.model
        self.optimizer = make_optimizer(self.model, spec)
        self.per_epoch = math.ceil(len(self.task.train) / spec.batch_size)
        self.steps = spec.epochs * self.per_epoch
        self.caches, self.traced = caches or {}, traced or TRACED
        self.plan: CachePlan | None = None  # where features are kept, where somebody else decides it
        self.coach = spec.method.coach(self.model, self.optimizer, spec.epochs, self.per_epoch)
        self.epochs: list[dict[str, float]] = []
        self.best: Best | None = None  # where select='val'
        self.step = self.first_epoch = 0
        self.peak: dict[str, int] = {}
        self.begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begun

    def events(self, resume: bytes | None = None) -> Generator[Event | Batch, Tensor, None]:
        spec, task = self.spec, self.task
        if resume is not None:
            restore(self, resume)
        mean, std = normalisation(self.backbone, spec.normalisation)
        plan = self._plan()
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
                "model_selection": conditions.SELECTED[spec.select],
                "pretrained": self.backbone.pretrained,
                "weights": self.backbone.origin and self.backbone.origin.to_dict(),
                "weight_decay": spec.decay,
                "features": plan.to_dict(),
            },
        )
        yield from self._check_images()
        if not self.caches and plan.place != "none":
            yield from self._fill_caches(plan)
        for epoch in range(self.first_epoch, spec.epochs):
            yield from self._train_epoch(epoch)
            evaluation = self._evaluate("val", task.val, epoch)
            self.epochs[-1]["val_accuracy"] = evaluation.accuracy
            yield evaluation
            self._select(epoch + 1, evaluation.accuracy)
            yield from self.coach.end_epoch(self.step, epoch + 1)
            if epoch + 1 < spec.epochs:
                yield Checkpoint(epoch=epoch + 1, step=self.step, blob=state_of(self))
        self.coach.close()
        chosen = spec.epochs
        if self.best:
            chosen = self.best.epoch
            self.model.load_adapter_state(self.best.state)
        test = self._evaluate("test", task.test, chosen - 1)
        yield test
        yield Finished(
            test_accuracy=test.accuracy,
            val_accuracy=self.epochs[chosen - 1]["val_accuracy"],
            seconds=self.seconds,
            memory=self.peak,
            epochs=self.epochs,
            blob=to_bytes(self.model, spec, list(task.classes)),
            selected_epoch=chosen,
        )

    def _select(self, epoch: int, accuracy: float) -> None:
        """Keeps a copy of these weights where they are the best by validation accuracy; of equals the earlier ones stay."""
        if self.spec.select == "last" or not self.coach.is_settled(self.step):
            return
        if self.best is None or accuracy > self.best.accuracy:
            self.best = Best(epoch, accuracy, {n: t.cpu() for n, t in self.model.adapter_state().items()})

    def _check_images(self) -> Iterator[Event]:
        """A file that is broken is named now, not at the end of the run when the test images are read."""
        splits = (self.task.train, self.task.val, self.task.test)
        before, total = 0, sum(map(len, splits))
        for split in splits:
            for done in check_images(split.images):
                yield Progress(what="looking at the images", done=before + done, total=total)
            before += len(split)

    def _splits(self) -> dict[str, Split]:
        """Splits whose features are read more than once. The test images are not: a run reads them once, at its end."""
        return {"train": self.task.train, "val": self.task.val}

    def _plan(self) -> CachePlan:
        if self.caches:
            held, place = sum(c.nbytes for c in self.caches.values()), self.caches["train"].place
            return CachePlan(held, place, {}, "The features were computed before, for all runs of this race.")
        return self.plan or plan_cache(self.model, sum(len(s) for s in self._splits().values()), self.spec)

    def _fill_caches(self, plan: CachePlan) -> Iterator[Event]:
        before, total = 0, sum(len(s) for s in self._splits().values())
        for name, split in self._splits().items():
            cache = self.caches[name] = plan.cache(self.backbone, self.model.tuner.taps, split.images, self.spec)
            for done in cache.fill():
                yield Progress(what="caching frozen features", done=before + done, total=total)
            before += len(split)

    def _train_epoch(self, epoch: int) -> Generator[Event | Batch, Tensor, None]:
        began, total = time.perf_counter(), 0.0
        order = torch.randperm(len(self.task.train), generator=generator_of(self.spec.seed, epoch, 0))
        self.model.train()
        batches = order.split(self.spec.batch_size)
        for index, following in zip_longest(batches, batches[1:]):
            if following is not None and "train" not in self.caches:
                read_ahead(self.task.train.images, following.numpy())
            total += len(index) * (yield from self._train_step(epoch, index))
        seconds = time.perf_counter() - began
        self.epochs.append({"epoch": epoch + 1, "seconds": seconds, "train_loss": total / len(order)})

    def _train_step(self, epoch: int, index: Tensor) -> Generator[Event | Batch, Tensor, float]:
        began = time.perf_counter()
        self.step += 1
        lr = learning_rate(self.step, self.steps, self.spec)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_ratio"]
        batch, report = Batch(self, epoch, self.step, index), None
        # The second step is the first with optimizer state; a traced step computes the same numbers, only slower.
        if self.step == min(2, self.steps) or self.step % max(APART, self.steps // self.traced) == 0:
            ledger = Ledger(self.model, self.optimizer)
            loss = batch.alone(ledger=ledger)
            report = ledger.report()
            if report.peak > self.peak.get("peak", -1):
                self.peak = {"peak": report.peak, **report.components}
        else:
            loss = yield batch
            self.update(epoch, loss)
        yield Step(
            step=self.step,
            epoch=epoch + 1,
            loss=loss.item(),
            lr=lr,
            grad_norm=self.norm.item(),
            images_per_second=len(index) / (time.perf_counter() - began),
            seconds=self.seconds,
            memory=dict(report.components) if report else None,
        )
        if report and self.step == min(2, self.steps):
            yield StepMemory(step=self.step, report=report.to_dict())
        yield from self.coach.after_step(self.step, epoch + 1)
        return loss.item()

    def update(self, epoch: int, loss: Tensor, phase: Callable = lambda _: nullcontext()) -> None:
        """Moves the weights along the gradients that are there."""
        self.coach.after_backward()
        parameters = [p for p in self.model.trainable_parameters() if p.grad is not None]
        self.norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        self._must_be_finite(loss, self.norm, epoch)
        if self.spec.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.spec.clip, self.norm)
        with phase("optimizer"):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _must_be_finite(self, loss: Tensor, norm: Tensor, epoch: int) -> None:
        for what, value in (("loss", loss), ("gradient norm", norm)):
            if not torch.isfinite(value):
                raise errors.Diverged(
                    f"The {what} became {value.item()} at step {self.step} of {self.steps} (epoch {epoch + 1}). "
                    f"Try a lower learning rate than {self.spec.lr:g}, a longer warmup than {self.spec.warmup:g}"
                    + (", or precision='fp32'." if self.spec.precision == "bf16" else ", or another seed.")
                )

    @torch.no_grad()
    def _evaluate(self, name: str, split: Split, epoch: int) -> Evaluation:
        began, right, loss = time.perf_counter(), 0, 0.0
        self.model.eval()
        for start in range(0, len(split), self.spec.batch_size):
            index, end = slice(start, start + self.spec.batch_size), start + 2 * self.spec.batch_size
            if name not in self.caches:
                read_ahead(split.images, slice(index.stop, end))
            labels = torch.from_numpy(split.labels[index].copy()).to(self.device)
            with self.autocast():
                if name in self.caches:
                    logits = self.model.from_features(self.caches[name].batch(index, self.model.tuner.taps))
                else:
                    spec = self.spec
                    images = split.images[index]
                    logits = self.model(prepare(images, self.backbone, spec.normalisation, self.device, spec.resize))
            logits = logits.float()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(1) == labels).sum().item()
        return Evaluation(
            epoch=epoch + 1,
            step=(epoch + 1) * self.per_epoch,
            split=name,
            accuracy=right / len(split),
            loss=loss / len(split),
            seconds=time.perf_counter() - began,
        )

    def autocast(self):
        if self.spec.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)
