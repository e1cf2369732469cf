"""Runs on Ray: queue, follow, cancel, crash, resume. Ray keeps the queue; the store keeps all that was told."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from . import cluster, errors, events
from .job import Job
from .lease import Lease
from .store import WAITING, RunRecord, Store

log = logging.getLogger(__name__)

FINETUNE = "peftcore.worker:finetune"
GRACE_SECONDS = 3.0  # from the polite request to stop to the end of the process
MOST_ATTEMPTS = 3  # a run whose app ended this often is not begun again by itself
POLL_SECONDS = 1.0  # how often requests of other processes are looked for


class Engine:
    """Runs specs on Ray and writes what they tell into the store. Its methods return at once, in any thread.

    One long-lived thread starts Ray and everything in it, and one thread follows each run: neither a page nor the
    thread that submitted a run is needed for it to go on.

    Args:
        address: a Ray cluster; by default the one that RAY_ADDRESS names, else a Ray of our own on this machine.
        num_cpus: CPUs of a Ray of our own; by default all that this process may use.
        cpus_per_run: CPUs and threads of each run; by default HEADROOM_CPUS_PER_RUN, else all, at most 4.
        runs_per_gpu: how many runs share one GPU, where there is one.
        function: 'module:name' of what a run is, called as name(settings, resume) and yielding events.
    """

    def __init__(
        self,
        store: Store,
        *,
        address: str | None = None,
        num_cpus: int | None = None,
        cpus_per_run: int | None = None,
        runs_per_gpu: int = 2,
        function: str = FINETUNE,
    ):
        self.store = store
        self.address = address or os.environ.get("RAY_ADDRESS") or None
        self.num_cpus = num_cpus
        self.cpus_per_run = cpus_per_run or int(os.environ.get("HEADROOM_CPUS_PER_RUN", 0))
        self.runs_per_gpu = runs_per_gpu
        self.function = function
        self._workers: cluster.Workers | None = None
        self._owns_ray = False
        self._reason: str | None = None
        self._ready = threading.Event()  # Ray is there, or never will be
        self._closing = threading.Event()
        self._leave = threading.Event()  # followers let go of their runs, because Ray ends
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}
        self._lock = threading.RLock()  # of _jobs and of what is decided by looking at it
        self._thread: threading.Thread | None = None
        self._leases = store.folder / "engines"
        self._lease = Lease(self._leases)

    def start(self) -> Engine:
        """Begins to start Ray in the background; runs may be submitted already."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="headroom-engine", daemon=True)
                self._thread.start()
        return self

    @property
    def state(self) -> str:
        """'starting', 'ready', or 'failed: ' and the reason."""
        if self._reason:
            return f"failed: {self._reason}"
        return "ready" if self._ready.is_set() else "starting"

    @property
    def slots(self) -> int:
        """How many runs work at once; 0 as long as Ray is not there."""
        return self._workers.slots if self._workers else 0

    def wait_ready(self, seconds: float | None = None) -> bool:
        """Waits until Ray takes runs; False where it does not, or not within this time."""
        return self._ready.wait(seconds) and self._reason is None

    def shutdown(self) -> None:
        """Ends Ray with every run in it, and waits until it is done; the next engine on this store resumes them."""
        self._closing.set()
        self._leave.set()
        self._commands.put(lambda: None)
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(30)
        self._lease.release()

    def submit(self, spec: Any, owner: str = "", title: str = "") -> int:
        """Queues a RunSpec, or the settings of one, and returns the run's number."""
        settings = dict(spec) if isinstance(spec, Mapping) else spec.to_dict()
        run = self.store.create_run(settings, owner=owner, title=title, engine=self._lease.id)
        self._commands.put(lambda: self._launch(run))
        return run

    def cancel(self, run: int) -> bool:
        """Stops a run, queued or running, whichever process holds it; False where it has ended already."""
        if not self.store.want_stop(run):
            return False
        with self._lock:
            if run not in self._jobs:  # Ray has not got it yet
                self._note_cancelled(run, only_from=("queued",), held_by=self._lease.id)
        self._commands.put(self._stop_wanted)
        return True

    def resume(self, run: int) -> None:
        """Queues a run that stopped before its end again, from its last checkpoint where it has one."""
        status = self.store.run(run).status
        if status not in ("interrupted", "failed", "cancelled") or not self._requeue(run, status):
            raise errors.InvalidSetting(f"Run {run} is {status}; only one that stopped before its end can go on.")

    def queue(self) -> list[int]:
        """The queued runs, the next one first."""
        return self.store.waiting()

    def ahead(self, run: int) -> int:
        """How many queued runs will begin before this one; 0 for one that does not wait."""
        waiting = self.store.waiting()
        return waiting.index(run) if run in waiting else 0

    def recover(self) -> None:
        """Takes over runs whose app has died: queued ones and those with a checkpoint go on, others are interrupted.

        Several engines may share a store. Each holds a lease, and of two that find one orphan one gets it.
        """
        orphans = [record for record in self.store.runs(status=WAITING) if not self._held(record)]
        for record in sorted(orphans, key=lambda record: (record.queued, record.id)):
            if record.stop_wanted:
                self._note_cancelled(record.id, held_by=record.engine)
            elif record.status == "queued" or (self._checkpoint(record.id) and record.attempts < MOST_ATTEMPTS):
                self._requeue(record.id, record.status, held_by=record.engine)
            else:
                self.store.set_status(
                    record.id,
                    "interrupted",
                    error="The app or its Ray ended while this run was working. Resume it to run it again.",
                    only_from=("running",),
                    held_by=record.engine,
                )

    # In the engine's own thread

    def _live(self) -> None:
        while not self._closing.is_set():
            self._begin()
            self._ready.set()
            self._serve()
            self._end()

    def _begin(self) -> None:
        self._leave = threading.Event()
        try:
            self._owns_ray = not cluster.running()
            self._servers = cluster.start(self.store.folder, self.address, self.num_cpus)
            self._workers = cluster.Workers(self.cpus_per_run, self.runs_per_gpu)
            atexit.register(self.shutdown)  # registered after Ray's own, so it comes before it
            self.recover()
            self._warm_up(self.slots)
        except errors.HeadroomError as error:
            self._reason = str(error)
        except Exception as error:
            log.exception("the engine did not start")
            self._reason = f"{type(error).__name__}: {error}"

    def _serve(self) -> None:
        """Does what others ask for until the app closes or Ray dies."""
        while not self._closing.is_set():
            try:
                command = self._commands.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if not self._reason and not cluster.alive(self._servers):
                    log.error("Ray died; it is started again")
                    self._ready.clear()
                    return
                command = self._stop_wanted if self._jobs else None
            if command:
                self._do(command)

    @staticmethod
    def _do(command: Callable[[], None]) -> None:
        try:
            command()
        except (Exception, SystemExit):  # Ray raises the latter in any thread once it is gone itself
            log.exception("the engine could not do something")

    def _warm_up(self, count: int = 1) -> None:
        if self.function == FINETUNE:
            self._workers.warm_up(count)

    def _launch(self, run: int) -> None:
        with self._lock:
            record = self.store.run(run)
            if record.status != "queued" or record.engine != self._lease.id or run in self._jobs:
                return  # cancelled, or taken over, meanwhile
            if self._reason:
                self.store.set_status(run, "failed", error=f"Runs cannot be started: {self._reason}")
                return
            stream = self._workers.begin(self.function, record.spec, self.store.get_artifact(run, "checkpoint"))
            job = self._jobs[run] = Job(self.store, run, stream, self._leave, self._forget)
        job.start()

    def _stop_wanted(self) -> None:
        """Stops what this process, or another one, asked to stop."""
        for record in self.store.runs(status=WAITING):
            job = self._jobs.get(record.id)
            if record.stop_wanted and job and not job.stopping:
                job.stop()
                timer = threading.Timer(GRACE_SECONDS, self._commands.put, [lambda job=job: self._insist(job)])
                timer.daemon = True
                timer.start()
            elif record.stop_wanted and not job and not self._held(record):  # its app died, or it waits for its launch
                self._note_cancelled(record.id, held_by=record.engine)

    def _insist(self, job: Job) -> None:
        if self._jobs.get(job.run) is job:
            job.stop(force=True)

    def _end(self) -> None:
        self._leave.set()
        deadline = time.monotonic() + 5
        while self._jobs and time.monotonic() < deadline:
            time.sleep(0.02)  # followers let go of Ray before it goes
        if self._owns_ray and cluster.running():
            import ray

            self._do(ray.shutdown)

    # Shared

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.run, None)
        if job.crashed and not self._leave.is_set():
            self._commands.put(self._warm_up)

    def _held(self, record: RunRecord) -> bool:
        """Whether somebody works on a run, or will."""
        if record.engine == self._lease.id:
            return record.id in self._jobs
        return Lease.held(self._leases, record.engine)

    def _checkpoint(self, run: int) -> int:
        """The number of the event that told of the last checkpoint; 0 where there is none."""
        event = self.store.last_event(run, "checkpoint")
        return event["seq"] if event and "checkpoint" in self.store.artifact_names(run) else 0

    def _requeue(self, run: int, status: str, held_by: str | None = None) -> bool:
        claim = {"engine": self._lease.id, "only_from": (status,), "held_by": held_by}
        if not self.store.set_status(run, "queued", **claim):
            return False
        self.store.rewind(run, self._checkpoint(run))  # what came after it will be told again
        self._commands.put(lambda: self._launch(run))
        return True

    def _note_cancelled(self, run: int, only_from: tuple[str, ...] = WAITING, held_by: str | None = None) -> None:
        if self.store.set_status(run, "cancelled", only_from=only_from, held_by=held_by):
            self.store.append(run, [events.Cancelled().to_dict()])


_engine: Engine | None = None
_only_one = threading.Lock()


def get_engine() -> Engine:
    """The engine of this process, started when it is first asked for, on the store of HEADROOM_HOME."""
    global _engine
    with _only_one:
        if _engine is None:
            _engine = Engine(Store()).start()
        return _engine
