"""How a room ends, and how it opens again: launching closes, and what works or waits stops."""

from __future__ import annotations

import time
from typing import Any

from peftcore.engine.room.room import Room
from peftcore.store import WAITING, RunRecord

FACT = "ended"  # as the room keeps it: whether it has ended, and when it did, the last time and those before
KEPT = 50  # of those


def ended(room: Room) -> float | None:
    """Since when it has ended, in seconds since 1970; None while it is open."""
    kept = room.now().facts.get(FACT)
    return kept["at"][-1] if kept and kept["on"] else None


def end(room: Room, engine: Any) -> int:
    """Ends it and returns how many runs are stopped. `engine`: an Engine, or an EngineAs of the teacher."""
    room.set(launching=False)
    before = room.now().facts.get(FACT, {"at": []})["at"]
    room.write(FACT, {"on": True, "at": [*before, time.time()][-KEPT:]})
    busy = engine.store.runs(status=WAITING)
    for record in sorted(busy, key=lambda one: one.status == "running"):  # else one that waits has its turn meanwhile
        engine.cancel(record.id)
    return len(busy)


def reopen(room: Room) -> None:
    """Opens launching again; a run that was stopped goes on where its owner resumes it."""
    before = room.now().facts.get(FACT, {"at": []})["at"]
    room.write(FACT, {"on": False, "at": before})
    room.set(launching=True)


def stopped(room: Room, record: RunRecord) -> bool:
    """Whether a run was stopped because the room ended."""
    times = room.now().facts.get(FACT, {"at": []})["at"]
    if record.status != "cancelled" or record.finished is None:
        return False
    return any(record.queued <= at <= record.finished for at in times)
