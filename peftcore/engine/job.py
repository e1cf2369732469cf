"""One task in Ray, a run or several of a race: its stream is written into the store until it ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from peftcore import errors, events
from peftcore.engine.caps import variable
from peftcore.engine.group import Group
from peftcore.engine.worker import ENDS
from peftcore.store import WAITING, Store, custody

log = logging.getLogger(__name__)

# Fields of the event 'finished' that lists of runs show.
SUMMARY = ("test_accuracy", "val_accuracy", "seconds", "memory", "selected_epoch")
GRACE_SECONDS = 3.0  # from the polite request to stop to the end of the process
LOOK_UP_SECONDS = 0.5  # how often a follower looks whether it has to leave
MINUTE = 60.0
TRY_AGAIN_SECONDS = 5.0  # after the store refused to note how a run ended


class Left(Exception):
    """The run is left as it stands in the store: Ray ends, or another engine holds the run now."""


class Job:
    """A run in Ray, queued or running, or several that one process works on together; followed by a thread of its own.

    Args:
        runs: the numbers of the runs, in the order in which the stream counts them.
        stream: the Ray generator of `worker.work`, or of `worker.work_together` in the group `name`, '' for one run.
        engine: the id of the engine that holds the runs; nothing is written of a run that another one holds.
        leave: set when Ray ends, with the app or before it; the follower then lets go of the runs.
        ended: called in the follower's thread when a run has ended, or is queued again.
        owner: whose runs they are.
        need: bytes of memory that they ask for.
        minutes: that they may work in one turn; None for as long as they take.
    """

    def __init__(
        self,
        store: Store,
        runs: Sequence[int],
        stream: Any,
        engine: str,
        leave: threading.Event,
        ended: Callable[[Job, int], None],
        name: str = "",
        owner: str = "",
        need: int = 0,
        minutes: int | None = None,
    ):
        self.store, self.runs, self.stream = store, tuple(runs), stream
        self.group, self.owner, self.need = Group(name), owner, need
        self.minutes, self.began = minutes, 0.0  # when it began, on the monotonic clock
        self.late = False  # it worked for as long as it may
        self.passed = 0  # turns that were handed over later, while these runs waited for memory
        self.engine, self.leave, self.ended = engine, leave, ended
        self.live = list(runs)  # runs that have not ended
        self.again: list[int] = []  # runs that were lost with the process and are queued again
        self.unwanted: set[int] = set()  # runs that are to be stopped
        self.stopping = False  # all of them are to be stopped
        self.over = threading.Event()  # the stream has come to its end
        self.crashed = False  # its worker process is gone
        self.pid: int | None = None  # of the worker, once it began
        self.steps: dict[int, int] = {}  # the last step of each run

    def start(self) -> None:
        name = "-".join(str(run) for run in (self.runs[0], self.runs[-1])[: len(self.runs)])
        threading.Thread(target=self._follow, name=f"headroom-run-{name}", daemon=True).start()

    def stop(self, runs: Iterable[int]) -> None:
        """Interrupts runs. All of them: their generator is closed, and their process stays if it listens.

        Only some of them: the process is asked to leave them out, and any later events of theirs are dropped.
        """
        unwanted = self.unwanted | set(runs)
        if unwanted >= set(self.live):
            self._interrupt()
        else:
            self.group.stop([self.runs.index(run) for run in unwanted])
        self.unwanted = unwanted

    def _interrupt(self, force: bool = False) -> None:
        import ray

        self.stopping = True
        ray.cancel(self.stream, force=force)
        if not force:
            threading.Thread(target=self._insist, daemon=True).start()

    def _insist(self) -> None:
        """Ends the process where the stream does not end in time."""
        if not self.over.wait(GRACE_SECONDS) and not self.leave.is_set():
            self._interrupt(force=True)

    def _follow(self) -> None:
        try:
            try:
                trouble = self._read_all()
            finally:
                self.over.set()  # also lets go of the job, and with it of the group's actor
            for run in list(self.live):
                self._note_end(run, *self._what_happened(run, trouble), lost=self._is_lost(trouble))
            for run in self.again:
                self.live.remove(run)
                self.ended(self, run)
        except Left:
            pass
        except Exception:
            log.exception("runs %s are no longer followed", self.live)
        for run in list(self.live):  # the engine will find them without a process, and queue them again
            self.ended(self, run)

    def _read_all(self) -> Exception | None:
        """Follows the stream to its end, and returns what broke it."""
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError

        try:
            self._write_all()
        except Left:
            raise
        except SystemExit:  # Ray raises it in a thread once Ray itself is gone; the engine will see it and start anew
            raise Left from None
        except Exception as trouble:
            if self.leave.is_set():
                raise Left from trouble
            if isinstance(trouble, RayError):
                self.crashed = not isinstance(trouble, (TaskCancelledError, RayTaskError))
            else:  # its events can no longer be kept
                log.error("runs %s are stopped: %r", self.live, trouble)
                self._interrupt(force=True)
            return trouble
        return None

    def _write_all(self) -> None:
        """Writes batches until the stream ends, and the end of each run as soon as it comes."""
        import ray

        while True:
            # Waits in short turns, so that no thread is inside Ray when Ray is shut down.
            ready, _ = ray.wait([self.stream], timeout=LOOK_UP_SECONDS)
            if self.leave.is_set():
                raise Left
            self._let_go()
            self._end_turn()
            if not ready:
                continue
            try:
                pid, batch = ray.get(next(self.stream))
            except StopIteration:
                return
            if self.pid is None:
                self._begin(pid)
            for which, (new, artifacts) in batch.items():
                if self.runs[which] in self.live:
                    self._write(self.runs[which], new, artifacts)

    def _let_go(self) -> None:
        """Ends the stopped runs of several, whatever the process that works on them still does."""
        if self.stopping:
            return
        for run in self.unwanted.intersection(self.live):
            self._note_end(run, "cancelled", None)
        if self.unwanted and not self.live:  # nothing is left for it to do
            self._interrupt()

    def _end_turn(self) -> None:
        """Interrupts what has worked for as long as it may, so that it holds no slot from everybody else."""
        if self.minutes is None or self.pid is None or self.stopping:
            return
        if time.monotonic() - self.began > self.minutes * MINUTE:
            self.late = True
            self._interrupt()

    def _begin(self, pid: int) -> None:
        self.pid, self.began = pid, time.monotonic()
        for run in self.live:
            if not self.store.set_status(run, "running", only_from=("queued",), held_by=self.engine):
                self.stop([run])

    def _write(self, run: int, new: list[dict[str, Any]], artifacts: dict[str, bytes]) -> None:
        if not self.store.append(run, new, artifacts, held_by=self.engine):
            log.error("run %s is held by another engine now", run)
            self.stop([run])
            return
        last = new[-1]
        if "step" in last:
            self.steps[run] = last["step"]
        if last["kind"] == "finished":
            self._note_end(run, "finished", None, {name: last[name] for name in SUMMARY if name in last})
        elif last["kind"] in ENDS:
            self._note_end(run, last["kind"], last.get("message"))

    def _what_happened(self, run: int, trouble: Exception | None) -> tuple[str, str | None]:
        """Status and sentence for a run that ended without an event; `trouble`: what broke the stream."""
        from ray import exceptions

        if isinstance(trouble, errors.StoreUnavailable):
            return "failed", str(trouble)
        if trouble and not isinstance(trouble, exceptions.RayError):
            return "failed", f"The run's events could not be kept ({type(trouble).__name__}: {trouble})."
        if self.late and run not in self.unwanted:
            return "interrupted", (
                f"It worked for {self.minutes} minutes, as long as a turn may take here ({variable('minutes')}). "
                "Resume it to go on from its last checkpoint, or from the start where it has none."
            )
        if self.stopping or isinstance(trouble, exceptions.TaskCancelledError):
            return "cancelled", None
        if trouble is None:
            return "failed", "The run ended without a result. Resume it to run it again."
        where = f" after step {self.steps[run]}" if run in self.steps else " before its first step"
        again = (
            f"It came no further in {custody.MOST_LOSSES} tries. Resume it to go on from its last checkpoint, or from "
            "the start where it has none."
        )
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
            self.store.put_artifact(run, "traceback", str(trouble).encode())
            return "failed", f"The run could not begin: {trouble.cause}. Its traceback is kept with the run."
        return "failed", f"Ray lost the run{where} ({type(trouble).__name__}: {str(trouble).splitlines()[0]}). {again}"

    def _is_lost(self, trouble: Exception | None) -> bool:
        """Whether the process is gone and another one may do better."""
        from ray import exceptions

        return self.crashed and not self.stopping and not isinstance(trouble, exceptions.OutOfMemoryError)

    def _note_end(
        self, run: int, status: str, error: str | None, summary: dict[str, Any] | None = None, lost: bool = False
    ) -> None:
        """Writes the end, or queues a run again that was `lost`; where the store refuses (a full disk), tries again
        until it is written."""
        while True:
            try:
                if lost and custody.lost(self.store, run, self.engine, self.engine):
                    self.again.append(run)
                    return
                if lost and self.store.run(run).stop_wanted:
                    status, error = "cancelled", None
                if self.store.set_status(
                    run, status, error=error, summary=summary, only_from=WAITING, held_by=self.engine
                ):
                    end = self.store.events(run, kinds=ENDS)
                    if status == "finished":
                        self.store.delete_artifact(run, "checkpoint")  # nobody resumes what is finished
                    elif status == "cancelled" and not end:
                        self.store.append(run, [events.Cancelled().to_dict()])
                    elif status == "failed" and not end:
                        self.store.append(run, [events.Failed("WorkerLost", error or "").to_dict()])
                break
            except errors.StoreUnavailable:
                if self.leave.wait(TRY_AGAIN_SECONDS):
                    break
        self.live.remove(run)
        self.ended(self, run)
