"""What happens inside a worker process: one run, told in batches of events."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

from . import errors, events

FLUSH_SECONDS = 0.08  # a run of thousands of short steps is told in about twelve batches a second
BATCHED = ("step", "progress")  # everything else is told at once
ARTIFACTS = {"checkpoint": "checkpoint", "finished": "adapter"}  # the name under which an event's blob is kept

# (process id, events as JSON objects, artifacts by name)
Batch = tuple[int, list[dict[str, Any]], dict[str, bytes]]


def finetune(settings: dict[str, Any], resume: bytes | None) -> Iterator[events.Event]:
    """What the engine runs: `peftcore.finetune` of a RunSpec's dict, from a checkpoint where there is one."""
    from .spec import RunSpec
    from .train import finetune as run

    yield from run(RunSpec.from_dict(settings), resume=resume)


def warm_up(settings: dict[str, Any], resume: bytes | None) -> Iterator[events.Event]:
    """The first step of a small fine-tune, so that the next run here finds torch, timm and the task loaded."""
    with contextlib.closing(finetune(settings, resume)) as told:
        for event in told:
            if event.kind == "step":
                break
    yield from ()


def work(function: str, settings: dict[str, Any], resume: bytes | None, cpus: int) -> Iterator[Batch]:
    """Runs `function` ('module:name') on the settings and yields what it tells, an empty batch first.

    An error becomes a last event 'failed'; only a cancellation leaves this generator as an exception.
    """
    pid = os.getpid()
    yield pid, [], {}
    _use_threads(cpus)
    batch: list[dict[str, Any]] = []
    flushed = 0.0
    try:
        module, _, name = function.partition(":")
        with contextlib.closing(getattr(importlib.import_module(module), name)(settings, resume)) as told:
            for event in told:
                batch.append(event.to_dict())
                blob = getattr(event, "blob", None)
                now = time.monotonic()
                if event.kind not in BATCHED or now - flushed >= FLUSH_SECONDS:
                    yield pid, batch, {} if blob is None else {ARTIFACTS[event.kind]: blob}
                    batch, flushed = [], now
        if batch:
            yield pid, batch, {}
    except Exception as error:
        failed, artifacts = _failed(error)
        yield pid, [*batch, failed.to_dict()], artifacts


def _failed(error: Exception) -> tuple[events.Failed, dict[str, bytes]]:
    """The event, and for an error that nobody foresaw its traceback as well."""
    kind = type(error).__name__
    if isinstance(error, errors.HeadroomError):
        return events.Failed(kind, str(error)), {}
    trace = {"traceback": traceback.format_exc().encode()}
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":
        message = f"The run needs more memory than this machine has ({error}). Take a smaller batch or a side method."
        return events.Failed("OutOfMemory", message), trace
    told = str(error).strip().rstrip(".")
    what = f"{kind}: {told}" if told else kind
    message = f"The run ended with an unexpected {what}. Its traceback is kept with the run."
    return events.Failed(kind, message), trace


def _use_threads(cpus: int) -> None:
    """As many threads as CPUs are reserved, whether torch is imported already or later."""
    os.environ["OMP_NUM_THREADS"] = str(cpus)
    # Threads that wait must not spin: beside the page and other runs that made two threads twice as slow (measured).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(cpus)
