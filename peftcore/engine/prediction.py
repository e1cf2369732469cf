"""A run's own prediction, told beside what the run measured."""

from __future__ import annotations

import dataclasses
import json
import logging
from functools import lru_cache
from typing import Any

from peftcore.events import Event, Finished, Started
from peftcore.memory.predict import predict_memory
from peftcore.spec import RunSpec

log = logging.getLogger(__name__)

_IN_MEMORY = {"cpu": ("device", "host"), "cuda": ("device",)}  # places of a feature cache that a device's bytes hold


class Foretelling:
    """Adds to a run's last event what was predicted for it: `memory["predicted"]`, bytes by component and `peak`.

    It costs about half a second, once, behind the last step. A run that cannot be predicted has no such entry; the
    log says why.
    """

    def __init__(self):
        self.started: Started | None = None

    def __call__(self, event: Event) -> Event:
        if isinstance(event, Started):
            self.started = event
        if not isinstance(event, Finished) or self.started is None:
            return event
        try:
            predicted = predicted_for(self.started)
        except Exception:  # whatever it is: a run that has come to its end is not lost for it
            log.exception("no prediction for a run of %s", self.started.spec["method"]["name"])
            return event
        return dataclasses.replace(event, memory={**event.memory, "predicted": predicted})


def predicted_for(started: Started) -> dict[str, int]:
    """Bytes by component at the peak of a step of this run, and `peak`, the cached features of all images among them.

    Raises what `predict_memory` raises.
    """
    device, plan = started.device.partition(":")[0], started.settings.get("features", {})
    place = plan.get("place", "none")
    settings = {**started.spec, "device": device, "seed": 0, "lr": 1e-3}  # which change no byte
    report = dict(_report(json.dumps(settings, sort_keys=True), len(started.classes), place != "none"))
    held = plan["bytes"] if place in _IN_MEMORY.get(device, ()) else 0
    return report | {"features": report["features"] + held, "peak": report["peak"] + held}


@lru_cache(maxsize=64)
def _report(settings: str, classes: int, cached: bool) -> dict[str, Any]:
    """A race asks the same for many seeds and learning rates."""
    report = predict_memory(RunSpec.from_json(settings), num_classes=classes, cached=cached)
    return {**report.components, "peak": report.peak}
