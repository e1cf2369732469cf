"""The runs that an engine holds: those that work in it, those of dead engines that it takes over, those it is to stop.

Several engines may share a store. Each holds a lease, and of two that find one orphan one gets it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from peftcore import events
from peftcore.engine.job import Job
from peftcore.engine.lease import Lease
from peftcore.store import WAITING, RunRecord, Store, custody


class Held:
    """What one engine holds of a store. `jobs`: by run, what works on it; `lock`: of `jobs`, and of what is decided by
    looking at them."""

    def __init__(self, store: Store):
        self.store = store
        self.jobs: dict[int, Job] = {}
        self.lock = threading.RLock()
        self._leases = store.folder / "engines"
        self._lease = Lease(self._leases)

    @property
    def engine(self) -> str:
        """By what name the store knows this engine."""
        return self._lease.id

    def release(self) -> None:
        """Others may take over what is left."""
        self._lease.release()

    def working(self) -> Counter[str]:
        """How many slots each person's runs take."""
        return Counter(job.owner for job in set(self.jobs.values()))

    def cancel(self, runs: Sequence[int]) -> bool:
        """Asks whichever engine holds these runs to stop them, see `stop_wanted`; what waits here ends at once. False
        where all have ended already."""
        wanted = [run for run in runs if self.store.want_stop(run)]
        with self.lock:
            for run in wanted:
                if run not in self.jobs:  # Ray does not have it yet
                    self._note_cancelled(run, only_from=("queued",), held_by=self.engine)
        return bool(wanted)

    def stop_wanted(self) -> None:
        """Stops the runs that this process, or another one, asked to stop."""
        stopping: dict[Job, list[int]] = {}
        for record in self.store.runs(status=WAITING):
            job = self.jobs.get(record.id)
            if record.stop_wanted and job and record.id not in job.unwanted:
                stopping.setdefault(job, []).append(record.id)
            elif record.stop_wanted and not job and (record.engine == self.engine or not self._is_held(record)):
                self._note_cancelled(record.id, held_by=record.engine)
        for job, runs in stopping.items():
            job.stop(runs)

    def take_over(self) -> None:
        """Takes over the runs whose app or Ray has died: each is queued again, to go on from its last checkpoint, or
        from the start. One that was lost too often without having come further is interrupted."""
        self._lease.keep()
        orphans = [record for record in self.store.runs(status=WAITING) if not self._is_held(record)]
        for record in sorted(orphans, key=lambda record: (record.queued, record.id)):
            if record.stop_wanted:
                self._note_cancelled(record.id, held_by=record.engine)
            elif record.status == "queued":
                custody.adopt(self.store, record.id, self.engine, record.engine)
            elif not custody.lost(self.store, record.id, self.engine, record.engine):
                self.store.set_status(
                    record.id,
                    "interrupted",
                    error=f"The app or its Ray ended while this run was working, {custody.MOST_LOSSES} times before it "
                    "came further. Resume it to run it again.",
                    only_from=("running",),
                    held_by=record.engine,
                )

    def _is_held(self, record: RunRecord) -> bool:
        """Whether a living engine works on a run, or will."""
        if record.engine == self.engine:
            return record.id in self.jobs or record.status == "queued"
        return Lease.held(self._leases, record.engine)

    def _note_cancelled(self, run: int, only_from: tuple[str, ...] = WAITING, held_by: str | None = None) -> None:
        if self.store.set_status(run, "cancelled", only_from=only_from, held_by=held_by):
            self.store.append(run, [events.Cancelled().to_dict()])
