"""One run as the store knows it, and the tables that keep it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAITING = ("queued", "running")
ENDED = ("finished", "failed", "cancelled", "interrupted")
STATUSES = WAITING + ENDED

# race: the number of the first run of its race, which is the number of the race.
# AUTOINCREMENT: the number of a deleted run is never reused, so an old link never shows another run.
# last_seq: numbers of events are never reused either, even after a rewind, so followers only look forward.
SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, spec TEXT NOT NULL, title TEXT NOT NULL, owner TEXT NOT NULL,
    status TEXT NOT NULL, created REAL NOT NULL, queued REAL NOT NULL, started REAL, finished REAL,
    error TEXT, summary TEXT NOT NULL DEFAULT '{}', engine TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0, stop_wanted INTEGER NOT NULL DEFAULT 0, last_seq INTEGER NOT NULL DEFAULT 0,
    race INTEGER, name TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '', tags TEXT NOT NULL DEFAULT '[]',
    starred INTEGER NOT NULL DEFAULT 0, archived REAL, deleted REAL, losses INTEGER NOT NULL DEFAULT 0);
CREATE INDEX runs_by_status ON runs (status);
CREATE INDEX runs_by_race ON runs (race);
CREATE TABLE events (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, seq INTEGER NOT NULL, kind TEXT NOT NULL,
    time REAL NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, seq)) WITHOUT ROWID;
CREATE INDEX events_by_kind ON events (run, kind, seq);
CREATE TABLE artifacts (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, name TEXT NOT NULL,
    time REAL NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, name));
"""
CHANGES = (
    "ALTER TABLE runs ADD COLUMN race INTEGER; CREATE INDEX runs_by_race ON runs (race)",
    """ALTER TABLE runs ADD COLUMN name TEXT NOT NULL DEFAULT '';
    ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '';
    ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE runs ADD COLUMN starred INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN archived REAL;
    ALTER TABLE runs ADD COLUMN deleted REAL""",
    "ALTER TABLE runs ADD COLUMN losses INTEGER NOT NULL DEFAULT 0",
)


@dataclass(frozen=True)
class RunRecord:
    """One run as the store knows it. Times are seconds since 1970."""

    id: int
    spec: dict[str, Any]
    title: str
    owner: str
    status: str
    created: float
    queued: float
    started: float | None
    finished: float | None
    error: str | None
    summary: dict[str, Any]
    engine: str  # the engine that holds the run, "" for none
    attempts: int  # how many times a worker began it
    stop_wanted: bool  # a user asked to cancel it
    race: int | None  # the race it is a variation in
    name: str  # this and the next three are what a person typed or set, as it was typed
    note: str
    tags: tuple[str, ...]
    starred: bool
    archived: float | None  # when it was put away, and when it was deleted, from which it can be restored
    deleted: float | None
    losses: int  # how many times in a row its process was lost before it came further

    @classmethod
    def of(cls, row: Sequence[Any]) -> RunRecord:
        """From a row of COLUMNS."""
        values = dict(zip(cls.__dataclass_fields__, row, strict=True))
        values.update({name: json.loads(values[name]) for name in ("spec", "summary")})
        values.update({name: bool(values[name]) for name in ("stop_wanted", "starred")})
        return cls(**values | {"tags": tuple(json.loads(values["tags"]))})

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def seconds(self) -> float | None:
        """Time since a worker first began it, up to its end where it has one; None while it waits."""
        return None if self.started is None else (self.finished or time.time()) - self.started


def number_of(source: str) -> int | None:
    """The run that a command means by '12', whatever lies in the current folder, or by 'run-12', unless a file or
    folder has that name; None where it means no run."""
    number = source.removeprefix("run-")
    is_run = number.isascii() and number.isdecimal() and (number == source or not Path(source).exists())
    return int(number) if is_run else None


COLUMNS = ", ".join(RunRecord.__dataclass_fields__)
