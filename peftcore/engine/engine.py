"""Runs on Ray: queue, follow, cancel, crash, resume. The store keeps the queue and the events.

Ray is given as many runs as work at once (dispatch.py), each when it is its owner's turn (line.py), and places them.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from peftcore import errors
from peftcore.engine import caps
from peftcore.engine.caps import Caps
from peftcore.engine.dispatch import FINETUNE, RACE, Dispatch
from peftcore.engine.forecast import Forecast, Oracle
from peftcore.engine.held import Held
from peftcore.engine.host import RECOVER_SECONDS, Host
from peftcore.engine.line import Line, shared_forward
from peftcore.engine.pool import Pool
from peftcore.engine.sizes import ARTIFACT
from peftcore.store import Store, custody

STOPPED = ("interrupted", "failed", "cancelled")  # statuses from which a run can go on


class Engine:
    """Runs specs on Ray and writes their events into the store. Its methods return at once, in any thread.

    One long-lived thread starts Ray and everything in it (host.py), and one thread follows each run: neither a page nor
    the thread that submitted a run is needed for it to go on.

    Args:
        address: a Ray cluster; by default the one that RAY_ADDRESS names, else a Ray of our own on this machine.
        num_cpus: CPUs of a Ray of our own; by default all that this process may use.
        cpus_per_run: CPUs and threads of each run; by default HEADROOM_CPUS_PER_RUN, else all, at most 4.
        runs_per_gpu: how many runs share one GPU, where there is one.
        function: 'module:name' of what a run is, called as name(settings, resume) and yielding events.
        race: the same for several runs that share a forward, called as name(settings, resume, left_out), the first two
            being lists, and yielding (which, event).
        forward: from a run's settings, what runs must agree on to share a forward; None for one that shares nothing.

    `caps_of`: the caps of a person by name, asked at each submission; '' has none.
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
        race: str = RACE,
        forward: Callable[[Mapping[str, Any]], Hashable] = shared_forward,
    ):
        self.store = store
        self.address = address or os.environ.get("RAY_ADDRESS") or None
        self.cpus_per_run = cpus_per_run or caps.cpus_per_run()
        self.runs_per_gpu, self.function = runs_per_gpu, function
        self._held = Held(store)
        self._line = Line(store, forward)
        self._oracle = Oracle(store)
        self.caps_of: Callable[[str], Caps] = lambda owner: Caps.here()
        self._host = Host(
            store.folder, self.address, num_cpus, self._make_pool, began=self.recover,
            duties=[
                (0, self._held.stop_wanted), (RECOVER_SECONDS, self._measure), (RECOVER_SECONDS, self.recover),
                # What a command could not do: the store was full, a cluster has grown.
                (0, lambda: self._dispatch.hand_over()),
                (0, self._foretell),
            ],
            is_busy=lambda: bool(self._held.jobs),
        )  # fmt: skip
        self._dispatch = Dispatch(
            self._host, self._held, self._line, self._oracle.told, lambda owner: self.caps_of(owner), function, race
        )

    def start(self) -> Engine:
        """Begins to start Ray in the background; runs may be submitted already."""
        with self._held.lock:
            self._host.start()
        return self

    @property
    def state(self) -> str:
        """'starting', 'ready', or 'failed: ' and the reason."""
        if self._host.reason:
            return f"failed: {self._host.reason}"
        return "ready" if self._host.ready.is_set() else "starting"

    @property
    def slots(self) -> int:
        """How many runs work at once; 0 until Ray is there."""
        return self._dispatch.slots

    def wait_ready(self, seconds: float | None = None) -> bool:
        """Waits until Ray takes runs; False where it does not, or not within this time."""
        return self._host.ready.wait(seconds) and self._host.reason is None

    def shutdown(self) -> None:
        """Ends Ray with every run in it, and waits until it is done; the next engine on this store resumes them."""
        self._host.close()
        self._held.release()

    def submit(self, spec: Any, owner: str = "", title: str = "", predicted: Mapping[str, int] | None = None) -> int:
        """Queues a RunSpec, or the settings of one, and returns the run's number.

        owner: whose run it is, '' being the person at the machine; each has a turn before anybody has a second one.
        predicted: bytes by component, and `peak`, where they are known; else they are predicted before it begins.

        Raises:
            InvalidSetting: a cap of the owner says no (caps.py).
        """
        settings = settings_of(spec)
        self._allow(owner, [settings])
        run = self.store.create_run(settings, owner=owner, title=title, engine=self._held.engine)
        if predicted:
            self.store.put_artifact(run, ARTIFACT, json.dumps(dict(predicted)).encode())
        self._dispatch.soon()
        return run

    def submit_race(self, specs: Iterable[Any], owner: str = "", title: str = "") -> int:
        """Queues variations as the runs of one race and returns the race's number, that of its first run.

        Side methods that read the same frozen forward train together in one process; the others are queued alone.
        """
        settings = [settings_of(spec) for spec in specs]
        if not settings:
            raise errors.InvalidSetting("A race needs at least one RunSpec.")
        self._allow(owner, settings)
        runs = self.store.create_race(settings, owner=owner, title=title, engine=self._held.engine)
        self._dispatch.soon()
        return runs[0]

    def cancel(self, run: int) -> bool:
        """Stops a run, queued or running, whichever process holds it; False where it has ended already."""
        return self._cancel([run])

    def cancel_race(self, race: int) -> bool:
        """Stops all variations of a race that have not ended."""
        return self._cancel([record.id for record in self.store.runs(race=race)])

    def _cancel(self, runs: Sequence[int]) -> bool:
        if wanted := self._held.cancel(runs):
            self._host.do(self._held.stop_wanted)
        return wanted

    def resume(self, run: int) -> None:
        """Queues a run that stopped before its end again, from its last checkpoint where it has one."""
        record = self.store.run(run)
        if record.deleted is not None:
            raise errors.InvalidSetting(f"Run {run} was deleted; restore it before it can go on.")
        self._allow(record.owner, [record.spec])
        if (status := record.status) not in STOPPED or not custody.resume(self.store, run, self._held.engine, status):
            raise errors.InvalidSetting(f"Run {run} is {status}; only one that stopped before its end can go on.")
        self._dispatch.soon()

    def resume_race(self, race: int) -> None:
        """Queues all variations of a race again that stopped before their end."""
        stopped = self.store.runs(race=race, status=STOPPED)
        for owner in {record.owner for record in stopped}:
            self._allow(owner, [record.spec for record in stopped if record.owner == owner])
        for record in reversed(stopped):
            custody.resume(self.store, record.id, self._held.engine, record.status)
        self._dispatch.soon()

    def wake(self) -> None:
        """Looks at the queue again: what held it back has changed."""
        self._dispatch.soon()

    def queue(self) -> list[int]:
        """The queued runs, the next one first."""
        with self._held.lock:
            handed = set(self._held.jobs)
            order = self._line.order(self._held.working(), handed)
        first = [run for run in self.store.waiting() if run in handed]  # Ray has them already
        order.sort(key=lambda turn: self._dispatch.most(turn.owner) == 0)
        return first + [run for turn in order for run in turn.runs]

    def ahead(self, run: int) -> int:
        """How many queued runs will begin before this one; 0 for one that does not wait."""
        waiting = self.queue()
        return waiting.index(run) if run in waiting else 0

    def forecast(self, owner: str = "") -> Forecast:
        """When the queued runs will begin, and one more that this person would queue now."""
        with self._held.lock:
            jobs = {job: job.runs for job in self._held.jobs.values()}
            working, handed = self._held.working(), set(self._held.jobs)
        return self._oracle.look(
            owner, lambda more: self._line.order(working, handed, more), list(jobs.values()), max(1, self.slots),
            self._dispatch.most,
        )  # fmt: skip

    def refusal(
        self, settings: Mapping[str, Any], predicted: Mapping[str, int], owner: str = ""
    ) -> errors.HeadroomError | None:
        """Why a run of this person would never begin that takes so many bytes by component, and `peak`, {} where nobody
        can predict them; None where it would, or where Ray, which knows the machines, is not there yet."""
        return self._dispatch.refusal(settings, predicted, owner)

    def recover(self) -> None:
        """Takes over the runs whose app or Ray has died: each goes on from its last checkpoint, or from the start. One
        that was lost too often without having come further is interrupted."""
        self._held.take_over()
        self._dispatch.soon()

    def _allow(self, owner: str, specs: list[dict[str, Any]]) -> None:
        """Raises InvalidSetting: this person may not queue runs with these settings."""
        if owner:
            caps.check(self.store, self.caps_of(owner), owner, specs)

    def _make_pool(self) -> Pool:
        pool = Pool(self.cpus_per_run, self.runs_per_gpu)
        if self.function == FINETUNE:
            pool.warm_up(pool.slots)
        atexit.register(self.shutdown)  # registered after Ray's own, so it comes before it
        return pool

    def _foretell(self) -> None:
        """Says of each run that was queued what its wait will be, whether or not a page asks, to learn from it."""
        if self.function == FINETUNE and self.state == "ready" and self.store.waiting():
            self.forecast()

    def _measure(self) -> None:
        if self.address and self._host.pool and self.state == "ready":
            self._host.pool.measure()


def settings_of(spec: Any) -> dict[str, Any]:
    """A spec as plain values, whether it is a RunSpec or has been given as these."""
    return dict(spec) if isinstance(spec, Mapping) else spec.to_dict()


_engine: Engine | None = None
_only_one = threading.Lock()


def get_engine() -> Engine:
    """The engine of this process, started when it is first asked for, on the store of HEADROOM_HOME."""
    global _engine
    with _only_one:
        if _engine is None:
            _engine = Engine(Store()).start()
        return _engine
