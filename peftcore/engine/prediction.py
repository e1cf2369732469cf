"""The memory predicted for a run, recorded beside its measurement."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from peftcore.events import Event, Finished, Started
from peftcore.features.plan import CachePlan
from peftcore.memory.predict import predict_memory
from peftcore.spec import RunSpec

log = logging.getLogger(__name__)

_NO_BYTE = {"seed": 0, "lr": 1e-3}  # settings that change no byte: the runs of a race then share a prediction


class WithPrediction:
    """Adds the prediction to a run's last event: `memory["predicted"]`, bytes by component and `peak`.

    It takes about half a second, once, after the last step. Where a prediction fails the entry is missing, and the log
    has the reason.
    """

    def __init__(self) -> None:
        self.started: Started | None = None

    def __call__(self, event: Event) -> Event:
        if isinstance(event, Started):
            self.started = event
        if not isinstance(event, Finished) or self.started is None:
            return event
        try:
            predicted = predicted_for(self.started)
        except Exception:  # whatever it is, a finished run must not be lost over it
            log.exception("no prediction for a run of %s", self.started.spec["method"]["name"])
            return event
        return dataclasses.replace(event, memory={**event.memory, "predicted": predicted})


def predicted_for(started: Started) -> dict[str, int]:
    """Bytes by component at the peak of a step of this run, and `peak`: `predict_memory` of its spec, with the cached
    features where the run keeps them.

    Raises what `predict_memory` raises.
    """
    settings = {**started.spec, **_NO_BYTE, "device": started.device.partition(":")[0]}
    return dict(_prediction(json.dumps(settings, sort_keys=True), json.dumps(started.settings["features"])))


def predicted(settings: Mapping[str, Any]) -> dict[str, int]:
    """The same before a run begins, of its settings. Raises what `predict_memory` raises."""
    report = predict_memory(RunSpec.from_dict(dict(settings)))
    return {"peak": report.peak, **report.components}


@lru_cache(maxsize=64)
def _prediction(settings: str, plan: str) -> dict[str, int]:
    report = predict_memory(RunSpec.from_json(settings), plan=CachePlan(**json.loads(plan)))
    return {"peak": report.peak, **report.components}
