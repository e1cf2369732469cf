"""One run that Ray holds: its stream is followed into the store until it ends, however it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from . import errors, events
from .store import WAITING, Store

log = logging.getLogger(__name__)

ENDS = ("finished", "failed", "cancelled")  # kinds of a last event, and the statuses that they lead to
SUMMARY = ("test_accuracy", "val_accuracy", "seconds", "memory")  # of the event 'finished', for lists of runs
LOOK_UP_SECONDS = 0.5  # how often a follower looks whether it has to leave
TRY_AGAIN_SECONDS = 5.0  # after the store refused to note how a run ended


class Left(Exception):
    """Ray ends: the run is left as it stands in the store, for the next Ray to resume."""


class Job:
    """A run in Ray, queued or running, followed by a thread of its own.

    Args:
        stream: the Ray generator of `worker.work`.
        leave: set when Ray ends, with the app or before; the follower then lets go of the run.
        ended: called in the follower's thread at the very end.
    """

    def __init__(self, store: Store, run: int, stream: Any, leave: threading.Event, ended: Callable[[Job], None]):
        self.store, self.run, self.stream = store, run, stream
        self.leave, self.ended = leave, ended
        self.stopping = False  # somebody asked for its end
        self.crashed = False  # its worker process is gone
        self.pid: int | None = None  # of the worker, once it began
        self.told: int | None = None  # the last step of which it told

    def start(self) -> None:
        threading.Thread(target=self._follow, name=f"headroom-run-{self.run}", daemon=True).start()

    def stop(self, force: bool = False) -> None:
        """Interrupts the run, which closes its generator and keeps its process; `force` ends the process."""
        import ray

        self.stopping = True
        ray.cancel(self.stream, force=force)

    def _follow(self) -> None:
        try:
            self._note_end(*self._outcome())
        except Left:
            pass
        finally:
            self.ended(self)

    def _outcome(self) -> tuple[str, str | None]:
        """Follows the run to its end; the status to which it came, and the error."""
        try:
            return self._write_all()
        except errors.StoreUnavailable as trouble:  # what is told can no longer be kept
            log.error("run %s is stopped: %s", self.run, trouble)
            self.stop(force=True)
            return "failed", str(trouble)
        except Left:
            raise
        except SystemExit:  # so Ray tells a thread that Ray itself is gone; the engine will see it and start anew
            raise Left from None
        except Exception as trouble:
            return self._what_happened(trouble)

    def _write_all(self) -> tuple[str, str | None]:
        """Writes batches until the stream ends; returns the status to which its last event leads, and the error."""
        import ray

        last: dict[str, Any] = {}
        while True:
            # Waiting in short turns, so that no thread is inside Ray when Ray is shut down.
            ready, _ = ray.wait([self.stream], timeout=LOOK_UP_SECONDS)
            if self.leave.is_set():
                raise Left
            if not ready:
                continue
            try:
                pid, batch, artifacts = ray.get(next(self.stream))
            except StopIteration:
                break
            if self.pid is None:
                self.pid = pid
                if not self.store.set_status(self.run, "running", only_from=("queued",)):
                    self.stop()
            if batch:
                self.store.append(self.run, batch, artifacts)
                last = batch[-1]
                self.told = last.get("step", self.told)
        if last.get("kind") == "finished":
            summary = {name: last[name] for name in SUMMARY if name in last}
            self.store.set_status(self.run, "finished", summary=summary, only_from=WAITING)
            self.store.delete_artifact(self.run, "checkpoint")  # nobody resumes what is finished
            return "finished", None
        if last.get("kind") == "failed":
            return "failed", last["message"]
        if self.stopping or last.get("kind") == "cancelled":
            return "cancelled", None
        return "failed", "The run ended without a result. Resume it to run it again."

    def _what_happened(self, trouble: Exception) -> tuple[str, str | None]:
        """Status and sentence for what Ray says about a stream that broke."""
        from ray import exceptions

        if self.leave.is_set():
            raise Left from trouble
        if not isinstance(trouble, exceptions.RayError):
            log.exception("run %s cannot be followed", self.run)
            self.stop(force=True)
            return "failed", f"What the run told could not be kept ({type(trouble).__name__}: {trouble})."
        self.crashed = not isinstance(trouble, (exceptions.TaskCancelledError, exceptions.RayTaskError))
        if self.stopping or isinstance(trouble, exceptions.TaskCancelledError):
            return "cancelled", None
        where = " before it told of a step" if self.told is None else f" after step {self.told}"
        again = "Resume it to go on from its last checkpoint, or to begin again where it has none."
        if isinstance(trouble, exceptions.OutOfMemoryError):
            return "failed", (
                f"The machine ran out of memory{where} and the run's process was ended to save the rest. "
                "Take a smaller batch or a side method, or wait until other runs have ended."
            )
        if isinstance(trouble, exceptions.WorkerCrashedError):
            return "failed", (
                f"The run's process ({self.pid or 'not yet begun'}) was ended from outside or crashed{where}; "
                f"the system does that when memory runs out. {again}"
            )
        if isinstance(trouble, exceptions.RayTaskError):
            self.store.put_artifact(self.run, "traceback", str(trouble).encode())
            return "failed", f"The run could not begin: {trouble.cause}. Its traceback is kept with the run."
        return "failed", f"Ray lost the run{where} ({type(trouble).__name__}: {str(trouble).splitlines()[0]}). {again}"

    def _note_end(self, status: str, error: str | None) -> None:
        """Writes the end, and where the store refuses (a full disk) tries again until it can be written."""
        while True:
            try:
                if self.store.set_status(self.run, status, error=error, only_from=WAITING):
                    end = self.store.events(self.run, kinds=ENDS)
                    if status == "cancelled":
                        self.store.append(self.run, [events.Cancelled().to_dict()])
                    elif status == "failed" and not end:
                        self.store.append(self.run, [events.Failed("WorkerLost", error or "").to_dict()])
                return
            except errors.StoreUnavailable:
                if self.leave.wait(TRY_AGAIN_SECONDS):
                    return
