"""finetune(spec): one loop for every method, a generator of events.

All randomness follows from (seed, epoch) and (seed, step), so a run that goes on from a checkpoint ends with the weights
it would have had, and whatever else draws random numbers between two events changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import errors
from .adapters import to_bytes
from .backbone import Backbone, load_backbone
from .events import Checkpoint, Evaluation, Event, Finished, Progress, Started, Step, StepMemory
from .features import FeatureCache, should_cache
from .memory import Ledger
from .model import TunedModel, attach
from .packing import pack, unpack
from .preprocess import augment_light, normalisation, prepare
from .recipe import choose_device, generator_of, learning_rate, make_optimizer, seeded
from .spec import RunSpec
from .tasks import Split, Task, load_task

if TYPE_CHECKING:
    import pandas as pd

_TRACED = 24  # steps of a run whose memory is traced, spread evenly
_CHECKPOINT_LIMIT = 64_000_000  # bytes: larger states are not kept, so such a run cannot resume


@dataclass(frozen=True)
class Result:
    """What `run` returns. Accuracies are shares in 0..1, of the last epoch's weights; memory in bytes."""

    spec: RunSpec
    test_accuracy: float
    val_accuracy: float
    memory: dict[str, Any]
    seconds: float
    epochs: pd.DataFrame
    model: TunedModel


def run(spec: RunSpec, resume: bytes | None = None, backbone: Backbone | None = None) -> Result:
    """Drains `finetune` and returns its result."""
    return drain(spec, finetune(spec, resume=resume, backbone=backbone))


def drain(spec: RunSpec, events: Generator[Event, None, TunedModel]) -> Result:
    """The result of a `finetune` that is run to its end."""
    import pandas as pd

    last: Event | None = None
    while True:
        try:
            last = next(events)
        except StopIteration as end:
            model = end.value
            break
    assert isinstance(last, Finished)
    return Result(
        spec, last.test_accuracy, last.val_accuracy, last.memory, last.seconds, pd.DataFrame(last.epochs), model
    )


def finetune(
    spec: RunSpec,
    resume: bytes | None = None,
    backbone: Backbone | None = None,
    caches: dict[str, FeatureCache] | None = None,
) -> Generator[Event, None, TunedModel]:
    """Trains as `spec` says and yields events; its return value is the trained model. Closing it stops the run.

    `resume`: the blob of a Checkpoint of the same spec. `backbone`: one that is loaded already. `caches`:
    its features of the 'train' and 'val' images, filled, with all taps that the method reads (see racing.py).

    Raises:
        Diverged: NaN or infinite loss or gradient, with step and remedy.
        OutOfMemory: with remedies; and whatever loading the backbone, the task or the method raises.
    """
    trainer = _Trainer(spec, backbone, caches)
    try:
        yield from trainer.events(resume)
    except torch.OutOfMemoryError as error:
        raise errors.OutOfMemory(_out_of_memory(spec, str(error))) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise errors.OutOfMemory(_out_of_memory(spec, str(error))) from error
    return trainer.model


class _Trainer:
    def __init__(self, spec: RunSpec, backbone: Backbone | None, caches: dict[str, FeatureCache] | None):
        self.spec = spec
        self.device = choose_device(spec.device)
        self.task: Task = load_task(spec.task)
        self.backbone = backbone or load_backbone(spec.backbone, spec.pretrained, spec.weights)
        self.backbone.to(self.device)
        self.model = attach(self.backbone, spec.method, len(self.task.classes), spec.seed)
        self.optimizer = make_optimizer(self.model, spec)
        self.per_epoch = math.ceil(len(self.task.train) / spec.batch_size)
        self.steps = spec.epochs * self.per_epoch
        self.caches = caches or {}
        self.coach = spec.method.coach(self.model, self.optimizer, spec.epochs, self.per_epoch)
        self.epochs: list[dict[str, float]] = []
        self.step = self.first_epoch = 0
        self.peak: dict[str, int] = {}
        self.begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begun

    def events(self, resume: bytes | None) -> Iterator[Event]:
        spec, task = self.spec, self.task
        if resume is not None:
            self._restore(resume)
        mean, std = normalisation(self.backbone, spec.normalisation)
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
                "augmentation": spec.augmentation,
                "model_selection": "last epoch",
                "pretrained": self.backbone.pretrained,
                "weight_decay": spec.decay,
            },
        )
        yield from self._fill_caches()
        for epoch in range(self.first_epoch, spec.epochs):
            yield from self._train_epoch(epoch)
            evaluation = self._evaluate("val", task.val, epoch)
            self.epochs[-1]["val_accuracy"] = evaluation.accuracy
            yield evaluation
            yield from self.coach.end_epoch(self.step, epoch + 1)
            if epoch + 1 < spec.epochs:
                yield Checkpoint(epoch=epoch + 1, step=self.step, blob=self._state())
        test = self._evaluate("test", task.test, spec.epochs - 1)
        yield test
        self.coach.close()
        yield Finished(
            test_accuracy=test.accuracy,
            val_accuracy=self.epochs[-1]["val_accuracy"],
            seconds=self.seconds,
            memory=self.peak,
            epochs=self.epochs,
            blob=to_bytes(self.model, spec, list(task.classes)),
        )

    def _fill_caches(self) -> Iterator[Event]:
        splits = {"train": self.task.train, "val": self.task.val}
        total = sum(len(s) for s in splits.values())
        if self.caches or not should_cache(self.model, total, self.spec.cache_features, self.spec.augmentation):
            return
        before = 0
        for name, split in splits.items():
            cache = self.caches[name] = FeatureCache(
                self.backbone, self.model.tuner.taps, split.images, self.spec.normalisation
            )
            with self._autocast():
                for done in cache.fill():
                    yield Progress(what="caching frozen features", done=before + done, total=total)
            before += len(split)

    def _train_epoch(self, epoch: int) -> Iterator[Event]:
        began, losses = time.perf_counter(), []
        order = torch.randperm(len(self.task.train), generator=generator_of(self.spec.seed, epoch, 0))
        self.model.train()
        for start in range(0, len(order), self.spec.batch_size):
            index = order[start : start + self.spec.batch_size]
            for event in self._train_step(epoch, index):
                if isinstance(event, Step):
                    losses.append(event.loss * len(index))
                yield event
        seconds = time.perf_counter() - began
        self.epochs.append({"epoch": epoch + 1, "seconds": seconds, "train_loss": sum(losses) / len(order)})

    def _train_step(self, epoch: int, index: Tensor) -> Iterator[Event]:
        began = time.perf_counter()
        self.step += 1
        lr = learning_rate(self.step, self.steps, self.spec)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_ratio"]
        # The second step is the first with optimizer state; a traced step computes the same numbers, only slower.
        traced = self.step == min(2, self.steps) or self.step % max(1, self.steps // _TRACED) == 0
        inputs, labels = self._batch(epoch, index)
        ledger = Ledger(self.model, self.optimizer) if traced else None
        with ledger or nullcontext(), seeded(self.spec.seed, self.step, self.device):
            phase = ledger.phase if ledger else lambda _: nullcontext()
            if ledger:
                ledger.declare((*inputs, labels))
                for cache in self.caches.values():
                    ledger.features(cache.tensors.values())
            with phase("forward"), self._autocast():
                loss = F.cross_entropy(self._forward(inputs, ledger).float(), labels)
            if ledger and self.step == min(2, self.steps):  # the step whose report is shown in full
                ledger.explain(loss)
            with phase("backward"):
                loss.backward()
            self.coach.after_backward()
            norm = torch.nn.utils.get_total_norm(
                [p.grad for p in self.model.trainable_parameters() if p.grad is not None]
            )
            self._must_be_finite(loss, norm, epoch)
            with phase("optimizer"):
                self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        report = ledger.report() if ledger else None
        if report and report.peak > self.peak.get("peak", -1):
            self.peak = {"peak": report.peak, **report.components}
        yield Step(
            step=self.step,
            epoch=epoch + 1,
            loss=loss.item(),
            lr=lr,
            grad_norm=norm.item(),
            images_per_second=len(index) / (time.perf_counter() - began),
            seconds=self.seconds,
            memory=dict(report.components) if report else None,
        )
        if report and self.step == min(2, self.steps):
            yield StepMemory(step=self.step, report=report.to_dict())
        yield from self.coach.after_step(self.step, epoch + 1)

    def _forward(self, inputs: tuple[Tensor, ...], ledger: Ledger | None = None) -> Tensor:
        """Logits of a batch of images, or of their cached features."""
        if not self.model.is_side:
            return self.model(inputs[0])
        if self.caches:
            features = inputs
        else:
            with ledger.region("features") if ledger else nullcontext():
                features = self.model.features(inputs[0])
        if ledger:
            ledger.features(features)
        return self.model.from_features(features)

    def _batch(self, epoch: int, index: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        labels = torch.from_numpy(self.task.train.labels[index.numpy()]).to(self.device)
        if self.caches:
            return self.caches["train"].batch(index, self.model.tuner.taps), labels
        images = prepare(self.task.train.images[index.numpy()], self.backbone, self.spec.normalisation, self.device)
        if self.spec.augmentation == "light":
            images = augment_light(images, generator_of(self.spec.seed, epoch, self.step))
        return (images,), labels

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
            index = torch.arange(start, min(start + self.spec.batch_size, len(split)))
            labels = torch.from_numpy(split.labels[index.numpy()]).to(self.device)
            with self._autocast():
                if name in self.caches:
                    logits = self.model.from_features(self.caches[name].batch(index, self.model.tuner.taps))
                else:
                    images = prepare(split.images[index.numpy()], self.backbone, self.spec.normalisation, self.device)
                    logits = self.model(images)
            logits = logits.float()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(1) == labels).sum().item()
        return Evaluation(
            epoch=epoch + 1,
            step=self.step,
            split=name,
            accuracy=right / len(split),
            loss=loss / len(split),
            seconds=time.perf_counter() - began,
        )

    def _autocast(self):
        if self.spec.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _state(self) -> bytes | None:
        """Everything that decides the rest of the run: weights, AdamW's moments, and how far it is."""
        tensors = {f"adapter.{n}": t for n, t in self.model.adapter_state().items()}
        for name, parameter in self.model.named_trainable():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        tensors |= {f"coach.{n}": t for n, t in self.coach.state().items()}
        if sum(t.nbytes for t in tensors.values()) > _CHECKPOINT_LIMIT:
            return None
        about = {
            "spec": self.spec.key,
            "step": self.step,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "peak": self.peak,
        }
        return pack(tensors, about)

    def _restore(self, blob: bytes) -> None:
        tensors, about = unpack(blob)
        if about["spec"] != self.spec.key:
            raise errors.AdapterMismatch(
                "This checkpoint belongs to another RunSpec; resume with the spec that made it."
            )
        self.model.load_adapter_state(
            {n.removeprefix("adapter."): t for n, t in tensors.items() if n.startswith("adapter.")}
        )
        for name, parameter in self.model.named_trainable():
            keys = [k for k in ("step", "exp_avg", "exp_avg_sq") if f"optimizer.{k}.{name}" in tensors]
            self.optimizer.state[parameter] = {k: tensors[f"optimizer.{k}.{name}"].clone() for k in keys}
            for key in keys[1:]:
                self.optimizer.state[parameter][key] = self.optimizer.state[parameter][key].to(self.device)
        self.coach.load({n.removeprefix("coach."): t for n, t in tensors.items() if n.startswith("coach.")})
        self.step, self.epochs, self.peak = about["step"], about["epochs"], about["peak"]
        self.first_epoch = len(self.epochs)
        self.begun -= about["seconds"]


def _out_of_memory(spec: RunSpec, detail: str) -> str:
    remedies = [f"a batch smaller than {spec.batch_size}"]
    if spec.precision == "fp32":
        remedies.append("precision='bf16'")
    if spec.method.kind == "in-backbone":
        remedies.append("a side method such as LAST, which keeps nothing of the backbone")
    return f"The device ran out of memory. Try {', or '.join(remedies)}. ({detail.strip().splitlines()[0]})"
