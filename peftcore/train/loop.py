"""finetune(spec): one loop for every method, a generator of events.

All randomness follows from (seed, epoch) and (seed, step), so a run resumed from a checkpoint ends with the weights it
would have had, and whatever else draws random numbers between two events changes nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.events import Event, Finished
from peftcore.model import TunedModel
from peftcore.registry import FETCH
from peftcore.spec import RunSpec
from peftcore.task import Task, load_task
from peftcore.train.recipe import choose_device, seeded, with_remedies
from peftcore.train.trainer import Batch, Trainer

if TYPE_CHECKING:
    import pandas as pd


def finetune(
    spec: RunSpec, resume: bytes | None = None, backbone: Backbone | None = None
) -> Generator[Event, None, TunedModel]:
    """Trains as `spec` says and yields events; its return value is the trained model. Closing it stops the run.

    `spec` may be a dict of a RunSpec's fields. `resume`: the blob of a Checkpoint of the same spec. `backbone`: one
    that is loaded already.

    Raises:
        Diverged: NaN or infinite loss or gradient, with step and remedy.
        OutOfMemory: with remedies; and whatever loading the backbone, the task or the method raises.
    """
    spec = RunSpec.of(spec)
    with with_remedies(spec):
        backbone, task = yield from loaded(spec, backbone)
        trainer = Trainer(spec, backbone, task)
        yield from trainer.begin(resume)
        for batch in trainer.batches():  # of every epoch that is left
            loss = step(trainer, batch)
            yield from trainer.after_step(batch, loss)
        yield from trainer.finish()
        return trainer.model


def step(trainer: Trainer, batch: Batch) -> Tensor:
    """One step of the optimizer on one batch; returns the loss."""
    images, features, labels = trainer.inputs(batch)  # (b, 3, h, w), or features (b, ...) by tap; labels (b,)
    seed = seeded(trainer.spec.seed, batch.step, labels.device)
    with trainer.watched(batch, images, features, labels) as ledger, seed:
        phase = ledger.phase if ledger else nullcontext
        with phase("forward"), trainer.autocast():
            loss = F.cross_entropy(trainer.logits(images, features, ledger).float(), labels)  # logits (b, classes)
        if ledger and batch.step == trainer.shown:
            ledger.explain(loss)
        with phase("backward"):
            loss.backward()
        trainer.update(batch, loss, ledger)
    return loss.detach()


def loaded(spec: RunSpec, backbone: Backbone | None = None) -> Generator[Event, None, tuple[Backbone, Task]]:
    """The backbone of a run, on its device, and its task; what is not on this machine is downloaded first."""
    yield from FETCH.load("arrivals").arrivals(spec, with_weights=backbone is None)
    device, task = choose_device(spec.device), load_task(spec.task)
    backbone = backbone or load_backbone(spec.backbone, spec.pretrained, spec.weights, img_size=spec.image_size)
    if spec.image_size and {*backbone.input_size[1:]} != {spec.image_size}:
        raise errors.InvalidSetting(
            f"The run wants images of {spec.image_size} pixels, and the {backbone.name} given takes "
            f"{backbone.input_size[1]} x {backbone.input_size[2]}; load it with img_size={spec.image_size}."
        )
    return backbone.to(device), task


class Returning:
    """What a generator yields; at its end, `value` is what it returned."""

    value: Any

    def __init__(self, generator: Any):
        self.generator = generator

    def __iter__(self) -> Iterator[Any]:
        self.value = yield from self.generator


@dataclass(frozen=True)
class Result:
    """What `run` returns. Accuracies are shares in 0..1, of the selected epoch's weights (spec.select); memory is in
    bytes."""

    spec: RunSpec
    test_accuracy: float
    val_accuracy: float
    memory: dict[str, Any]
    seconds: float
    epochs: pd.DataFrame
    model: TunedModel
    selected_epoch: int  # from 1
    predictions: Any = field(default=None, repr=False, compare=False)  # of the test images, as Finished has them

    @classmethod
    def of(cls, spec: RunSpec, end: Event, model: TunedModel) -> Result:
        """`end`: the run's last event."""
        import pandas as pd

        assert isinstance(end, Finished)
        names = ("test_accuracy", "val_accuracy", "memory", "seconds", "selected_epoch", "predictions")
        return cls(spec, epochs=pd.DataFrame(end.epochs), model=model, **{name: getattr(end, name) for name in names})


def run(spec: RunSpec, resume: bytes | None = None, backbone: Backbone | None = None) -> Result:
    """Drains `finetune` and returns its result."""
    spec = RunSpec.of(spec)
    events = Returning(finetune(spec, resume, backbone))
    for event in events:
        last = event
    return Result.of(spec, last, events.value)
