"""The list of runs, page by page: what is searched and filtered is searched and filtered by SQLite.

An entry of the list is a run, or a race with its variations. No event and no artifact is read.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from peftcore import errors
from peftcore.store.record import COLUMNS, RunRecord
from peftcore.store.runs import Store

Shelf = Literal["current", "archived", "deleted"]
SHELVES: Mapping[str, str] = {
    "current": "archived IS NULL AND deleted IS NULL",
    "archived": "archived IS NOT NULL AND deleted IS NULL",
    "deleted": "deleted IS NOT NULL",
}
FIELDS = {  # that a list can be narrowed by, as SQL
    "status": "status",
    "method": "json_extract(spec, '$.method.name')",
    "task": "json_extract(spec, '$.task')",
    "backbone": "json_extract(spec, '$.backbone')",
    "owner": "owner",
}
MOST_WORDS = 100  # of a search: SQLite nests what it looks for
LONGEST_NUMBER = 19  # digits; SQLite's own numbers have no more
# What a word is looked for in: all that stands in the list. Names of methods as they are written there, too.
_TEXT = " || char(10) || ".join(
    ["name", "note", "tags", "title", "owner", "status", "coalesce(error, '')"]
    + [f"coalesce({FIELDS[name]}, '')" for name in ("method", "task", "backbone")]
    + [f"replace(coalesce({FIELDS['method']}, ''), '_', '-')"]
)


@dataclass(frozen=True)
class Filter:
    """Which runs are listed.

    text: words that must all occur, in upper or lower case: in a name, a note, a tag, the method, task, backbone,
        status, owner or error; a number is also that of a run or race; `rank=8` is a setting and its value.
    status, method, task, backbone, owner, tag: one of these, each; any where there is none. The owner "" is the person
        at the machine.
    """

    text: str = ""
    status: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    backbone: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    starred: bool = False
    shelf: Shelf = "current"

    def __post_init__(self) -> None:
        if self.shelf not in SHELVES:
            raise errors.InvalidSetting(f"shelf = {self.shelf!r} is not one of {', '.join(get_args(Shelf))}.")

    def where(self) -> tuple[str, list[Any]]:
        """SQL after WHERE, and its values."""
        parts, values = [SHELVES[self.shelf]], list[Any]()
        for word in list(dict.fromkeys(self.text.split()))[:MOST_WORDS]:
            part, of = _word(word)
            parts.append(part)
            values += of
        for name, sql in FIELDS.items():
            if wanted := getattr(self, name):
                parts.append(f"{sql} IN ({','.join('?' * len(wanted))})")
                values += wanted
        if self.tag:
            marks = ",".join("?" * len(self.tag))
            parts.append(f"EXISTS (SELECT 1 FROM json_each(tags) WHERE value IN ({marks}))")
            values += self.tag
        if self.starred:
            parts.append("starred = 1")
        return " AND ".join(parts), values


@dataclass(frozen=True)
class Page:
    """A page of the list: entries, the newest first, each a run or the runs of a race, the newest first; and how many
    entries and how many runs there are on all pages together."""

    entries: list[list[RunRecord]]
    total: int
    runs: int


def page(store: Store, wanted: Filter, limit: int = 25, number: int = 0) -> Page:
    """Entries `number` * `limit` and on. Of a race of which any run fits, all runs on the same shelf are listed."""
    where, values = wanted.where()
    seen, of = store.seen()
    where, values = f"{seen} AND {where}", [*of, *values]
    entry = f"SELECT coalesce(race, id) AS entry, max(id) AS newest FROM runs WHERE {where} GROUP BY entry"
    with store.read() as db:
        _fold(db)
        total, runs = db.execute(
            f"SELECT count(DISTINCT coalesce(race, id)), count(*) FROM runs WHERE {where}", values
        ).fetchone()
        query = f"SELECT entry FROM ({entry}) ORDER BY newest DESC LIMIT ? OFFSET ?"
        order = [row[0] for row in db.execute(query, [*values, limit, limit * number])]
        marks = ",".join("?" * len(order))
        where = f"(id IN ({marks}) OR race IN ({marks})) AND {SHELVES[wanted.shelf]} AND {seen}"
        query = f"SELECT {COLUMNS} FROM runs WHERE {where} ORDER BY id DESC"
        records = [store.record(row) for row in db.execute(query, [*order, *order, *of])]
    found: dict[int, list[RunRecord]] = {number: [] for number in order}
    for record in records:
        found[record.race or record.id].append(record)
    return Page(list(found.values()), total, runs)


def facets(store: Store, shelf: Shelf = "current") -> dict[str, Counter[str]]:
    """What the runs of a shelf can be narrowed by, and how many runs have it, the most first: by name of FIELDS and
    'tag'; and by 'shelf', how many runs stand on each."""
    found = {}
    seen, of = store.seen()
    there = f"{SHELVES[shelf]} AND {seen}"
    with store.read() as db:
        for name, sql in FIELDS.items():
            rows = db.execute(f"SELECT {sql}, count(*) FROM runs WHERE {there} GROUP BY 1 ORDER BY 2 DESC, 1", of)
            found[name] = Counter({value: count for value, count in rows if value is not None})
        tags = f"SELECT value, count(*) FROM runs, json_each(runs.tags) WHERE {there} GROUP BY 1"
        found["tag"] = Counter(dict(db.execute(f"{tags} ORDER BY 2 DESC, 1", of).fetchall()))
        counts = {one: f"(SELECT count(*) FROM runs WHERE {where} AND {seen})" for one, where in SHELVES.items()}
        row = db.execute(f"SELECT {', '.join(counts.values())}", of * len(counts)).fetchone()
        found["shelf"] = Counter(dict(zip(counts, row, strict=True)))
    return found


def alike(store: Store, record: RunRecord, most: int, **same: str) -> list[RunRecord]:
    """The newest other runs that agree with a run in these FIELDS: `alike(store, record, 5, task="digits")`."""
    seen, of = store.seen()
    where = " AND ".join([SHELVES["current"], seen, "id != ?", *(f"{FIELDS[name]} = ?" for name in same)])
    with store.read() as db:
        query = f"SELECT {COLUMNS} FROM runs WHERE {where} ORDER BY id DESC LIMIT ?"
        return [store.record(row) for row in db.execute(query, [*of, record.id, *same.values(), most])]


def _word(word: str) -> tuple[str, list[Any]]:
    """SQL that says whether a word occurs, and its values."""
    name, sign, value = word.partition("=")
    if sign and value and name.isidentifier():
        # A number is found however it is written, a list by any of its parts.
        is_it = "fold(CASE WHEN type IN ('true', 'false') THEN type ELSE atom END) = ? OR atom = ?"
        where = f"(key = ? OR path = '$.method.' || ?) AND ({is_it})"
        return (
            f"EXISTS (SELECT 1 FROM json_tree(spec) WHERE {where})",
            [name, name, value.casefold(), _number(value)],
        )
    part, values = f"instr(fold({_TEXT}), ?)", list[Any]([word.casefold()])
    if word.isdecimal() and len(word) < LONGEST_NUMBER:
        part, values = f"({part} OR id = ? OR race = ?)", [*values, int(word), int(word)]
    return part, values


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _fold(db: sqlite3.Connection) -> None:
    """SQLite's own lower() knows the letters of English alone."""
    db.create_function("fold", 1, lambda text: str(text).casefold(), deterministic=True)
