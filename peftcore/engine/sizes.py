"""The memory that runs will take, known before they begin: as their card predicted it, or predicted in a worker of Ray.

A run asks Ray for this much, so one that does not fit now waits, and one that never fits is refused with the numbers.
One whose prediction comes to no end is refused as well: nobody knows what it would do to the others. A prediction for
which no run waits any more is dropped.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peftcore import errors
from peftcore.backbone import embedded
from peftcore.store import Store
from peftcore.uploads.limits import size

log = logging.getLogger(__name__)

ARTIFACT = "predicted"  # of a run: bytes by component, and `peak`
EACH_ITS_OWN = ("trainable_weights", "gradients", "optimizer", "activations")  # of runs in one process; the rest is
# there once
NO_BYTE = ("seed", "lr", "weight_decay", "warmup", "clip", "epochs", "label_smoothing")  # settings that change no byte
PROCESS_BYTES = 500_000_000  # what a worker holds before a run begins: Python, PyTorch, timm, a task
LONGEST = 180.0  # seconds for a prediction, after which the run is refused
LOOK_SECONDS = 0.2
MOST_DEATHS = 3  # of processes over one prediction, after which it counts as one that nobody can make
MOST_KEPT = 512


@dataclass
class Wanted:
    """A prediction to be made, and who waits for it."""

    settings: Mapping[str, Any]
    runs: set[int] = field(default_factory=set)


class Sizes:
    """Args:
    predict: begins a prediction in Ray and returns its reference; called in a thread of this class.
    known: called when one is there.
    """

    def __init__(self, store: Store, predict: Callable[[Mapping[str, Any]], Any], known: Callable[[], None]):
        self.store, self._predict, self._known = store, predict, known
        self._kept: OrderedDict[str, dict[str, int] | None] = OrderedDict()  # by what decides it; see `_found`
        self._deaths: Counter[str] = Counter()  # of processes that predicted
        # Two at a time, each in a process of 300 MB: so no small run waits behind the predictions of large ones.
        self._lanes: dict[bool, OrderedDict[str, Wanted]] = {True: OrderedDict(), False: OrderedDict()}
        self._served: set[bool] = set()  # lanes that have a thread
        self._lock = threading.Lock()

    def of(self, runs: Sequence[int], settings: Sequence[Mapping[str, Any]]) -> dict[str, int] | None:
        """Bytes by component, and `peak`, of runs that begin together; {} where they cannot be predicted, None where
        they are not predicted yet, which begins now.

        Raises:
            OutOfMemory: the prediction came to no end. It is made anew for a run that is resumed.
        """
        found = [self._one(run, one) for run, one in zip(runs, settings, strict=True)]
        each = [one for one in found if one]
        if len([one for one in found if one is not None]) < len(found):
            return None
        return together(each) if each else {}

    def _one(self, run: int, settings: Mapping[str, Any]) -> dict[str, int] | None:
        if blob := self.store.get_artifact(run, ARTIFACT):
            return json.loads(blob)
        key = _key(settings)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                if (found := self._kept[key]) is None:
                    del self._kept[key]
                    raise errors.OutOfMemory(
                        f"What this takes of the memory could not be predicted within {LONGEST:g} seconds, and nobody "
                        "knows whether it fits, so it is not begun. Take a smaller backbone or a smaller image, or "
                        "resume it when the machine is less busy."
                    )
            else:
                waiting = self._lanes[lane := settings.get("backbone") in embedded.names()]
                waiting.setdefault(key, Wanted(settings)).runs.add(run)
                if lane not in self._served:
                    self._served.add(lane)
                    threading.Thread(target=self._serve, args=(lane,), name="headroom-sizes", daemon=True).start()
                return None
        if found:
            self.store.put_artifact(run, ARTIFACT, json.dumps(found).encode())
        return found

    def _serve(self, lane: bool) -> None:
        """Predicts what waits in a lane, one after the other: of small backbones, those that come with Headroom, or of
        others."""
        while True:
            with self._lock:
                if not (waiting := self._lanes[lane]):
                    self._served.remove(lane)
                    return
                key, wanted = next(iter(waiting.items()))
            known, found = self._found(key, wanted)
            with self._lock:
                del waiting[key]  # who waits still asks again
                if known:
                    self._kept[key] = found
                while len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
            self._known()

    def _waits(self, wanted: Wanted) -> bool:
        return any(self.store.run(run).status == "queued" for run in set(wanted.runs))

    def _found(self, key: str, wanted: Wanted) -> tuple[bool, dict[str, int] | None]:
        """Whether it was found out, and bytes by component, and `peak`; {} where they cannot be predicted, None where
        it came to no end."""
        import ray

        try:
            began, job = time.monotonic(), self._predict(wanted.settings)
            while time.monotonic() - began < LONGEST:
                if ray.wait([job], timeout=LOOK_SECONDS)[0]:
                    return True, dict(ray.get(job))
                if not self._waits(wanted):
                    ray.cancel(job, force=True)
                    return False, None
            ray.cancel(job, force=True)
            log.warning("the memory of a run was not predicted in %g seconds", LONGEST)
            return True, None
        except ray.exceptions.RayTaskError as error:  # the prediction's own: the run will say what is wrong
            log.warning("the memory of a run cannot be predicted: %s", str(error).splitlines()[-1:])
            return True, {}
        except (Exception, SystemExit) as error:  # its process was killed, or Ray has ended
            log.warning("the prediction of a run's memory was lost: %s", str(error).splitlines()[-1:])
            if isinstance(error, (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)):
                self._deaths[key] += 1
            time.sleep(LOOK_SECONDS)
            return self._deaths[key] >= MOST_DEATHS, {}


def together(each: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Bytes by component, and `peak`, of runs that work in one process: frozen weights and cached features are there
    once, what trains is there for each."""
    if len(each) == 1:
        return dict(each[0])
    names = dict.fromkeys(name for one in each for name in one if name != "peak")
    parts = {name: (sum if name in EACH_ITS_OWN else max)([one.get(name, 0) for one in each]) for name in names}
    return parts | {"peak": sum(parts.values())}


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in settings.items() if name not in NO_BYTE}, sort_keys=True)


def refusal(need: int, peak: int, there: int, what: str) -> errors.OutOfMemory | None:
    """Why a run never fits; None where it fits.

    Args:
        need: bytes that it takes. peak: of a training step, as predicted. there: bytes that `what` has for runs.
    """
    if need <= there:
        return None
    return errors.OutOfMemory(
        f"This is predicted to take {size(need)} (a training step {size(peak)}, the rest its process), and {what} "
        f"{size(there)} for runs: it would end for lack of memory, so it is not begun. Take a smaller batch, a smaller "
        "image or a smaller backbone, or a side method with cached features."
    )
