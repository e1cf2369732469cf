"""Runs, their events and their artifacts in one SQLite file, safe for many threads and processes at once.

The store knows no training: a spec, an event and a summary are JSON objects, an artifact is bytes with a name.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peftcore import errors
from peftcore.home import home
from peftcore.store.database import Database
from peftcore.store.record import CHANGES, COLUMNS, ENDED, SCHEMA, STATUSES, WAITING, RunRecord

__all__ = ["ENDED", "STATUSES", "WAITING", "RunRecord", "Store"]

FILE = "headroom.sqlite3"


class Store:
    """Runs, events and artifacts in `folder`/headroom.sqlite3; by default in `home()`.

    Every method may be called from any thread; each writes all that it writes, or nothing.

    Raises:
        StoreUnavailable: the folder or file cannot be read or written, or a newer Headroom wrote it.
        UnknownName: there is no run of this number.
    """

    def __init__(self, folder: str | os.PathLike | None = None):
        self.folder = Path(folder) if folder is not None else home()
        self._db = Database(self.folder / FILE, SCHEMA, CHANGES)
        self.read, self.write, self.close = self._db.read, self._db.write, self._db.close

    # Runs

    def create_run(self, spec: Mapping[str, Any], owner: str = "", title: str = "", engine: str = "") -> int:
        """Writes a queued run and returns its number."""
        with self._db.write() as db:
            return _insert(db, spec, owner, title, engine)

    def create_race(
        self, specs: Iterable[Mapping[str, Any]], owner: str = "", title: str = "", engine: str = ""
    ) -> list[int]:
        """Writes queued runs as the variations of one race and returns their numbers; the first is the race's."""
        with self._db.write() as db:
            runs = [_insert(db, spec, owner, title, engine) for spec in specs]
            db.executemany("UPDATE runs SET race = ? WHERE id = ?", [(runs[0], run) for run in runs])
            return runs

    def run(self, run: int) -> RunRecord:
        with self._db.read() as db:
            row = db.execute(f"SELECT {COLUMNS} FROM runs WHERE id = ?", (run,)).fetchone()
        if row is None:
            raise _no_run(run)
        return self.record(row)

    def runs(
        self,
        limit: int | None = None,
        status: str | Iterable[str] | None = None,
        owner: str | None = None,
        race: int | None = None,
        event: str | None = None,
        artifact: str | None = None,
    ) -> list[RunRecord]:
        """The newest runs first, of one status or of several, of one owner or of all, of one race or of all, with an
        event of this kind or an artifact of this name; those that are deleted are left out, `store.listing` has
        them."""
        seen, values = self.seen()
        where = ["deleted IS NULL", seen]
        if status is not None:
            wanted = [status] if isinstance(status, str) else list(status)
            values += wanted
            where.append(f"status IN ({','.join('?' * len(wanted))})")
        for column, value in (("owner", owner), ("race", race)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        for table, column, value in (("events", "kind", event), ("artifacts", "name", artifact)):
            if value is not None:
                where.append(f"EXISTS (SELECT 1 FROM {table} WHERE {table}.run = runs.id AND {table}.{column} = ?)")
                values.append(value)
        values.append(-1 if limit is None else limit)
        with self._db.read() as db:
            query = f"SELECT {COLUMNS} FROM runs WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
            return [self.record(row) for row in db.execute(query, values)]

    def record(self, row: Sequence[Any]) -> RunRecord:
        """From a row of COLUMNS."""
        return RunRecord.of(row)

    def seen(self) -> tuple[str, list[Any]]:
        """Which runs lists show (SQL after WHERE, and its values): all, but for somebody in a room (engine.room)."""
        return "1", []

    def waiting(self) -> list[int]:
        """Numbers of the queued runs of all engines, the next one first."""
        with self._db.read() as db:
            return [row[0] for row in db.execute("SELECT id FROM runs WHERE status = 'queued' ORDER BY queued, id")]

    def set_status(
        self,
        run: int,
        status: str,
        *,
        error: str | None = None,
        summary: Mapping[str, Any] | None = None,
        engine: str | None = None,
        only_from: Iterable[str] = STATUSES,
        held_by: str | None = None,
    ) -> bool:
        """Moves a run to `status`; False, and nothing changed, where it is in none of `only_from`.

        `held_by`: only where this engine holds the run, so that of two claimants one wins.
        """
        if status not in STATUSES:
            raise errors.InvalidSetting(f"status = {status!r} is not one of {', '.join(STATUSES)}.")
        now, only_from = time.time(), tuple(only_from)
        sets, values = ["status = ?", "error = ?"], list[Any]([status, error])
        if status == "queued":
            sets += ["queued = ?", "finished = NULL", "stop_wanted = 0"]
            values.append(now)
        elif status == "running":
            sets += ["started = coalesce(started, ?)", "attempts = attempts + 1"]
            values.append(now)
        else:
            sets.append("finished = ?")
            values.append(now)
        for column, value in (("summary", None if summary is None else json.dumps(dict(summary))), ("engine", engine)):
            if value is not None:
                sets.append(f"{column} = ?")
                values.append(value)
        where = f"id = ? AND status IN ({','.join('?' * len(only_from))})"
        values += [run, *only_from]
        if held_by is not None:
            where += " AND engine = ?"
            values.append(held_by)
        with self._db.write() as db:
            return db.execute(f"UPDATE runs SET {', '.join(sets)} WHERE {where}", values).rowcount == 1

    def want_stop(self, run: int) -> bool:
        """Asks whichever engine holds the run to cancel it; False where it has ended already."""
        with self._db.write() as db:
            sql = "UPDATE runs SET stop_wanted = 1 WHERE id = ? AND status IN ('queued', 'running')"
            return db.execute(sql, (run,)).rowcount == 1

    def put_marks(self, runs: Iterable[int], values: Mapping[str, Any], only_ended: bool = False) -> None:
        """Sets columns that a person fills, of each run; `only_ended`: of none that waits or works. See marks.py."""
        where = "id = ?" + (" AND status NOT IN ('queued', 'running')" if only_ended else "")
        with self._db.write() as db:
            sql = f"UPDATE runs SET {', '.join(f'{column} = ?' for column in values)} WHERE {where}"
            db.executemany(sql, [(*values.values(), run) for run in runs])

    def delete_run(self, run: int) -> None:
        """Forgets a run with its events and artifacts; one that waits or works must be cancelled first."""
        with self._db.write() as db:
            if db.execute("DELETE FROM runs WHERE id = ? AND status NOT IN ('queued', 'running')", (run,)).rowcount:
                return
        status = self.run(run).status
        raise errors.InvalidSetting(f"Run {run} is {status} and cannot be deleted; cancel it first.")

    # Events

    def append(
        self,
        run: int,
        events: Iterable[Mapping[str, Any]],
        artifacts: Mapping[str, bytes] | None = None,
        held_by: str | None = None,
    ) -> int:
        """Writes events, each a JSON object with its 'kind', and artifacts together; returns the last one's number.

        A run with a new artifact has come further: its losses are forgiven. `held_by`: only where this engine holds
        the run; else nothing is written, and the answer is 0.
        """
        now = time.time()
        rows = [(event["kind"], json.dumps(event, separators=(",", ":"), default=_plain)) for event in events]
        with self._db.write() as db:
            sets = "last_seq = last_seq + ?, losses = CASE WHEN ? THEN 0 ELSE losses END"
            last = db.execute(
                f"UPDATE runs SET {sets} WHERE id = ? AND engine = coalesce(?, engine) RETURNING last_seq",
                (len(rows), bool(artifacts), run, held_by),
            ).fetchone()
            if last is None:
                if db.execute("SELECT 1 FROM runs WHERE id = ?", (run,)).fetchone():
                    return 0
                raise _no_run(run)
            first = last[0] - len(rows) + 1
            db.executemany(
                "INSERT INTO events (run, seq, kind, time, data) VALUES (?,?,?,?,?)",
                [(run, first + i, kind, now, data) for i, (kind, data) in enumerate(rows)],
            )
            for name, data in (artifacts or {}).items():
                _put(db, run, name, data, now)
            return last[0]

    def events(self, run: int, after: int = 0, kinds: str | Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Events in order, each with its 'seq' and 'time'; a follower passes the last 'seq' it has seen as `after`."""
        where, values = "run = ? AND seq > ?", list[Any]([run, after])
        if kinds is not None:
            wanted = [kinds] if isinstance(kinds, str) else list(kinds)
            where += f" AND kind IN ({','.join('?' * len(wanted))})"
            values += wanted
        with self._db.read() as db:
            rows = db.execute(f"SELECT seq, time, data FROM events WHERE {where} ORDER BY seq", values).fetchall()
        # One parse of one long text: a third of the time of ten thousand short ones.
        parsed = json.loads(f"[{','.join(row[2] for row in rows)}]")
        return [{"seq": seq, "time": at, **event} for (seq, at, _), event in zip(rows, parsed, strict=True)]

    def last_event(self, run: int, kind: str) -> dict[str, Any] | None:
        """The newest event of a kind, or None; as cheap for ten thousand events as for one."""
        where = "INDEXED BY events_by_kind WHERE run = ? AND kind = ?"
        sql = f"SELECT seq, time, data FROM events {where} ORDER BY seq DESC LIMIT 1"
        with self._db.read() as db:
            row = db.execute(sql, (run, kind)).fetchone()
        return None if row is None else {"seq": row[0], "time": row[1], **json.loads(row[2])}

    # Artifacts

    def put_artifact(self, run: int, name: str, data: bytes) -> None:
        with self._db.write() as db:
            if not db.execute("SELECT 1 FROM runs WHERE id = ?", (run,)).fetchone():
                raise _no_run(run)
            _put(db, run, name, data, time.time())

    def get_artifact(self, run: int, name: str) -> bytes | None:
        with self._db.read() as db:
            row = db.execute("SELECT data FROM artifacts WHERE run = ? AND name = ?", (run, name)).fetchone()
        return None if row is None else bytes(row[0])

    def delete_artifact(self, run: int, name: str) -> None:
        with self._db.write() as db:
            db.execute("DELETE FROM artifacts WHERE run = ? AND name = ?", (run, name))

    def artifact_sizes(self, name: str) -> dict[int, int]:
        """Bytes of the artifact of this name, by the number of its run."""
        seen, values = self.seen()
        sql = f"SELECT run, length(data) FROM artifacts WHERE name = ? AND run IN (SELECT id FROM runs WHERE {seen})"
        with self._db.read() as db:
            return dict(db.execute(sql, [name, *values]).fetchall())

    def artifact_names(self, run: int) -> list[str]:
        with self._db.read() as db:
            return [row[0] for row in db.execute("SELECT name FROM artifacts WHERE run = ? ORDER BY name", (run,))]


def _plain(value: Any) -> Any:
    """A number or array of NumPy or torch, as a number or list."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"an event holds a {type(value).__name__}, which JSON does not have")


def _no_run(run: int) -> errors.UnknownName:
    return errors.UnknownName(f"There is no run {run}; it may have been deleted. The list of runs shows all.")


def _insert(db: sqlite3.Connection, spec: Mapping[str, Any], owner: str, title: str, engine: str) -> int:
    now = time.time()
    row = db.execute(
        "INSERT INTO runs (spec, title, owner, status, created, queued, engine) VALUES (?,?,?,'queued',?,?,?)",
        (json.dumps(dict(spec), sort_keys=True), title, owner, now, now, engine),
    )
    assert row.lastrowid is not None  # an INSERT has just been executed
    return row.lastrowid


def _put(db: sqlite3.Connection, run: int, name: str, data: bytes, now: float) -> None:
    db.execute("INSERT OR REPLACE INTO artifacts (run, name, time, data) VALUES (?,?,?,?)", (run, name, now, data))
