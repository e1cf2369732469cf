"""A run stripped to what a measurement needs: the steps of `finetune`, and accuracy at the epochs asked for.

No memory is traced, no event or checkpoint made, and no test image looked at unless that is asked.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from peftcore.backbone.load import Backbone
from peftcore.features.plan import plan_cache
from peftcore.spec import RunSpec
from peftcore.task import Task
from peftcore.train.loop import step
from peftcore.train.recipe import with_remedies
from peftcore.train.trainer import Batch, Trainer


@dataclass(frozen=True)
class Curve:
    """What a run reached. Epochs count from 1, accuracies are shares, times are CPU seconds in all threads.

    val: accuracy on the validation images by epoch. cpu: training until the end of each epoch, evaluation apart.
    features: until the first step, in which frozen features are computed, or read from disk. evaluation: all the rest.
    parameters: of the method. test: None where it was not asked for.
    """

    val: dict[int, float]
    cpu: dict[int, float]
    features: float
    evaluation: float
    parameters: int
    test: float | None = None

    @property
    def seconds(self) -> float:
        return self.features + self.evaluation + max(self.cpu.values())


class Untraced(Trainer):
    def is_traced(self, batch: Batch) -> bool:
        return False


def curve(spec: RunSpec, backbone: Backbone, task: Task, at: Collection[int] = (), test: bool = False) -> Curve:
    """Trains as `spec` says, to the same weights as `finetune`, and validates after the epochs `at` and the last one.

    Raises whatever `finetune` raises.
    """
    began = time.process_time()
    val, cpu, apart = dict[int, float](), dict[int, float](), 0.0
    with with_remedies(spec):
        trainer = Untraced(spec, backbone, task)
        splits = ("train", "val", "test") if test else ("train", "val")
        trainer.plan = plan_cache(trainer.model, sum(len(getattr(task, name)) for name in splits), spec)
        trainer.caches = trainer.plan.caches(trainer.model, task, splits, spec)
        work = [trainer.begin(), *(cache.fill() for cache in trainer.caches.values())]
        for each in work:
            _drain(each)
        ready = time.process_time()
        for batch in trainer.batches():
            step(trainer, batch)
            epoch = batch.epoch + 1
            _drain(trainer.coach.after_step(batch.step, epoch))
            if batch.step % trainer.per_epoch == 0:
                over = time.process_time()
                cpu[epoch] = over - ready - apart
                if epoch in at or epoch == spec.epochs:
                    val[epoch] = trainer.evaluate("val", epoch).accuracy
                _drain(trainer.coach.end_epoch(batch.step, epoch))
                apart += time.process_time() - over
        trainer.coach.close()
        over = time.process_time()
        accuracy = trainer.evaluate("test", spec.epochs).accuracy if test else None
    apart += time.process_time() - over
    return Curve(val, cpu, ready - began, apart, trainer.model.parameter_counts()["method"], accuracy)


def _drain(events: object) -> None:
    for _ in events:  # type: ignore[attr-defined]
        pass
