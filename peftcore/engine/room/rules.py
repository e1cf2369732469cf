"""What the engine asks of a room: the limits of a person by name, and whether the queue is held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from peftcore.engine.caps import Caps
from peftcore.engine.room.room import Room

NONE = Caps(waiting=None, waiting_all=None)  # the teacher has none, nor has somebody for whom they were lifted


def caps_of(room: Room) -> Callable[[str], Caps]:
    """The caps of a person by name, as `Engine.caps_of` wants them; while the queue is paused nobody's runs begin."""

    def of(owner: str) -> Caps:
        now = room.now()
        person = next((one for one in now.people.values() if one.name == owner), None)
        caps = NONE if person and (person.is_teacher or person.lifted) else Caps.in_a_room()
        return replace(caps, running=0) if now.settings.paused else caps

    return of
