"""One room in a file of the home: its code, its people, its settings.

Many read it, hardly anybody writes: a process reads the file again only where SQLite says that somebody wrote to it.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from peftcore import errors
from peftcore.engine.room import names
from peftcore.engine.room.record import SCHEMA, Person, Settings
from peftcore.home import home
from peftcore.store.database import Database

FILE = "room.sqlite3"
TEACHER = "Teacher"
MOST_PEOPLE = 500  # in a room at once
_PERSON = "id, name, teacher, joined, removed, lifted"


@dataclass(frozen=True)
class Now:
    """The room as it is. people: by id, in the order in which they came. owners: of what is no run, such as a set of
    uploaded images, by its name."""

    people: Mapping[str, Person]
    settings: Settings
    facts: Mapping[str, Any]
    owners: Mapping[str, str]


class Room:
    """The room of `folder`, by default `home()`; the first one to open it draws its code and its secrets.

    Every method may be called from any thread.

    Raises:
        StoreUnavailable: the file cannot be read or written.
    """

    def __init__(self, folder: str | os.PathLike | None = None):
        self._db = Database((Path(folder) if folder is not None else home()) / FILE, SCHEMA)
        self._lock = threading.Lock()
        self._known: tuple[int, Now] | None = None
        first = {"code": names.new_code(), "teacher": secrets.token_urlsafe(24), "key": secrets.token_urlsafe(32)}
        teacher = (secrets.token_hex(8), TEACHER, names.alike(TEACHER), time.time())
        with self._db.write() as db:
            rows = [(name, json.dumps(value)) for name, value in first.items()]
            db.executemany("INSERT OR IGNORE INTO facts VALUES (?,?)", rows)
            insert = "INSERT OR IGNORE INTO people (id, name, alike, teacher, joined) VALUES (?,?,?,1,?)"
            db.execute(insert, teacher)
        self._watch = self._db._connect()  # of its own: SQLite counts what others than a connection write

    def now(self) -> Now:
        """The room as it is; as cheap as asking whether anybody wrote to it."""
        with self._lock:
            try:
                version = self._watch.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error as error:
                raise errors.StoreUnavailable(f"The room's file {self._db.path} cannot be read: {error}.") from error
            if self._known is None or self._known[0] != version:
                self._known = version, self._read()
            return self._known[1]

    def _read(self) -> Now:
        with self._db.read() as db:
            db.execute("BEGIN")  # of one moment
            rows = db.execute(f"SELECT {_PERSON} FROM people ORDER BY joined, id").fetchall()
            facts = {name: json.loads(value) for name, value in db.execute("SELECT name, value FROM facts")}
            owners = dict(db.execute("SELECT thing, owner FROM owners").fetchall())
            db.execute("COMMIT")
        people = {row[0]: Person(row[0], row[1], bool(row[2]), row[3], row[4], bool(row[5])) for row in rows}
        settings = Settings.of(facts.get("settings", {}))
        return Now(MappingProxyType(people), settings, MappingProxyType(facts), MappingProxyType(owners))

    # Who is who

    @property
    def code(self) -> str:
        """What lets somebody in."""
        return self.now().facts["code"]

    @property
    def teacher_secret(self) -> str:
        """What makes somebody the teacher: part of the teacher's link."""
        return self.now().facts["teacher"]

    @property
    def key(self) -> str:
        """What signs cookies."""
        return self.now().facts["key"]

    @property
    def teacher(self) -> Person:
        return next(person for person in self.now().people.values() if person.is_teacher)

    def person(self, id: str) -> Person | None:
        """Who has this id and has not been removed."""
        found = self.now().people.get(id)
        return found if found and found.removed is None else None

    def enter(self, name: str, account: str | None = None) -> Person:
        """Somebody new, under this name, or 'Ana (2)' where it is taken; an account that was here is who it was.

        Raises:
            InvalidSetting: the name cannot be one, too many came, or the teacher has removed this account.
        """
        wanted, now = names.clean(name), time.time()
        with self._db.write() as db:
            if account is not None:
                row = db.execute(f"SELECT {_PERSON} FROM people WHERE account = ?", (account,)).fetchone()
                if row and row[4] is not None:
                    raise errors.InvalidSetting("The teacher has removed this account from the room.")
                if row:
                    return Person(row[0], row[1], bool(row[2]), row[3], row[4], bool(row[5]))
            taken = {row[0] for row in db.execute("SELECT alike FROM people")}
            taken |= set(map(names.alike, names.OF_THE_MACHINE))
            [present] = db.execute("SELECT count(*) FROM people WHERE removed IS NULL").fetchone()
            if present >= MOST_PEOPLE:
                raise errors.InvalidSetting(
                    f"This room is full: {MOST_PEOPLE} people are in it. The teacher can remove some."
                )
            tries = [wanted, *(f"{wanted} ({number})" for number in range(2, len(taken) + 3))]
            free = next(one for one in tries if names.alike(one) not in taken)
            found = Person(secrets.token_hex(8), free, False, now)
            insert = "INSERT INTO people (id, name, alike, teacher, joined, account) VALUES (?,?,?,0,?,?)"
            db.execute(insert, (found.id, found.name, names.alike(found.name), now, account))
        return found

    def remove(self, id: str, on: bool = True) -> None:
        """Shows somebody the door, or lets them in again; their runs stay, and their name stays theirs."""
        with self._db.write() as db:
            sql = "UPDATE people SET removed = ? WHERE id = ? AND teacher = 0"
            if not db.execute(sql, (time.time() if on else None, id)).rowcount:
                raise errors.UnknownName("There is no such participant in the room.")

    def reserve(self, owners: Iterable[str]) -> None:
        """Gives the names of these owners of runs to nobody: where the room's file was deleted, whoever enters first as
        Ana has not the runs of the Ana of before."""
        now, named = time.time(), [owner for owner in owners if owner]
        insert = "INSERT OR IGNORE INTO people (id, name, alike, teacher, joined, removed) VALUES (?,?,?,0,?,?)"
        with self._db.write() as db:
            db.executemany(insert, [(secrets.token_hex(8), one, names.alike(one), now, now) for one in named])

    def lift(self, id: str, on: bool = True) -> None:
        """Lifts the limits for somebody, or sets them again."""
        with self._db.write() as db:
            if not db.execute("UPDATE people SET lifted = ? WHERE id = ?", (int(on), id)).rowcount:
                raise errors.UnknownName("There is no such participant in the room.")

    def own(self, thing: str, owner: str) -> None:
        """Notes whose something is that is no run, such as 'upload:cats'; who had it before has it no more."""
        with self._db.write() as db:
            db.execute("INSERT OR REPLACE INTO owners VALUES (?,?)", (thing, owner))

    # What the teacher has set

    def set(self, **values: Any) -> None:
        """Changes settings by name. Raises InvalidSetting."""
        with self._db.write() as db:
            row = db.execute("SELECT value FROM facts WHERE name = 'settings'").fetchone()
            settings = replace(Settings.of(json.loads(row[0]) if row else {}), **values)
            db.execute("INSERT OR REPLACE INTO facts VALUES ('settings', ?)", (json.dumps(asdict(settings)),))

    def write(self, name: str, value: Any) -> None:
        """Keeps a fact as JSON; None forgets it."""
        with self._db.write() as db:
            if value is None:
                db.execute("DELETE FROM facts WHERE name = ?", (name,))
            else:
                db.execute("INSERT OR REPLACE INTO facts VALUES (?,?)", (name, json.dumps(value)))

    def renew_code(self) -> str:
        """Draws another code: the old one lets nobody in any more, and who is in stays."""
        self.write("code", names.new_code())
        return self.code

    def close(self) -> None:
        """Closes its connections."""
        with self._lock:
            self._watch.close()
        self._db.close()
