"""Training steps of one model, timed and weighed: what the benchmarks compare."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore.backbone.load import Backbone
from peftcore.bench._measure import measure_step
from peftcore.methods import make_method
from peftcore.methods._scores import Collector
from peftcore.model import TunedModel, attach
from peftcore.train.recipe import compiled

PEER = "Hugging Face PEFT LoRA"
CACHED, SCORED, COMPILED = "cached features", "head scores collected", "compiled"


def peer_of(backbone: Backbone) -> TunedModel:
    """Hugging Face PEFT's LoRA of rank 8 on the fused qkv: what the field runs."""
    return attach(backbone, make_method("hf_peft", tuner="lora", options={"r": 8, "target_modules": ["qkv"]}), 10)


class Stepper:
    """One model and its optimizer, ready to be stepped and measured."""

    def __init__(self, model: TunedModel, images: Tensor, labels: Tensor, precision: str, variant: str = ""):
        self.model, self.images, self.labels, self.precision = model.train(), images, labels, precision
        self.optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=1e-4, fused=True)
        # Copies, as a cache holds them: otherwise a class token is a view that keeps all tokens alive.
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            self.features = tuple(t.clone() for t in model.features(images)) if variant == CACHED else None
        self.network = compiled(model) if variant == COMPILED else model
        self.collector = Collector(model.tuner) if variant == SCORED else None
        self._bytes: int | None = None
        self.seconds()

    def seconds(self) -> float:
        if self.images.is_cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.network(self.images) if self.features is None else self.model.from_features(self.features)
        F.cross_entropy(logits.float(), self.labels).backward()
        if self.collector:
            self.collector.after_backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.images.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def above_weights(self) -> int:
        if self._bytes is None:
            report = measure_step(
                self.model, self.images, self.labels, self.optimizer, features=self.features, precision=self.precision
            )
            self._bytes = report.above_weights
        return self._bytes
