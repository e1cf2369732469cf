"""Whose turn is next: one run of each person who waits, then the second of each, whoever queued how many.

What is shared out is a slot. So side networks of a race that train in one process, and take one slot, are one turn;
each other run of a race is a turn of its own, as it would be outside of a race.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peftcore import errors
from peftcore.spec import RunSpec
from peftcore.store import Store

REMEMBERED_SECONDS = 24 * 3600.0  # a turn that is longer ago gives nobody else precedence


@dataclass(frozen=True)
class Turn:
    """Queued runs that will begin together, in one process, and whose they are. `queued`: seconds since 1970."""

    runs: tuple[int, ...]
    owner: str
    queued: float
    engine: str = ""


def shared_forward(settings: Mapping[str, Any]) -> Hashable:
    """What decides the frozen forward that a side method's run reads; None for other methods."""
    try:
        spec = RunSpec.from_dict(settings)
    except errors.HeadroomError:
        return None  # run alone, it will fail with the reason
    return spec.forward if spec.method.kind == "side" else None


def fair(turns: Iterable[Turn], working: Mapping[str, int], served: Mapping[str, float]) -> list[Turn]:
    """The order in which turns come, where none that works ends meanwhile.

    Next is the person with the fewest turns at work, among these the one whose last turn began longest ago, and of that
    person the oldest.

    Args:
        working: how many turns of each person are at work.
        served: when the last turn of each person began.
    """
    waiting: dict[str, deque[Turn]] = {}
    for turn in sorted(turns, key=lambda turn: (turn.queued, turn.runs)):
        waiting.setdefault(turn.owner, deque()).append(turn)
    busy, last, order = Counter(working), dict(served), list[Turn]()
    while waiting:
        owner = min(waiting, key=lambda one: (busy[one], last.get(one, 0.0), waiting[one][0].queued))
        order.append(waiting[owner].popleft())
        busy[owner] += 1
        last[owner] = max([*last.values(), time.time()]) + 1.0
        if not waiting[owner]:
            del waiting[owner]
    return order


class Line:
    """The queued runs of a store as turns.

    Args:
        forward: from a run's settings, what runs of a race must agree on to share a process; None for one that shares
            nothing.
    """

    def __init__(self, store: Store, forward: Callable[[Mapping[str, Any]], Hashable]):
        self.store, self.forward = store, forward
        self._served: dict[str, float] = {}  # by person, when their last turn began
        self._forwards: dict[int, Hashable] = {}  # by run of a race
        self._lock = threading.Lock()

    def begun(self, turn: Turn) -> None:
        """Notes that a turn has come."""
        with self._lock:
            self._served[turn.owner] = time.time()
            for run in turn.runs:
                self._forwards.pop(run, None)

    def served(self) -> dict[str, float]:
        """When each person's last turn began, also with an app that has ended since."""
        with self.store.read() as db:
            query = "SELECT owner, max(started) FROM runs WHERE started > ? GROUP BY owner"
            found = dict(db.execute(query, (time.time() - REMEMBERED_SECONDS,)).fetchall())
        with self._lock:
            return found | {owner: max(at, found.get(owner, 0.0)) for owner, at in self._served.items()}

    def turns(self, without: Collection[int] = ()) -> list[Turn]:
        """What waits, the oldest first, `without` some runs."""
        with self.store.read() as db:
            query = "SELECT id, owner, queued, race, engine FROM runs WHERE status = 'queued' ORDER BY queued, id"
            rows = [row for row in db.execute(query) if row[0] not in without]
        together: dict[Hashable, list[tuple]] = {}
        for row in rows:
            run, _, _, race, engine = row
            shared = None if race is None else self._forward(run)
            together.setdefault(run if shared is None else (race, engine, shared), []).append(row)
        return [Turn(tuple(row[0] for row in rows), rows[0][1], rows[0][2], rows[0][4]) for rows in together.values()]

    def order(self, working: Mapping[str, int], without: Collection[int] = (), more: Sequence[Turn] = ()) -> list[Turn]:
        """What waits, and some turns `more`, the next one first; `working` as in `fair`."""
        return fair([*self.turns(without), *more], working, self.served())

    def _forward(self, run: int) -> Hashable:
        with self._lock:
            if run in self._forwards:
                return self._forwards[run]
        try:
            shared = self.forward(self.store.run(run).spec)
        except errors.UnknownName:  # deleted since
            return None
        with self._lock:
            return self._forwards.setdefault(run, shared)
