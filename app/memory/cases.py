"""A training step to account for: what the Memory page chooses, what a link to it says, and its predicted bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from app import background, forms, plain_options, words
from app.room import who
from peftcore.errors import HeadroomError, InvalidSetting
from peftcore.figures.method_style import method_kind
from peftcore.registry import METHODS

if TYPE_CHECKING:
    from peftcore.memory import MemoryReport
    from peftcore.spec import RunSpec

T = TypeVar("T")
TASK = "digits"  # whose classes and images count where no link says another
OWN = "own"
DEVICES = {"auto": "this machine", "cpu": "the CPU", "cuda": "a CUDA GPU"}
FEATURES = {
    "cached": "read from a cache",
    "bf16": "read from a cache in bf16",
    "disk": "read from a cache on disk",
    "computed": "computed in every step",
}
_SETTINGS: dict[str, dict[str, Any]] = {  # fields of a RunSpec that say so
    "bf16": {"cache_precision": "bf16"},
    "disk": {"cache_features": "disk"},
    "computed": {"cache_features": False},
}


@dataclass(frozen=True)
class Case:
    """One training step. `features`: one of FEATURES, for side methods.

    What a reader may type (batch, size) is text until a spec is made of it, which says what is wrong with it; `options`
    are the method's settings as JSON.
    """

    method: str
    backbone: str
    batch: str
    precision: str
    device: str
    features: str = "cached"
    size: str = OWN
    options: str = "{}"
    task: str = TASK
    epochs: str = "10"  # changes no byte, but some settings of a method are shares of it

    @property
    def is_side(self) -> bool:
        return method_kind(self.method) == "side"

    @property
    def image_size(self) -> int | None:
        """Pixels; None is the backbone's own size."""
        if self.size == OWN:
            return None
        if not (self.size.isdecimal() and len(self.size) < 10):
            raise InvalidSetting(f"An image size is a number of pixels such as 224; got {self.size!r}.")
        return int(self.size)

    def settings(self) -> dict[str, Any]:
        """The fields of a RunSpec, without torch."""
        settings: dict[str, Any] = {
            "backbone": self.backbone,
            "precision": self.precision,
            "task": self.task,
            "device": self.device,
        }
        settings |= {"batch_size": _whole(self.batch), "epochs": _whole(self.epochs), "pretrained": False}
        settings |= {} if self.image_size is None else {"image_size": self.image_size}
        settings |= _SETTINGS.get(self.features, {}) if self.is_side else {}
        return {"method": {"name": self.method, **json.loads(self.options)}, **settings}

    def spec(self) -> RunSpec:
        from peftcore.spec import RunSpec

        for name, value in json.loads(self.options).items():
            if refused := plain_options.refusal(value, name):
                raise refused
        return RunSpec.from_dict(self.settings())

    def command(self) -> str:
        """The command line that predicts the same."""
        return words.command(self.settings(), "predict")


def _whole(text: str) -> int | str:
    """A whole number where the text is one; the schema says what is wrong with the rest."""
    return int(text) if text.isdecimal() and len(text) < 19 else text


def preset(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Query parameters of the Memory page for a spec: its method with its own settings, beside full fine-tuning."""
    method = spec["method"]["name"]
    query = {name: value for name, value in forms.preset(spec).items() if name.startswith(f"{method}.")}
    query |= {name: str(spec[name]) for name in ("backbone", "precision", "device", "task", "epochs")}
    query |= {"batch": str(spec["batch_size"]), "features": _features(spec), "curve": method}
    query |= {"size": str(size)} if (size := spec.get("image_size")) else {}
    return query | {"methods": ",".join(dict.fromkeys((METHODS.baseline("upper"), method)))}


def _features(spec: Mapping[str, Any]) -> str:
    """Which of FEATURES a spec says."""
    if spec["cache_features"] is False or spec["augmentation"] != "none":
        return "computed"
    if spec["cache_features"] == "disk":
        return "disk"
    return "bf16" if spec.get("cache_precision") == "bf16" else "cached"


def predicted(case: Case) -> Future:
    """A future of a MemoryReport, or of the HeadroomError that says why there is none."""
    if refused := who.unpredicted(case.backbone, case.task):
        return background.settled(refused)
    return background.apart(("predicted", case), or_error, predict, case)


def or_error(work: Callable[[Case], T], case: Case) -> T | HeadroomError:
    """What the work returns, or the HeadroomError that it raises."""
    try:
        return work(case)
    except HeadroomError as error:
        return error


def predict(case: Case) -> MemoryReport:
    """The bytes of the step; raises the HeadroomError that says why there are none. It may take seconds."""
    from peftcore.memory import predict_memory

    return predict_memory(case.spec())


def result(job: Future | None) -> Any:
    """What a future came to that is done and no error; None otherwise."""
    known = job.result() if job is not None and job.done() else None
    return None if isinstance(known, HeadroomError) else known


def fault(job: Future | None) -> HeadroomError | None:
    """The error that a future came to."""
    known = job.result() if job is not None and job.done() else None
    return known if isinstance(known, HeadroomError) else None
