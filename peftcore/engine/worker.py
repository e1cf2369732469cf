"""What happens inside a worker process: a run, or several that share a forward, as batches of events."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Collection, Generator
from typing import Any

from peftcore import errors, events
from peftcore.engine.group import stopped

FLUSH_SECONDS = 0.08  # a run of thousands of short steps sends about twelve batches a second
ASK_SECONDS = 0.5  # how often a group checks whether one of its runs is to stop
BATCHED = ("step", "progress", "download")  # everything else is sent at once
ENDS = ("finished", "failed", "cancelled")  # kinds of a last event, and the statuses they lead to
ARTIFACTS = {"checkpoint": "checkpoint", "finished": "adapter"}  # the name under which an event's blob is kept

# (process id, {which of the runs: (events as JSON objects, artifacts by name)})
Batch = tuple[int, dict[int, tuple[list[dict[str, Any]], dict[str, bytes]]]]
Numbered = Generator[tuple[int, events.Event]]  # which of the runs, and its event


def finetune(settings: dict[str, Any], resume: bytes | None) -> Generator[events.Event]:
    """What the engine runs: `peftcore.finetune` of a RunSpec's dict, from a checkpoint where there is one."""
    from peftcore.engine.prediction import WithPrediction
    from peftcore.spec import RunSpec
    from peftcore.train.loop import finetune as run

    with contextlib.closing(run(RunSpec.from_dict(settings), resume=resume)) as stream:
        yield from map(WithPrediction(), stream)


def race(
    settings: list[dict[str, Any]], resume: list[bytes | None], left_out: Callable[[], Collection[int]]
) -> Numbered:
    """What the engine runs for variations that share a frozen forward: `peftcore.race_events` of their RunSpecs."""
    from peftcore.engine.prediction import WithPrediction
    from peftcore.spec import RunSpec
    from peftcore.train.race import race_events

    predicting = [WithPrediction() for _ in settings]
    specs = [RunSpec.from_dict(one) for one in settings]
    with contextlib.closing(race_events(specs, resume=resume, left_out=left_out)) as stream:
        for which, event in stream:
            yield which, predicting[which](event)


def predict(settings: dict[str, Any]) -> dict[str, int]:
    """Bytes of a step of a RunSpec's dict, by component, and `peak`. Raises what `predict_memory` raises."""
    from peftcore.engine.prediction import predicted

    return predicted(settings)


def warm_up(settings: dict[str, Any], resume: bytes | None) -> Generator[events.Event]:
    """The first step of a small fine-tune, so that the next run here finds torch, timm and the task loaded."""
    with contextlib.closing(finetune(settings, resume)) as stream:
        for event in stream:
            if event.kind == "step":
                break
    yield from ()


def work(function: str, settings: dict[str, Any], resume: bytes | None, cpus: int) -> Generator[Batch]:
    """Runs `function` ('module:name') on the settings and yields its events in batches, an empty one first.

    An error becomes a last event 'failed'; only a cancellation leaves this generator as an exception.
    """

    def alone() -> Numbered:
        with contextlib.closing(_named(function)(settings, resume)) as stream:
            for event in stream:
                yield 0, event

    yield from _batches(alone, 1, cpus)


def work_together(
    function: str, settings: list[dict[str, Any]], resume: list[bytes | None], group: str, cpus: int
) -> Generator[Batch]:
    """Several runs in one process, as `work` does one. `group`: the name under which runs are asked to stop."""
    yield from _batches(lambda: _named(function)(settings, resume, _LeftOut(group)), len(settings), cpus)


def artifacts_of(event: events.Event) -> dict[str, bytes]:
    """What is kept of an event beside its JSON, by name."""
    found = {}
    if (blob := getattr(event, "blob", None)) is not None:
        found[ARTIFACTS[event.kind]] = blob
    if (predictions := getattr(event, "predictions", None)) is not None:
        from peftcore.store import results

        found[results.ARTIFACT] = results.pack(predictions)
    return found


def _named(function: str) -> Callable:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def _batches(begin: Callable[[], Numbered], runs: int, cpus: int) -> Generator[Batch]:
    pid = os.getpid()
    yield pid, {}
    _use_threads(cpus)
    batch: dict[int, tuple[list, dict]] = {}
    ended: set[int] = set()
    flushed = 0.0
    try:
        with contextlib.closing(begin()) as stream:
            for which, event in stream:
                happened, artifacts = batch.setdefault(which, ([], {}))
                happened.append(event.to_dict())
                artifacts |= artifacts_of(event)
                if event.kind in ENDS:
                    ended.add(which)
                now = time.monotonic()
                if event.kind not in BATCHED or now - flushed >= FLUSH_SECONDS:
                    yield pid, batch
                    batch, flushed = {}, now
        if batch:
            yield pid, batch
    except Exception as error:
        failed, traces = _failed(error)
        for which in set(range(runs)) - ended:
            happened, artifacts = batch.setdefault(which, ([], {}))
            happened.append(failed.to_dict())
            artifacts |= traces
        yield pid, batch


class _LeftOut:
    """Which runs of a group are to go no further; the engine is asked now and then."""

    def __init__(self, group: str):
        self.group, self.stopped, self.asked = group, frozenset[int](), time.monotonic()

    def __call__(self) -> frozenset[int]:
        if time.monotonic() - self.asked >= ASK_SECONDS:
            self.stopped, self.asked = stopped(self.group), time.monotonic()
        return self.stopped


def _failed(error: Exception) -> tuple[events.Failed, dict[str, bytes]]:
    """The event, and the traceback of an unexpected error."""
    kind = type(error).__name__
    if isinstance(error, errors.HeadroomError):
        misses = isinstance(error, errors.BadData | errors.DataUnavailable)
        return events.Failed(kind, str(error) + (_machine() if misses else "")), {}
    trace = {"traceback": traceback.format_exc().encode()}
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":
        message = f"The run needs more memory than this machine has ({error}). Take a smaller batch or a side method."
        return events.Failed("OutOfMemory", message), trace
    text = str(error).strip().rstrip(".")
    what = f"{kind}: {text}" if text else kind
    message = f"The run ended with an unexpected {what}. Its traceback is kept with the run."
    return events.Failed(kind, message), trace


def _machine() -> str:
    """Which machine of a cluster says so, for what may be there on another one; '' where there is one machine."""
    import ray

    if not ray.is_initialized() or sum(node["Alive"] for node in ray.nodes()) < 2:
        return ""
    return (
        f" So it is on {socket.gethostname()}, a machine of this cluster; what runs read must be on each of them under "
        "the same path."
    )


def _use_threads(cpus: int) -> None:
    """As many threads as CPUs are reserved, whether torch is imported already or later."""
    os.environ["OMP_NUM_THREADS"] = str(cpus)
    # Threads that wait must not spin: beside the page and other runs that made two threads twice as slow (measured).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(cpus)
