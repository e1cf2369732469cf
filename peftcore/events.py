"""Events of a fine-tune: small frozen records that travel as JSON.

Bytes (an adapter, a resumable state) stay beside the JSON, in `blob`; so do the arrays of `predictions`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, dataclass_transform

# Components of the memory ledger, in the order in which they are stacked everywhere. cached_features: of all images,
# where they are kept in the memory of the device that trains. features: of the batch; in older records both.
COMPONENTS = ("frozen_weights", "trainable_weights", "gradients", "optimizer",
              "cached_features", "features", "activations", "workspace")  # fmt: skip

KINDS: dict[str, type[Event]] = {}  # each class below by its kind


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Event:
    """Every subclass is a frozen dataclass. `kind` is the class's name as in JSON: HeadsCut is "heads_cut"."""

    kind: ClassVar[str] = ""
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        cls.kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
        KINDS[cls.kind] = dataclass(frozen=True)(cls)

    def to_dict(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("blob", "predictions")}
        return {"kind": self.kind, **values}


class Started(Event):
    """The run is set up: what trains, how many steps it has, and the settings that belong beside every accuracy."""

    spec: dict[str, Any]
    method_kind: str
    parameters: dict[str, int]
    steps: int
    epochs: int
    classes: list[str]
    device: str
    settings: dict[str, Any]


class Progress(Event):
    """`done` of `total` units of a long preparation, such as images whose features are cached."""

    what: str
    done: int
    total: int


class Download(Event):
    """Weights or a data set being downloaded: bytes of one file so far and in all, and bytes per second lately.

    `total` is None where the server does not say. At `done == total` the file is still being checked or unpacked.
    """

    what: str
    done: int
    total: int | None
    speed: float


class Step(Event):
    """One optimizer step. `grad_norm`: before any clipping. `memory`: peak bytes by component, where it was traced."""

    step: int
    epoch: int
    loss: float
    lr: float
    grad_norm: float
    images_per_second: float
    seconds: float
    memory: dict[str, int] | None = None


class StepMemory(Event):
    """Live bytes by component through one step: forward, backward, optimizer."""

    step: int
    report: dict[str, Any]


class Evaluation(Event):
    """Accuracy and mean loss on one split, of the weights after an epoch."""

    epoch: int
    step: int
    split: str
    accuracy: float
    loss: float
    seconds: float


class SideEntropy(Event):
    """How widely each attention module of a side network looks, of the weights after an epoch: the mean entropy of its
    rows over that of a uniform one. 1: every token attends to all alike; 0: to one."""

    step: int
    epoch: int
    values: list[float]


class Scores(Event):
    """Head scores collected in training: `values` is layers x projections x heads, None where there is no such head."""

    step: int
    epoch: int
    scores: dict[str, Any]


class HeadsCut(Event):
    """Heads were switched off: `off` lists them by block, `scores` has the scores collected until then, and the mask.

    `overruled`: the user named the heads; else they are the least responsive by `scores`. `parameters`: as in Started,
    from here on.
    """

    step: int
    epoch: int
    off: list[list[int]]
    overruled: bool
    scores: dict[str, Any]
    parameters: dict[str, int] | None = None


class Checkpoint(Event):
    """A state from which the run can be resumed and reach the same weights: `blob`, None where it is too large."""

    epoch: int
    step: int
    blob: bytes | None = field(default=None, repr=False)


class Finished(Event):
    """The end. Accuracies are shares in 0..1, of the weights of `selected_epoch` (from 1; None in older logs: the
    last); `blob` is the adapter as safetensors. `predictions`: of the test images, `probabilities` (n, classes) as
    float16, the class `predicted` (n,), the true `labels` (n,) and the names of the `classes`."""

    test_accuracy: float
    val_accuracy: float
    seconds: float
    memory: dict[str, Any]
    epochs: list[dict[str, float]]
    blob: bytes | None = field(default=None, repr=False)
    selected_epoch: int | None = None
    predictions: dict[str, Any] | None = field(default=None, repr=False, compare=False)


class Failed(Event):
    """The end of a run that could not go on: the error's class and message."""

    error: str
    message: str


class Cancelled(Event):
    """The end of a run that a user stopped."""


def from_dict(values: dict[str, Any]) -> Event:
    """The event that `to_dict` wrote (its blob apart)."""
    rest = dict(values)
    return KINDS[rest.pop("kind")](**rest)
