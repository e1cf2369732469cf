"""A run's own prediction, recorded beside what the run measured."""

from __future__ import annotations

import dataclasses
import json
import logging
from functools import lru_cache

from peftcore.events import Event, Finished, Started
from peftcore.features.plan import CachePlan
from peftcore.memory.predict import predict_memory
from peftcore.spec import RunSpec

log = logging.getLogger(__name__)

_NO_BYTE = {"seed": 0, "lr": 1e-3}  # settings that change no byte: a race asks the same for many of them


class WithPrediction:
    """Adds to a run's last event what was predicted for it: `memory["predicted"]`, bytes by component and `peak`.

    It costs about half a second, once, after the last step. A run that cannot be predicted has no such entry; the
    log says why.
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
        except Exception:  # whatever it is: a run that has come to its end is not lost for it
            log.exception("no prediction for a run of %s", self.started.spec["method"]["name"])
            return event
        return dataclasses.replace(event, memory={**event.memory, "predicted": predicted})


def predicted_for(started: Started) -> dict[str, int]:
    """Bytes by component at the peak of a step of this run, and `peak`: what `predict_memory` says of its spec, with the
    cached features where the run keeps them.

    Raises what `predict_memory` raises.
    """
    settings = {**started.spec, **_NO_BYTE, "device": started.device.partition(":")[0]}
    return dict(_prediction(json.dumps(settings, sort_keys=True), json.dumps(started.settings["features"])))


@lru_cache(maxsize=64)
def _prediction(settings: str, plan: str) -> dict[str, int]:
    report = predict_memory(RunSpec.from_json(settings), plan=CachePlan(**json.loads(plan)))
    return {"peak": report.peak, **report.components}
