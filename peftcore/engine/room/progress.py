"""How far everybody is, in one look at the store."""

from __future__ import annotations

from dataclasses import dataclass, field

from peftcore.engine.room.record import Person
from peftcore.engine.room.room import Room
from peftcore.store import RunRecord, Store

MOST_RUNS = 5000  # the newest, of all and then of each person
MOST_POINTS = 40  # of a small curve


@dataclass
class Progress:
    """One person's runs. share: how much of the run that works is done, 0 to 1. best, val: the run with the highest
    validation accuracy, and that. curve: validation accuracy by epoch of the run that works, else of the best one."""

    name: str
    person: Person | None
    counts: dict[str, int] = field(default_factory=dict)
    working: int | None = None
    share: float | None = None
    best: int | None = None
    val: float | None = None
    curve: list[float] = field(default_factory=list)
    newest: RunRecord | None = None
    changed: float | None = None  # seconds since 1970


def progress(store: Store, room: Room) -> list[Progress]:
    """A row for each person in the room, in the order in which they came, then for owners of runs who were removed or
    never in it. `store`: the whole one."""
    people = [person for person in room.now().people.values() if person.removed is None]
    rows = {person.name: Progress(person.name, person) for person in people}
    records = {record.id: record for record in store.runs(limit=MOST_RUNS)}
    if len(records) == MOST_RUNS:  # one person's many hide no other's
        records |= {record.id: record for name in rows for record in store.runs(limit=MOST_RUNS, owner=name)}
    for run in sorted(records, reverse=True):
        _count(rows.setdefault(records[run].owner, Progress(records[run].owner, None)), records[run])
    for row in rows.values():
        if row.newest:
            _follow(store, row)
    return [row for row in rows.values() if row.person is None or not row.person.is_teacher or row.newest]


def _count(row: Progress, record: RunRecord) -> None:
    row.newest = row.newest or record
    row.counts[record.status] = row.counts.get(record.status, 0) + 1
    if record.status == "running":
        row.working = record.id
    val = record.summary.get("val_accuracy")
    if val is not None and (row.val is None or val > row.val):
        row.best, row.val = record.id, val
    moments = (record.created, record.started, record.finished, row.changed)
    row.changed = max(moment for moment in moments if moment is not None)


def _follow(store: Store, row: Progress) -> None:
    run = row.working or row.best or (row.newest.id if row.newest else 0)
    seen = store.events(run, kinds="evaluation")
    row.curve = [event["accuracy"] for event in seen if event["split"] == "val"][-MOST_POINTS:]
    if row.working:
        started, step = store.last_event(run, "started"), store.last_event(run, "step")
        row.share = step["step"] / max(1, started["steps"]) if started and step else 0.0
