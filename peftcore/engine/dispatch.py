"""Hands queued runs over to Ray: as many as work at once, each when it is its owner's turn and its memory is there."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from peftcore import errors
from peftcore.engine.caps import Caps, check_kept
from peftcore.engine.held import Held
from peftcore.engine.host import Host
from peftcore.engine.job import Job
from peftcore.engine.line import Line, Turn
from peftcore.engine.sizes import Sizes
from peftcore.engine.told import Told

FINETUNE, RACE = "peftcore.engine.worker:finetune", "peftcore.engine.worker:race"
MOST_PASSED = 4  # turns that may pass one that waits for memory, after which nobody is handed over before it


class Dispatch:
    """What gives Ray, in `host`, the turns of a line, and `held` the jobs that follow them.

    Args:
        told: is told which runs have come.
        caps_of: the caps of a person by name.
        function, race: what a run, and runs that share a forward, are; see Engine.
    """

    def __init__(
        self,
        host: Host,
        held: Held,
        line: Line,
        told: Told,
        caps_of: Callable[[str], Caps],
        function: str = FINETUNE,
        race: str = RACE,
    ):
        self.store, self.function, self.race, self._caps_of = held.store, function, race, caps_of
        self._host, self._held, self._line, self._told = host, held, line, told
        self.sizes = Sizes(self.store, self._predict, self.soon) if function == FINETUNE else None
        self._filling = False  # a command to hand runs over is under way

    @property
    def slots(self) -> int:
        """How many runs work at once; 0 until Ray is there."""
        return self._host.pool.slots if self._host.pool else 0

    def most(self, owner: str) -> int | None:
        """How many turns of this person may work at once; 0 where the room is paused, None where there is no cap."""
        return self._caps_of(owner).running if owner else None

    def refusal(
        self, settings: Mapping[str, Any], predicted: Mapping[str, int], owner: str = ""
    ) -> errors.HeadroomError | None:
        """Why a run of this person would never begin; see Engine."""
        if owner and (predicted or self.sizes) and (capped := self._caps_of(owner).memory(predicted.get("peak"))):
            return capped
        pool = self._host.pool
        return pool.refusal(pool.need(settings, predicted)) if pool else None

    def soon(self) -> None:
        """The engine's thread will see whose turn it is; many calls in a row are one look."""
        with self._held.lock:
            if not self._filling:
                self._filling = True
                self._host.do(self.hand_over)

    def hand_over(self) -> None:
        """Gives Ray the next turns, as many as there are slots free."""
        with self._held.lock:
            self._filling = False
            if self._host.is_hopeless:
                for record in self.store.runs(status="queued"):
                    if record.engine == self._held.engine and record.id not in self._held.jobs:
                        self.store.set_status(record.id, "failed", error=f"Runs cannot be started: {self._host.reason}")
            if not self._host.takes_runs:
                return  # where Ray has died, they stay queued for the next one
            for turn in self._line.order(working := self._held.working(), self._held.jobs):
                at_work = set(self._held.jobs.values())
                if len(at_work) >= self.slots or any(job.pid is None and job.passed >= MOST_PASSED for job in at_work):
                    return
                most = self.most(turn.owner)
                if turn.engine == self._held.engine and (most is None or working[turn.owner] < most):
                    working[turn.owner] += self._launch(turn)

    def _launch(self, turn: Turn) -> bool:
        """Gives Ray a turn; False where there is nothing to begin, or nobody knows yet how much memory it takes."""
        pool = self._host.pool
        assert pool is not None, "asked once Ray is there"
        # Without those that were cancelled, or taken over, meanwhile.
        records = [record for record in map(self.store.run, turn.runs) if record.status == "queued"]
        runs = [record.id for record in records if record.engine == self._held.engine and not record.stop_wanted]
        if not runs:
            return False
        settings = [record.spec for record in records if record.id in runs]
        try:
            predicted = self.sizes.of(runs, settings) if self.sizes else {}
            if predicted is None:
                return False
            need, refusal = pool.need(settings[0], predicted), self.refusal(settings[0], predicted, turn.owner)
            if turn.owner:
                check_kept(self.store, self._caps_of(turn.owner), turn.owner, predicted.get("trainable_weights", 0))
        except (errors.OutOfMemory, errors.InvalidSetting) as error:
            refusal = error
        if refusal:
            for run in runs:
                self.store.set_status(run, "failed", error=str(refusal), only_from=("queued",))
            return False
        name = f"headroom-{uuid.uuid4().hex}" if len(runs) > 1 else ""
        checkpoints = [self.store.get_artifact(run, "checkpoint") for run in runs]
        if name:
            stream = pool.begin_together(self.race, settings, checkpoints, name, need)
        else:
            stream = pool.begin(self.function, settings[0], checkpoints[0], need)
        for other in set(self._held.jobs.values()):
            other.passed += other.pid is None
        minutes = self._caps_of(turn.owner).minutes if turn.owner else None
        job = Job(
            self.store, runs, stream, self._held.engine, self._host.leave, self._forget, name, turn.owner, need.memory,
            minutes,
        )  # fmt: skip
        self._held.jobs |= dict.fromkeys(runs, job)
        self._line.begun(turn)
        job.start()
        self._told.came(runs, time.time())
        return True

    def _warm_up(self) -> None:
        if self._host.pool and self.function == FINETUNE:
            self._host.pool.warm_up(1)

    def _predict(self, settings: Mapping[str, Any]) -> Any:
        if self._host.pool is None:
            raise errors.EngineUnavailable("Ray is not there.")
        return self._host.pool.predict(settings)

    def _forget(self, job: Job, run: int) -> None:
        self._held.jobs.pop(run, None)
        if self._host.leave.is_set() or run in job.live:  # it did not end: `recover` will find it
            return
        if job.crashed and not job.live and not job.again:
            self._host.do(self._warm_up)
        if not (job.again and job.live):  # what goes on together is handed over together
            self.soon()
