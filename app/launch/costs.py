"""What a run will cost, before it is launched: weights it trains, peak memory, time, and its place in the queue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app import background, state
from peftcore.errors import DataUnavailable, HeadroomError
from peftcore.registry import METHODS

if TYPE_CHECKING:
    from peftcore.spec import RunSpec
    from peftcore.store import Store

DECIDE_MEMORY = ("backbone", "method", "task", "batch_size", "precision", "device", "augmentation", "cache_features",
                 "cache_precision", "select")  # fmt: skip
EACH_ITS_OWN = ("trainable_weights", "gradients", "optimizer")  # in a race; the rest is there once
ALIKE = ("backbone", "method", "task", "batch_size")  # runs that agree on it take as long
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


def known_fault(specs: Sequence[RunSpec]) -> HeadroomError | None:
    """Why one of these specs is impossible, where that is known already."""
    for job in map(of, specs):
        known = job.result() if job.done() and not job.exception() else None
        if isinstance(known, HeadroomError):
            return known
    return None


def of(spec: RunSpec) -> Future:
    """A future of a Cost, or of the HeadroomError that says why this spec is impossible.

    It raises DataUnavailable where the data set is still to be downloaded, so that its classes are not known.
    """
    settings = spec.to_dict()
    key = json.dumps([settings[name] for name in DECIDE_MEMORY])
    return background.later(("cost", key), lambda: _predict(spec))


def _predict(spec: RunSpec) -> Cost | HeadroomError:
    from peftcore.backbone.load import load_backbone
    from peftcore.features.plan import plan_cache
    from peftcore.memory.predict import classes_of, predict_memory
    from peftcore.model import attach
    from peftcore.task import load_task

    try:
        backbone = load_backbone(spec.backbone, pretrained=False, device="meta")
        model = attach(backbone, spec.method, classes_of(spec.task))
        report = predict_memory(spec)
        whole = METHODS.baseline("upper")
        full = (
            report if spec.method.name == whole else predict_memory(spec.replace(method=whole, cache_features="auto"))
        )
        task = load_task(spec.task)
        spec.check_task(task)
        plan = plan_cache(model, len(task.train) + len(task.val), spec)
    except DataUnavailable:
        raise
    except HeadroomError as error:
        return error
    return Cost(
        model.parameter_counts(), dict(report.components), report.peak, full.peak, plan.why if model.is_side else ""
    )


def together(specs: Sequence[RunSpec], each: Sequence[Cost]) -> tuple[Cost, int]:
    """What a race costs, and how many side networks share a forward at its peak.

    Those that share one hold its weights and features once, their own weights, gradients and optimizer state all at
    once, and the activations of those that are computed in one call. The rest works one after the other.
    """
    groups: dict[Any, list[int]] = {}
    for nth, spec in enumerate(specs):
        groups.setdefault(spec.forward if spec.method.kind == "side" else nth, []).append(nth)
    held = [_held([specs[i] for i in group], [each[i] for i in group]) for group in groups.values()]
    largest = max(range(len(held)), key=lambda nth: sum(held[nth].values()))
    counts = {name: sum(cost.parameters[name] for cost in each) for name in ("method", "head")}
    counts["backbone"] = each[0].parameters["backbone"]
    cost = Cost(counts, held[largest], sum(held[largest].values()), each[0].full)
    return cost, len(list(groups.values())[largest])


def _held(specs: Sequence[RunSpec], each: Sequence[Cost]) -> dict[str, int]:
    """Bytes by component of runs that share a forward, at their peak."""
    in_one_call: dict[str, int] = {}
    for spec, cost in zip(specs, each, strict=True):
        call = json.dumps([spec.to_dict()["method"], spec.batch_size])
        in_one_call[call] = in_one_call.get(call, 0) + cost.components["activations"]
    held = {}
    for name in each[0].components:
        sizes = [cost.components[name] for cost in each]
        held[name] = sum(sizes) if name in EACH_ITS_OWN else max(sizes)
    return held | {"activations": max(in_one_call.values())}


def seconds(specs: Sequence[RunSpec], store: Store) -> tuple[float, int] | None:
    """Seconds these runs take one by one, and the number of an earlier run that tells so; None where one has none like it.

    Like it: the newest finished run of the same backbone, method, task and batch size that shared its time with no
    other. What that run spent outside its epochs (loading, caching) is taken once, its mean epoch as often as this
    run has epochs.
    """
    total, told = 0.0, 0
    records = [record for record in store.runs(limit=LOOK_BACK, status="finished") if record.race is None]
    for spec in specs:
        settings = spec.to_dict()
        like = (r for r in records if all(_trait(r.spec, name) == _trait(settings, name) for name in ALIKE))
        ends = ((record.id, store.last_event(record.id, "finished")) for record in like)
        told, end = next(((run, end) for run, end in ends if end and end["epochs"]), (0, None))
        if end is None:
            return None
        epochs = sum(epoch["seconds"] for epoch in end["epochs"])
        total += end["seconds"] - epochs + epochs / len(end["epochs"]) * spec.epochs
    return total, told


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
