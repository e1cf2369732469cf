"""The room as one person has it: the teacher changes it, nobody else does, whatever calls it."""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from peftcore import errors
from peftcore.engine.room import Room, challenge
from peftcore.engine.room.rights import Rights
from peftcore.engine.room.ruling import SECRETS, RoomAs

READS = {"now", "person", "teacher"}  # what a participant may ask; all else that a room does is tried below
MACHINES = {"enter", "own", "close", "reserve"}  # the door's, the shelf's and the process's: nobody's in the room
APP = Path(__file__).resolve().parents[2] / "app"


def dump(room: Room) -> list[str]:
    with room._db.read() as db:
        return list(db.iterdump())


def verbs() -> list[str]:
    """Found by looking at the class: a new verb is tried, and refused, without anybody thinking of it."""
    return sorted(name for name in vars(Room) if not name.startswith("_") and name not in READS)


def use(room: Room, name: str, person: str) -> object:
    """Calls a verb with something for each argument that it needs, or reads a property."""
    kind = inspect.getattr_static(Room, name)
    if isinstance(kind, property):
        return getattr(room, name)
    given = {"id": person, "name": "challenge", "value": None, "thing": "upload:x", "owner": "Bo", "owners": ["x"]}
    needed = [p for p in list(inspect.signature(kind).parameters.values())[1:] if p.default is p.empty and p.kind <= 1]
    return getattr(room, name)(*[given[p.name] for p in needed], **({"message": "x"} if name == "set" else {}))


def changes(mine: RoomAs, on: challenge.Challenge) -> list[Callable[[], object]]:
    """What pages ask of a room."""
    return [
        lambda: challenge.begin(mine, on),
        lambda: challenge.begin(mine, None),
        lambda: challenge.reveal(mine),
        lambda: mine.set(paused=True),
        lambda: mine.set(launching=False),
        lambda: mine.set(message="x"),
        lambda: mine.lift(mine.rights.id),
    ]


def test_no_verb_of_the_room_is_a_participants_or_nobodys(room):
    ana, bo = room.enter("Ana"), room.enter("Bo")
    gone = room.enter("Gone")
    room.remove(gone.id)
    on = challenge.Challenge("digits", time.time())
    challenge.begin(room, on)
    before = dump(room)
    assert {"set", "lift", "remove", "write", "renew_code", "enter", "own", "key", "code"} <= set(verbs())
    for id in (ana.id, gone.id, "nobody", ""):
        mine = RoomAs(Rights(room, id))
        for name in verbs():
            with pytest.raises(errors.NotYours):
                use(mine, name, bo.id)
        for change in changes(mine, on):
            with pytest.raises(errors.NotYours):
                change()
        assert dump(room) == before
        if id != ana.id:
            with pytest.raises(errors.NotYours, match="no longer in this room"):
                mine.now()
    seen = RoomAs(Rights(room, ana.id))
    assert seen.person(bo.id) == bo and seen.person(gone.id) is None and seen.teacher == room.teacher
    assert challenge.challenge(seen) == on and not set(seen.now().facts) & set(SECRETS)


def test_the_teacher_rules_and_the_machine_may_all(room):
    ana = room.enter("Ana")
    mine = RoomAs(Rights(room, room.teacher.id))
    old = mine.code
    assert mine.renew_code() == room.code != old
    mine.set(paused=True, message="Lunch")
    mine.lift(ana.id)
    challenge.begin(mine, challenge.Challenge("digits", time.time()))
    challenge.reveal(mine)
    assert room.now().settings.paused and room.person(ana.id).lifted and challenge.challenge(room).revealed
    mine.remove(ana.id)
    assert room.person(ana.id) is None
    for name in sorted(MACHINES & set(verbs()) | {"key", "teacher_secret"}):
        with pytest.raises(errors.NotYours, match="the machine itself"):
            use(mine, name, ana.id)
    for secret in SECRETS:
        with pytest.raises(errors.NotYours):
            mine.write(secret, "known")


def test_pages_change_the_room_as_whoever_looks_at_them():
    """`greeting.room()` is the machine's own: no page changes it by that."""
    changing = {"set", "lift", "remove", "write", "renew_code", "own"}
    found = []
    for file in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            argument = ast.unparse(node.args[0]) if node.args else ""
            if called.endswith(tuple(f"greeting.room().{name}" for name in changing)) or (
                called in ("challenge.begin", "challenge.reveal") and argument != "who.room()"
            ):
                found.append(f"{file.name}:{node.lineno}")
    assert not found
