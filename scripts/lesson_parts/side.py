"""Lesson 4: what LAST's recursion carries, with and without its correction, and what an epoch costs from a cache."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from lesson_parts._shared import CHUNK, accuracy, example
from peftcore.methods.last import recursion
from peftcore.spec import RunSpec
from peftcore.store import gallery
from peftcore.task import load_task
from peftcore.train.loop import finetune
from peftcore.train.race import race

NAME, BESIDE, IMAGES, EPOCHS = "last-digits", "lora-digits", 64, 5


def measure() -> dict[str, Any]:
    return _carried() | {"trained": _trained(), "epoch": _epochs()}


@torch.no_grad()
def _carried() -> dict[str, Any]:
    last = example(NAME)
    images, labels = last.images(last.task.test)
    features = [last.model.features(part) for part in images.split(CHUNK)]
    rates = {}
    for correct in (True, False):
        last.model.tuner.correct = correct
        rates[correct] = accuracy(torch.cat([last.model.from_features(part) for part in features]), labels)
    z = [point[:IMAGES] for point in features[0]]  # z_0 .. z_m, (n, N, d)
    side = last.model.tuner.side
    steps = []
    for group in range(len(z)):
        added = recursion(z[: group + 1], side[:group], torch.zeros_like(z[0])) if group else torch.zeros_like(z[0])
        summed = torch.stack(z[: group + 1]).sum(0)
        steps.append({"z": _length(z[group]), "sum": _length(summed), "added": _length(added)})
    return {
        "run": NAME,
        "images": IMAGES,
        "test_images": len(images),
        "groups": len(z) - 1,
        "steps": steps,
        "switched": {"with": rates[True], "without": rates[False]},
    }


def _length(tokens: Tensor) -> float:
    """The mean length of a token."""
    return float(tokens.norm(dim=-1).mean())


def _trained() -> dict[str, Any]:
    """The example's recipe for fewer epochs, with and without the correction."""
    spec = _spec(EPOCHS)
    method = spec.to_dict()["method"]
    both = [spec, spec.replace(method=method | {"bias_correction": False})]
    with_it, without = (result.test_accuracy for result in race(both))
    return {"epochs": EPOCHS, "with": with_it, "without": without}


def _epochs() -> dict[str, Any]:
    """Seconds of one core for a second epoch, validation included: LoRA, LAST, and LAST that reads cached features;
    and for the first epoch of the last one, in which the cache is filled."""
    lora = RunSpec.of(gallery.record(BESIDE)["spec"]).replace(epochs=2)
    seconds = {
        "lora": _second(lora),
        "computed": _second(_spec(2).replace(cache_features=False)),
        "cached": _second(_spec(2)),
    }
    first, second = seconds["cached"]
    return {
        "lora": seconds["lora"][1],
        "computed": seconds["computed"][1],
        "cached": second,
        "filling": max(first - second, 0.0),
        "ratio": seconds["computed"][1] / second,
        "images": len(load_task("digits").train),
    }


def _second(spec: RunSpec) -> tuple[float, float]:
    """What the first and the second epoch took; the run ends there. Time of this process, whatever else runs here."""
    times, events = [time.process_time()], finetune(spec)
    for event in events:
        if event.kind == "evaluation":
            times.append(time.process_time())
            if len(times) == 3:
                break
    events.close()
    return times[1] - times[0], times[2] - times[1]


def _spec(epochs: int) -> RunSpec:
    return RunSpec.of(gallery.record(NAME)["spec"]).replace(epochs=epochs)
