"""Whether a run collapses, and what helps: a side network whose tokens each look at one token, or a loss at chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ONE_HOT = 0.15  # normalised entropy below which an attention counts as one-hot; uniform is 1
AT_CHANCE = 0.97  # of the loss of guessing, above which nothing was learnt
SURE = 2.0  # standard errors by which an accuracy is above that of always answering the commonest class


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
    looked = list(entropies)
    if looked and (narrow := _narrow(looked[-1]["values"])):
        last, count = looked[-1], len(looked[-1]["values"])
        return Collapse(
            "attention collapsed",
            last["epoch"],
            f"The side attention has collapsed by epoch {last['epoch']}: in {narrow} of {count} modules a token looks "
            f"at hardly more than one other (entropy {min(last['values']):.2f}, where 1 is all alike), so little of "
            "the image reaches the classifier, and the seed decides the accuracy.",
            *_remedy(spec),
        )
    seen = [event for event in evaluations if event["split"] == "val"]
    if not seen or started is None or seen[-1]["epoch"] <= math.ceil(spec.get("warmup", 0) * spec["epochs"]):
        return None
    last, guess = seen[-1], math.log(len(started["classes"]))
    images, most = (started.get("settings") or {}).get("images", {}).get("val", (0, 0))
    if not images or last["loss"] < AT_CHANCE * guess:
        return None
    chance = most / images
    if last["accuracy"] > chance + SURE * math.sqrt(chance * (1 - chance) / images):
        return None
    return Collapse(
        "at chance",
        last["epoch"],
        f"After epoch {last['epoch']}, with the warm-up over, the validation loss is {last['loss']:.2f}, and guessing "
        f"has {guess:.2f}: nothing is learnt.",
        *_remedy(spec),
    )


def _narrow(values: Iterable[float]) -> int:
    """How many modules are one-hot, where that is at least half of them; else 0."""
    values = list(values)
    count = sum(value < ONE_HOT for value in values)
    return count if 2 * count >= len(values) else 0


def _remedy(spec: Mapping[str, Any]) -> tuple[str, float]:
    """What of the recipe may help, and is not in it yet; and the learning rate to try."""
    lower = float(f"{spec['lr'] / 4:.2g}")
    ways = [f"a lower learning rate than {spec['lr']:g}, such as {lower:g}"]
    if spec["method"].get("qk_norm") is False:
        ways.append("qk_norm, which keeps attention from becoming one-hot")
    if spec.get("clip") is None:
        ways.append("clip=1, which bounds each step's gradient")
    return f"Try {', or '.join(ways)}.", lower
