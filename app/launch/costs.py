"""What a run will cost, before it is launched: weights it trains, and its peak memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from app import background, state, versions
from app import desk as desk_module
from app.room import who
from app.worker import OverLimit
from peftcore.engine.sizes import ARTIFACT, together
from peftcore.errors import DataUnavailable, HeadroomError
from peftcore.registry import METHODS

if TYPE_CHECKING:
    from peftcore.cli.image_size import Smaller
    from peftcore.model import TunedModel
    from peftcore.spec import RunSpec

DECIDE_MEMORY = ("backbone", "method", "task", "batch_size", "precision", "device", "augmentation", "cache_features",
                 "cache_precision", "select", "image_size")  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Numbers of weights, and bytes at the peak of a training step by component; `full` is full fine-tuning's peak."""

    parameters: dict[str, int]
    components: dict[str, int]
    peak: int
    full: int
    batch: int  # images in a step: no more than the task trains on
    cache: str = ""  # where a side method will keep the frozen features of all images, how many bytes, and why
    smaller: Smaller | None = None  # an image size that costs less, where the backbone's own has many tokens
    peak_smaller: int = 0  # bytes at the peak of the same step at that size

    @property
    def trained(self) -> int:
        """Weights that train: the method's and the classifier's."""
        return self.parameters["method"] + self.parameters["head"]

    @property
    def share(self) -> float:
        return self.trained / self.parameters["backbone"]


@dataclass(frozen=True)
class Race:
    """Weights that several runs train, bytes by component at the peak of what works at once, and how many side networks
    that is.

    Side networks that share a forward hold its weights and the cached features once, their own weights, gradients and
    optimizer state all at once, and the activations of those that are computed in one call. The rest works one after
    the other.
    """

    trained: int
    components: dict[str, int]
    sharing: int
    cache: str

    @property
    def peak(self) -> int:
        return sum(self.components.values())


def taken(cost: Cost | Race) -> dict[str, int]:
    """Bytes by component, and `peak`, as the engine wants them."""
    return {"peak": cost.peak, **cost.components}


def known_fault(specs: Sequence[RunSpec]) -> HeadroomError | None:
    """Why one of these specs is impossible, where that is known already. What nobody could predict is not."""
    return next((fault for job in map(of, specs) if job.done() and (fault := _fault(job))), None)


def known_refusal(specs: Sequence[RunSpec]) -> HeadroomError | None:
    """Why one of these runs would never begin for lack of memory, where that is known already."""
    done = [(spec, job) for spec in specs if (job := of(spec)).done() and not _fault(job)]
    return next((refused for spec, job in done if (refused := refusal(spec, job))), None)


def refusal(spec: RunSpec, job: Future) -> HeadroomError | None:
    """Why a run will not begin, by what was predicted of it, alone or in a race; None where it will, or where nobody
    could predict it here: the engine does before it begins.

    Args:
        job: of `of`, or of `of_race`; it is done.
    """
    if job.exception() or not isinstance(job.result(), Cost | Race):
        return _fault(job)
    return state.engine().refusal(spec.to_dict(), taken(job.result()))


def _fault(job: Future) -> HeadroomError | None:
    """Why a spec is impossible, by a job that is done."""
    found = None if job.exception() else job.result()
    return found if isinstance(found, HeadroomError) and not isinstance(found, OverLimit) else None


def of(spec: RunSpec) -> Future:
    """A future of a Cost, or of the HeadroomError that says why this spec is impossible.

    It raises DataUnavailable where the data set is still to be downloaded, so that its classes are not known.
    """
    if refused := who.unpredicted(spec.backbone, spec.task):
        is_to_come = isinstance(refused, DataUnavailable)  # and may be launched
        return background.settled(fault=refused) if is_to_come else background.settled(refused)
    return background.apart(("cost", _key(spec), versions.of(spec.task)), _predict, spec)


def _key(spec: RunSpec) -> str:
    settings = spec.to_dict()
    return json.dumps([settings[name] for name in DECIDE_MEMORY])


def of_race(specs: Sequence[RunSpec], each: Sequence[Cost]) -> Future:
    """A future of a Race, or of the HeadroomError that says why it is impossible. `each`: what the specs cost alone."""
    keys = [(_key(spec), versions.of(spec.task)) for spec in specs]
    return background.apart(("race", *keys), _race, list(specs), list(each))


def promised(spec: RunSpec) -> dict[str, int] | None:
    """What the card of a spec predicted, to be kept with the run: bytes by component, and `peak`; None while it does
    not say."""
    job = of(spec)
    found = job.result() if job.done() and not job.exception() else None
    return taken(found) if isinstance(found, Cost) else None


def remembered(run: int) -> dict[str, int] | None:
    """What was promised when it was launched: bytes by component, and `peak`."""
    kept = state.store().get_artifact(run, ARTIFACT)
    return None if kept is None else json.loads(kept)


def _predict(spec: RunSpec) -> Cost | HeadroomError:
    from peftcore.cli.image_size import at, smaller
    from peftcore.memory import predict_memory
    from peftcore.task import load_task

    whole = METHODS.baseline("upper")
    try:
        load_task(spec.task).check_select(spec.select)
        report = predict_memory(spec)
        everything = _key(spec.replace(method=whole, cache_features="auto"))
        full = report.peak if spec.method.name == whole else _peak(everything, versions.of(spec.task))
        model = _on_meta(spec)
        proposed = None if spec.image_size else smaller(model.backbone)
        less = at(spec, proposed).peak if proposed else 0
    except DataUnavailable:
        raise
    except HeadroomError as error:
        return error
    cache = report.cache["why"] if spec.method.kind == "side" else ""
    counts, parts = model.parameter_counts(), dict(report.components)
    return Cost(counts, parts, report.peak, full, report.batch_size, cache, proposed, less)


@lru_cache(maxsize=desk_module.MOST_KEPT)
def _peak(key: str, version: float) -> int:
    """Bytes at the peak of a step of a spec with this `_key`: full fine-tuning's is the same beside every method."""
    from peftcore.memory import predict_memory
    from peftcore.spec import RunSpec

    return predict_memory(RunSpec.from_dict(dict(zip(DECIDE_MEMORY, json.loads(key), strict=True)))).peak


def _on_meta(spec: RunSpec) -> TunedModel:
    from peftcore.bench._real_step import classes_of
    from peftcore.memory.predict import attach_without_weights

    return attach_without_weights(spec, classes_of(spec.task))


def _race(specs: Sequence[RunSpec], each: Sequence[Cost]) -> Race | HeadroomError:
    groups: dict[Any, list[int]] = {}
    for nth, spec in enumerate(specs):
        groups.setdefault(spec.forward if spec.method.kind == "side" else nth, []).append(nth)
    held, why = [], []
    for group in groups.values():
        members, costs = [specs[i] for i in group], [each[i] for i in group]
        try:
            costs = _sharing(members, costs) if len(group) > 1 else costs
        except HeadroomError as error:
            return error
        held.append(_held(members, costs))
        why += [costs[0].cache] if costs[0].cache else []
    largest = max(range(len(held)), key=lambda nth: sum(held[nth].values()))
    return Race(
        trained=sum(cost.trained for cost in each),
        components=held[largest],
        sharing=len(list(groups.values())[largest]),
        cache=" ".join(dict.fromkeys(why)),
    )


def _sharing(specs: Sequence[RunSpec], each: Sequence[Cost]) -> list[Cost]:
    """The costs of side networks that read one set of features, which a race keeps of all splits: all of it in each."""
    from peftcore.features.plan import plan_shared
    from peftcore.memory.predict import predict_memory, target_device, without_data
    from peftcore.task import load_task

    first, models = specs[0], [_on_meta(spec) for spec in {str(spec.method): spec for spec in specs}.values()]
    with without_data(models[0], target_device(first.device), first.precision):
        plan, _, _ = plan_shared(models, load_task(first.task), first)
    if plan.place == "none":  # nobody keeps any: features are computed in every step
        reports = [predict_memory(spec, plan=plan) for spec in specs]
        return [
            replace(cost, components=dict(report.components), peak=report.peak, cache=plan.why)
            for cost, report in zip(each, reports, strict=True)
        ]
    cached = {"cached_features": plan.held(target_device(first.device))}
    return [replace(cost, components=cost.components | cached, cache=plan.why) for cost in each]


def _held(specs: Sequence[RunSpec], each: Sequence[Cost]) -> dict[str, int]:
    """Bytes by component of runs that share a forward, at their peak."""
    in_one_call: dict[str, int] = {}
    for spec, cost in zip(specs, each, strict=True):
        call = json.dumps([spec.to_dict()["method"], spec.batch_size])
        in_one_call[call] = in_one_call.get(call, 0) + cost.components["activations"]
    held = together([cost.components for cost in each])
    return {name: held[name] for name in each[0].components} | {"activations": max(in_one_call.values())}
