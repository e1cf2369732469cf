"""The pace of a method beside LoRA's, measured on one machine at one time: steps in turns."""

from __future__ import annotations

import time
from itertools import cycle
from statistics import median
from typing import Any

import torch

from peftcore.backbone.load import Backbone
from peftcore.bench._curve import Untraced
from peftcore.bench._pace import Pace
from peftcore.spec import RunSpec
from peftcore.task import Task
from peftcore.train.loop import step
from peftcore.train.trainer import Batch

ROUNDS = 7  # pairs of steps; the first warms up


def pace(spec: RunSpec, lora: RunSpec, backbone: Backbone, task: Task) -> Pace:
    """Measured in turns, so that what else the machine does weighs on both alike."""
    rivals = [_Stepper(one, backbone, task) for one in (lora, spec)]
    pairs = [[rival.seconds() for rival in rivals] for _ in range(ROUNDS)][1:]
    ratio = median(own / peer for peer, own in pairs)
    epoch = min(peer for peer, _ in pairs) * rivals[0].trainer.per_epoch
    features = rivals[1].forward() / median(peer for peer, _ in pairs) if spec.method.kind == "side" else 0.0
    return Pace(ratio, features, epoch)


class _Stepper:
    """Steps on the first batches of an epoch; of a side method, on features that are there."""

    def __init__(self, spec: RunSpec, backbone: Backbone, task: Task):
        self.trainer = Untraced(spec, backbone, task)
        batches = [batch for batch, _ in zip(self.trainer.batches(), range(2), strict=False)]
        if self.trainer.model.is_side:
            batches = [self._with_features(batch) for batch in batches]
        self._batches = cycle(batches)

    def _with_features(self, batch: Batch) -> Batch:
        with torch.no_grad():
            features = tuple(part.clone() for part in self.trainer.model.features(self.trainer.images(batch)))
        return Batch(batch.split, batch.rows, batch.epoch, batch.step, features)

    def seconds(self) -> float:
        began = time.process_time()
        step(self.trainer, next(self._batches))
        return time.process_time() - began

    def forward(self) -> float:
        """CPU seconds of a batch's features, the median of three."""
        taken: list[Any] = []
        for _ in range(3):
            began = time.process_time()
            self._with_features(next(self._batches))
            taken.append(time.process_time() - began)
        return median(taken)
