"""The room itself as one person in it has it: the teacher rules, all others read what concerns all."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from peftcore import errors
from peftcore.engine.room.acting import LOCAL, refusal_of
from peftcore.engine.room.record import Person
from peftcore.engine.room.rights import Rights
from peftcore.engine.room.room import Now, Room

SECRETS = ("code", "teacher", "key")  # facts that nobody reads or writes by name


class RoomAs(Room):
    """The room as somebody in it has it. What is not named here is refused, as in acting.py.

    Raises:
        NotYours: only the teacher may do it, only the machine itself, or the person has been removed.
    """

    def __init__(self, rights: Rights):
        self.whole, self.rights = rights.room, rights

    # What concerns all

    def now(self) -> Now:
        """Without the secrets."""
        assert self.rights.person, "raises where they are not in the room"
        now = self.whole.now()
        return replace(now, facts=MappingProxyType({n: v for n, v in now.facts.items() if n not in SECRETS}))

    def person(self, id: str) -> Person | None:
        return next((one for one in self.now().people.values() if one.id == id and one.removed is None), None)

    # What the teacher does

    @property
    def code(self) -> str:
        self.rights.teach("shows the code")
        return self.whole.code

    @property
    def teacher_secret(self) -> str:
        raise errors.NotYours(LOCAL.format("teacher_secret"))

    @property
    def key(self) -> str:
        raise errors.NotYours(LOCAL.format("key"))

    def remove(self, id: str, on: bool = True) -> None:
        self.rights.teach("removes people or lets them in again")
        self.whole.remove(id, on)

    def lift(self, id: str, on: bool = True) -> None:
        self.rights.teach("lifts limits")
        self.whole.lift(id, on)

    def set(self, **values: Any) -> None:
        self.rights.teach("sets what holds in the room")
        self.whole.set(**values)

    def write(self, name: str, value: Any) -> None:
        """A challenge, for one."""
        self.rights.teach(f"sets the room's {name}")
        if name in SECRETS:
            raise errors.NotYours(LOCAL.format(f"writing {name}"))
        self.whole.write(name, value)

    def renew_code(self) -> str:
        self.rights.teach("draws another code")
        return self.whole.renew_code()


for _name in {name for name in vars(Room) if not name.startswith("_")} - set(vars(RoomAs)) - {"teacher"}:
    setattr(RoomAs, _name, refusal_of(_name))
