"""What a fine-tune says while it works: small frozen records that travel as JSON.

Bytes (an adapter, a resumable state) ride beside an event in `blob` and never enter its JSON.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

# Components of the memory ledger, in the order in which they are stacked everywhere.
COMPONENTS = (
    "frozen_weights",
    "trainable_weights",
    "gradients",
    "optimizer",
    "cached_features",  # of all images, where they are kept in the memory of the device that trains
    "features",  # of the batch; in older records the cached ones too
    "activations",
    "workspace",
)


KINDS: dict[str, type[Event]] = {}  # each class below by its kind


@dataclass(frozen=True)
class Event:
    """`kind` is the class's name as JSON has it: HeadsCut is "heads_cut"."""

    kind: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        cls.kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
        KINDS[cls.kind] = cls

    def to_dict(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "blob"}
        return {"kind": self.kind, **values}


@dataclass(frozen=True)
class Started(Event):
    """The run is set up: what trains, how long it will be, and the settings that stand beside every accuracy."""

    spec: dict[str, Any]
    method_kind: str
    parameters: dict[str, int]
    steps: int
    epochs: int
    classes: list[str]
    device: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Progress(Event):
    """`done` of `total` units of some long preparation, such as images whose features are cached."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Download(Event):
    """Weights or a data set on their way here: bytes so far of one file and in all, and bytes a second of late.

    `total` is None where the server does not say; all of it done, the file is checked or unpacked.
    """

    what: str
    done: int
    total: int | None
    speed: float


@dataclass(frozen=True)
class Step(Event):
    """One optimizer step. `grad_norm`: before any clipping. `memory`: peak bytes by component where the step was traced,
    else None."""

    step: int
    epoch: int
    loss: float
    lr: float
    grad_norm: float
    images_per_second: float
    seconds: float
    memory: dict[str, int] | None = None


@dataclass(frozen=True)
class StepMemory(Event):
    """Live bytes by component through one step: forward, backward, optimizer."""

    step: int
    report: dict[str, Any]


@dataclass(frozen=True)
class Evaluation(Event):
    """Accuracy and mean loss on one split, of the weights after an epoch."""

    epoch: int
    step: int
    split: str
    accuracy: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class Scores(Event):
    """Head scores collected in training: `values` is layers x projections x heads, None where a layer has no such head."""

    step: int
    epoch: int
    scores: dict[str, Any]


@dataclass(frozen=True)
class HeadsCut(Event):
    """Heads were switched off: `off` lists them by block, `scores` is what was collected until then, with the mask.

    `overruled`: the user named the heads; else they are the least responsive by `scores`. `parameters`: what trains from
    here on, as Started told it of the time before.
    """

    step: int
    epoch: int
    off: list[list[int]]
    overruled: bool
    scores: dict[str, Any]
    parameters: dict[str, int] | None = None


@dataclass(frozen=True)
class Checkpoint(Event):
    """A moment from which the run can go on to the same weights; `blob` is that state."""

    epoch: int
    step: int
    blob: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Finished(Event):
    """The end. Accuracies are shares in 0..1, of the weights of `selected_epoch` (from 1; None in older logs: the last);
    `blob` is the adapter as safetensors."""

    test_accuracy: float
    val_accuracy: float
    seconds: float
    memory: dict[str, Any]
    epochs: list[dict[str, float]]
    blob: bytes | None = field(default=None, repr=False)
    selected_epoch: int | None = None


@dataclass(frozen=True)
class Failed(Event):
    """The end of a run that could not go on: the class of the error, and its sentence."""

    error: str
    message: str


@dataclass(frozen=True)
class Cancelled(Event):
    """The end of a run that somebody stopped."""


def from_dict(values: dict[str, Any]) -> Event:
    """The event that `to_dict` wrote (its blob apart)."""
    rest = dict(values)
    return KINDS[rest.pop("kind")](**rest)
