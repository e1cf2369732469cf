"""One batch of a run: its images or frozen features, its loss, and the gradients it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.backbone.preprocess import augmented
from peftcore.memory import Ledger
from peftcore.spec import RunSpec
from peftcore.train.recipe import generator_of, seeded

if TYPE_CHECKING:
    from peftcore.train.loop import Trainer


@dataclass(frozen=True)
class Batch:
    """The images of one training step, `index` into the training split, whose loss and gradients a trainer asks for."""

    trainer: Trainer
    epoch: int
    step: int
    index: Tensor

    @property
    def spec(self) -> RunSpec:
        return self.trainer.spec

    def labels(self) -> Tensor:
        return torch.from_numpy(self.trainer.task.train.labels[self.index.numpy()]).to(self.trainer.device)

    def images(self) -> Tensor:
        """(b, C, H, W), resized, augmented and normed; the same whenever it is asked."""
        chosen = self.trainer.task.train.images[self.index.numpy()]
        return augmented(
            chosen,
            self.trainer.backbone,
            self.spec.normalisation,
            self.trainer.device,
            self.spec.resize,
            self.spec.augmentation,
            generator_of(self.spec.seed, self.epoch, self.step),
            self.trainer.task.symmetries,
        )

    def features(self) -> tuple[Tensor, ...] | None:
        """The frozen features where they are cached."""
        cache = self.trainer.caches.get("train")
        return cache and cache.batch(self.index, self.trainer.model.tuner.taps)

    def alone(self, features: tuple[Tensor, ...] | None = None, ledger: Ledger | None = None) -> Tensor:
        """The loss, after backward has put its gradients into the model's parameters. `features`: this batch's frozen
        ones, where somebody has computed them already."""
        features, labels = features or self.features(), self.labels()
        images = self.images() if features is None else None
        phase = ledger.phase if ledger else lambda _: nullcontext()
        with ledger or nullcontext(), seeded(self.spec.seed, self.step, self.trainer.device):
            if ledger:
                ledger.declare((labels, *([] if images is None else [images])))
                ledger.features(features or ())
                for cache in self.trainer.caches.values():
                    ledger.features(cache.resident)
            with phase("forward"), self.trainer.autocast():
                loss = F.cross_entropy(self._logits(images, features, ledger).float(), labels)
            if ledger and self.step == min(2, self.trainer.steps):  # the step whose report is shown in full
                ledger.explain(loss)
            with phase("backward"):
                loss.backward()
            if ledger:
                self.trainer.update(self.epoch, loss, phase)
        return loss.detach()

    def _logits(self, images: Tensor | None, features: tuple[Tensor, ...] | None, ledger: Ledger | None) -> Tensor:
        model = self.trainer.model
        if not model.is_side:
            return model(images) if ledger else self.trainer.network(images)
        if features is None:
            with ledger.region("features") if ledger else nullcontext():
                features = model.features(images)
            if ledger:
                ledger.features(features)
        return model.from_features(features)


@contextmanager
def memory_sentence(spec: RunSpec) -> Iterator[None]:
    """Turns what torch says of memory that is used up into a sentence with remedies."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise errors.OutOfMemory(_out_of_memory(spec, str(error))) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise errors.OutOfMemory(_out_of_memory(spec, str(error))) from error


def _out_of_memory(spec: RunSpec, detail: str) -> str:
    remedies = [f"a batch smaller than {spec.batch_size}"]
    if spec.precision == "fp32":
        remedies.append("precision='bf16'")
    if spec.method.kind == "in-backbone":
        remedies.append("a side method such as LAST, which keeps nothing of the backbone")
    return f"The device ran out of memory. Try {', or '.join(remedies)}. ({detail.strip().splitlines()[0]})"
