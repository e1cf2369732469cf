"""One real training step of a spec on this machine: what a prediction is compared with."""

from __future__ import annotations

import torch

from peftcore.backbone.load import Backbone, load_backbone
from peftcore.bench._measure import measure_step
from peftcore.memory import MemoryReport
from peftcore.memory.step import train_step
from peftcore.model import attach
from peftcore.spec import RunSpec
from peftcore.task import load_task, task_card
from peftcore.train.recipe import choose_device, make_optimizer


class RealStep:
    """A model with random weights, its optimizer and a batch of random images: bytes do not depend on their values.

    Args:
        batch: images in the step.
        cached: the step reads features that were computed before, which side methods can.
        held: bytes of the features of all images, where they lie in the memory of the device that trains.
        backbone: one that is loaded already; the step may change its weights.
    """

    def __init__(
        self,
        spec: RunSpec,
        batch: int,
        classes: int,
        cached: bool = False,
        held: int = 0,
        backbone: Backbone | None = None,
    ):
        device, self.precision = choose_device(spec.device), spec.precision
        backbone = backbone or load_backbone(spec.backbone, pretrained=False, img_size=spec.image_size).to(device)
        self.model = attach(backbone, spec.method, classes).train()
        self.optimizer = make_optimizer(self.model, spec)
        self.images: torch.Tensor | None = torch.randn(batch, *backbone.input_size, device=device)
        self.labels = torch.arange(batch, device=device) % classes
        self.features: tuple[torch.Tensor, ...] | None = None
        if cached:
            with torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
                # Copies, as a cache gives them: a class token alone is a view, and all tokens would stay with it.
                self.features = tuple(part.clone() for part in self.model.features(self.images))
            if spec.cache_precision == "bf16":  # what was kept in bf16 is read as float32
                self.features = tuple(part.float() for part in self.features)
            self.images = None
        self.cache = [torch.ones(held, dtype=torch.uint8, device=device)] if held else []

    @classmethod
    def of(cls, spec: RunSpec, predicted: MemoryReport, classes: int) -> RealStep:
        """The step that was predicted."""
        held = predicted.components["cached_features"]
        return cls(spec, predicted.batch_size, classes, predicted.cache["place"] != "none", held)

    def measure(self) -> MemoryReport:
        """Takes the step under the ledger."""
        step = (self.model, self.images, self.labels, self.optimizer)
        return measure_step(*step, features=self.features, cache=self.cache, precision=self.precision)

    def take(self) -> None:
        """Takes the step without a ledger."""
        train_step(self.model, self.images, self.labels, self.optimizer, self.features, self.precision)


def classes_of(task: str) -> int:
    """How many classes a task has; it is loaded only where its card does not list them."""
    return len(task_card(task).classes or load_task(task).classes)
