"""Whether a run collapses, and what helps: a side network whose tokens each look at one token, a loss at chance, or an
accuracy that falls back by more than chance explains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peftcore.registry import METHODS
from peftcore.store import recipes

ONE_HOT = 0.15  # normalised entropy below which an attention counts as one-hot; uniform is 1
# One-hot attention can still be right (digits at a rate of 0.02 reach 0.96): below this share of the way from chance to
# 1 it is not.
ENOUGH = 0.5
AT_CHANCE = 0.97  # of the loss of guessing, above which nothing was learnt
SURE = 2.0  # standard errors by which an accuracy is above that of always answering the commonest class
# Of a difference, by which an accuracy is below an earlier one [ours]: docs/recipes.md counts the runs of the mini-VTAB
# that reached it, few and of few methods.
FALLEN = 3.5


@dataclass(frozen=True)
class Collapse:
    """What happened at `epoch`, by its `name`, as a `finding` and a `remedy` in sentences; `lr`: the rate to try."""

    name: str
    epoch: int
    finding: str
    remedy: str
    lr: float

    @property
    def sentence(self) -> str:
        return f"{self.finding} {self.remedy}"


def collapse(
    spec: Mapping[str, Any],
    started: Mapping[str, Any] | None,
    evaluations: Iterable[Mapping[str, Any]],
    entropies: Iterable[Mapping[str, Any]],
) -> Collapse | None:
    """What is wrong with a run after its newest epoch; None where nothing is.

    Args:
        spec: a RunSpec as a dict. started: the run's first event, which knows the classes.
        evaluations, entropies: events 'evaluation' and 'side_entropy', in order; older runs have none of the latter.
    """
    seen, looked = [event for event in evaluations if event["split"] == "val"], list(entropies)
    images, most = ((started or {}).get("settings") or {}).get("images", {}).get("val", (0, 0))
    if not (seen and started and images) or seen[-1]["epoch"] <= math.ceil(spec.get("warmup", 0) * spec["epochs"]):
        return None
    last, guess, chance = seen[-1], math.log(len(started["classes"])), most / images
    narrow = _narrow(looked[-1]["values"]) if looked else 0
    if narrow and last["accuracy"] < chance + ENOUGH * (1 - chance):
        return Collapse(
            "attention collapsed",
            last["epoch"],
            f"The side attention has collapsed by epoch {last['epoch']}: in {narrow} of {len(looked[-1]['values'])} "
            f"modules a token looks at hardly more than one other (entropy {min(looked[-1]['values']):.2f}, where 1 is "
            f"all alike), and the validation accuracy is {last['accuracy']:.2f}. What it ends at is then a matter of "
            "the seed.",
            *_remedy(spec),
        )
    if best := fallen_from(spec, seen, images):
        return Collapse(
            "fell back",
            last["epoch"],
            f"The validation accuracy fell from {best['accuracy']:.2f} after epoch {best['epoch']} to "
            f"{last['accuracy']:.2f} after epoch {last['epoch']}, more than {images} images differ by chance: the "
            "steps are too large.",
            *_remedy(spec),
        )
    sure = SURE * math.sqrt(chance * (1 - chance) / images)
    if last["loss"] < AT_CHANCE * guess or last["accuracy"] > chance + sure:
        return None
    return Collapse(
        "at chance",
        last["epoch"],
        f"After epoch {last['epoch']}, with the warm-up over, the validation loss is {last['loss']:.2f}, and guessing "
        f"has {guess:.2f}: nothing is learnt.",
        *(_higher(spec) or _remedy(spec)),
    )


def fallen_from(spec: Mapping[str, Any], seen: Sequence[Mapping[str, Any]], images: int) -> Mapping[str, Any] | None:
    """The best of the validations `seen`, in order and of so many images, where the last one is below it by more than
    chance explains."""
    last = seen[-1]["accuracy"]
    best = max(_since_the_cut(spec, seen), key=lambda event: event["accuracy"], default=seen[-1])
    return best if best["accuracy"] - last > FALLEN * _error_of_difference(best["accuracy"], last, images) else None


def _since_the_cut(spec: Mapping[str, Any], seen: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Validations after the epoch in which heads were switched off, if any are: a cut may cost accuracy."""
    share, own = spec["method"].get("warmup_share") or 0, spec["method"].get("warmup_epochs")
    cut = own or math.ceil(share * spec["epochs"])
    return [event for event in seen if event["epoch"] > cut]


def _error_of_difference(one: float, other: float, images: int) -> float:
    """The standard error of the difference of two accuracies on so many images each."""
    share = (one + other) / 2
    return math.sqrt(2 * share * (1 - share) / images)


def _narrow(values: Iterable[float]) -> int:
    """How many modules are one-hot, where that is at least half of them; else 0."""
    values = list(values)
    count = sum(value < ONE_HOT for value in values)
    return count if 2 * count >= len(values) else 0


def _higher(spec: Mapping[str, Any]) -> tuple[str, float] | None:
    """The rate that is known to work, where nothing was learnt at a smaller one."""
    if spec["method"]["name"] not in METHODS.names():
        return None
    known = recipes.best(spec["method"]["name"], spec["backbone"])
    known = known.suiting({name: spec["method"].get(name) for name in known.settings})  # older runs lack newer ones
    lr = known.values["lr"]
    if spec["lr"] >= lr:
        return None
    return f"Try a higher learning rate than {spec['lr']:g}, such as {lr:g} ({known.basis}).", lr


def _remedy(spec: Mapping[str, Any]) -> tuple[str, float]:
    """What of the recipe may help, and is not in it yet; and the learning rate to try."""
    lower = float(f"{spec['lr'] / 4:.2g}")
    ways = [f"a lower learning rate than {spec['lr']:g}, such as {lower:g}"]
    if spec["method"].get("qk_norm") is False:
        ways.append("qk_norm, which bounds how sharply a token can look at one other")
    if spec.get("clip") is None:
        ways.append("clip=1, which bounds each step's gradient")
    return f"Try {', or '.join(ways)}.", lower
