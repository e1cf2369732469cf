"""What a run will cost, before it is launched: weights it trains, peak memory, time, and its place in the queue."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app import background, state
from peftcore.errors import HeadroomError

if TYPE_CHECKING:
    from peftcore.model import TunedModel
    from peftcore.spec import RunSpec
    from peftcore.store import Store

DECIDE_MEMORY = ("backbone", "method", "task", "batch_size", "precision", "device", "augmentation", "cache_features",
                 "cache_precision")  # fmt: skip
LOOK_BACK = 60  # newest finished runs among which one like this is looked for


@dataclass(frozen=True)
class Cost:
    """Numbers of weights, and bytes at the peak of a training step by component; `full` is full fine-tuning's peak."""

    parameters: dict[str, int]
    components: dict[str, int]
    peak: int
    full: int
    cache: str = ""  # where a side method will keep the frozen features of all images, how many bytes, and why

    @property
    def trained(self) -> int:
        """Weights that train: the method's and the classifier's."""
        return self.parameters["method"] + self.parameters["head"]

    @property
    def share(self) -> float:
        return self.trained / self.parameters["backbone"]


def known_fault(spec: RunSpec) -> HeadroomError | None:
    """Why this spec is impossible, where that is known already."""
    job = of(spec)
    known = job.result() if job.done() and not job.exception() else None
    return known if isinstance(known, HeadroomError) else None


def of(spec: RunSpec) -> Future:
    """A future of a Cost, or of the HeadroomError that says why this spec is impossible."""
    settings = spec.to_dict()
    key = json.dumps([settings[name] for name in DECIDE_MEMORY])
    return background.later(("cost", key), lambda: _predict(spec))


def _predict(spec: RunSpec) -> Cost | HeadroomError:
    from peftcore.backbone import load_backbone
    from peftcore.memory.predict import classes_of, predict_memory
    from peftcore.model import attach

    try:
        backbone = load_backbone(spec.backbone, pretrained=False, device="meta")
        model = attach(backbone, spec.method, classes_of(spec.task))
        report = predict_memory(spec)
        full = (
            report if spec.method.name == "full" else predict_memory(spec.replace(method="full", cache_features="auto"))
        )
        cache = _cache(model, spec)
    except HeadroomError as error:
        return error
    return Cost(model.parameter_counts(), dict(report.components), report.peak, full.peak, cache)


def _cache(model: TunedModel, spec: RunSpec) -> str:
    """Where a side method's frozen features of all training and validation images will be kept, in a sentence."""
    from peftcore.placement import plan_cache
    from peftcore.tasks import load_task

    task = load_task(spec.task)
    plan = plan_cache(model, len(task.train) + len(task.val), spec)
    return plan.why if model.is_side else ""


def seconds(spec: RunSpec, store: Store) -> tuple[float, int] | None:
    """Seconds this run will take and the number of the earlier run that tells so; None where none is like it.

    Like it: the newest finished run of the same backbone, method, task and batch size. What that run spent outside
    its epochs (loading, caching) is taken once, its mean epoch as often as this run has epochs.
    """
    for record in store.runs(limit=LOOK_BACK, status="finished"):
        if all(
            _trait(record.spec, name) == _trait(spec.to_dict(), name)
            for name in ("backbone", "method", "task", "batch_size")
        ):
            end = store.last_event(record.id, "finished")
            if end and end["epochs"]:
                epochs = sum(epoch["seconds"] for epoch in end["epochs"])
                return end["seconds"] - epochs + epochs / len(end["epochs"]) * spec.epochs, record.id
    return None


def _trait(settings: dict[str, Any], name: str) -> Any:
    return settings[name]["name"] if name == "method" else settings[name]


def queue(store: Store) -> str:
    """What stands before a run that is launched now, in a sentence."""
    engine = state.engine()
    if engine.state.startswith("failed"):
        return engine.state.partition(": ")[2]
    waiting, working = len(engine.queue()), len(store.runs(status="running"))
    if waiting:
        return f"{waiting} {'run waits' if waiting == 1 else 'runs wait'} before it."
    if engine.state == "starting":
        return "The engine is starting; the run begins as soon as it is ready."
    if working >= max(1, engine.slots):
        return f"It begins when the {'run' if working == 1 else 'first of the runs'} at work has ended."
    return "It begins at once."
