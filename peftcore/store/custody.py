"""Who holds a run, and its ways back into the queue: a person's word, a dead holder, a lost process.

Each is one transaction: of two claimants one wins, and a crash in the middle leaves nothing half done.
"""

from __future__ import annotations

import time

from peftcore.store.runs import Store

MOST_LOSSES = 3  # times that a run is lost without having come further, after which it waits for a person


def resume(store: Store, run: int, engine: str, status: str) -> bool:
    """Queues a run of this status again because a person wants it, behind those that wait; losses are forgiven. An
    archived one is back in the list of Runs: what works can be seen.

    Returns False, and changes nothing, where the run is not of this status any more.
    """
    sets = "queued = ?, losses = 0, stop_wanted = 0, archived = NULL"
    return _requeue(store, run, engine, sets, [time.time()], "id = ? AND status = ? AND deleted IS NULL", [run, status])


def adopt(store: Store, run: int, engine: str, held_by: str) -> bool:
    """Takes over a queued run, which keeps its place, from an engine that is gone; False where another was first."""
    where = "id = ? AND status = 'queued' AND engine = ?"
    return _requeue(store, run, engine, "losses = losses", [], where, [run, held_by])


def lost(store: Store, run: int, engine: str, held_by: str) -> bool:
    """Queues a run again, at its old place, whose process is gone; False where another engine was first, where a
    person wants it stopped, or where it was lost MOST_LOSSES times without having come further."""
    where = "id = ? AND status IN ('queued', 'running') AND engine = ? AND stop_wanted = 0 AND losses < ?"
    return _requeue(store, run, engine, "losses = losses + 1", [], where, [run, held_by, MOST_LOSSES - 1])


def _requeue(store: Store, run: int, engine: str, sets: str, set_to: list, where: str, those: list) -> bool:
    """What the run produced after its last checkpoint is forgotten: it will produce it again, under new numbers."""
    checkpoint = """SELECT max(seq) FROM events WHERE run = ? AND kind = 'checkpoint'
        AND EXISTS (SELECT 1 FROM artifacts WHERE run = events.run AND name = 'checkpoint')"""
    with store.write() as db:
        sql = f"UPDATE runs SET status = 'queued', engine = ?, error = NULL, finished = NULL, {sets} WHERE {where}"
        if db.execute(sql, [engine, *set_to, *those]).rowcount != 1:
            return False
        db.execute(f"DELETE FROM events WHERE run = ? AND seq > coalesce(({checkpoint}), 0)", (run, run))
        return True
