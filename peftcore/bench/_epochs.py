"""Epochs of one model over a set of images, timed: with a cache of its features, or with the backbone run again."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F

from peftcore.backbone.preprocess import prepare
from peftcore.features.cache import FeatureCache
from peftcore.model import TunedModel
from peftcore.spec import RunSpec
from peftcore.train.recipe import make_optimizer


class Epochs:
    """Nothing but training: order of the images, batches, steps. The n-th epoch of any two is in the same order."""

    def __init__(
        self,
        model: TunedModel,
        images: np.ndarray,
        batch_size: int,
        precision: str = "fp32",
        cache: FeatureCache | None = None,
    ):
        self.model, self.images, self.cache = model.train(), images, cache
        self.batch_size, self.precision = batch_size, precision
        self.device = model.backbone.device
        self.labels = torch.arange(len(images), device=self.device) % 10
        self.optimizer = make_optimizer(model, RunSpec())
        self.done = 0

    def seconds(self) -> float:
        """Trains one epoch; how long it took."""
        self._wait()
        began = time.perf_counter()
        self.done += 1
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(self.done))
        for index in order.split(self.batch_size):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                logits = self._logits(index).float()
            F.cross_entropy(logits, self.labels[index.to(self.device)]).backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        self._wait()
        return time.perf_counter() - began

    def _logits(self, index: torch.Tensor) -> torch.Tensor:
        if self.cache is not None:
            return self.model.from_features(self.cache.batch(index, self.model.tuner.taps))
        return self.model(prepare(self.images[index.numpy()], self.model.backbone, device=self.device))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
