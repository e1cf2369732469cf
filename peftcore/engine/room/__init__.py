"""A room: many people at one Headroom. Who they are, what each may do, what the teacher has set."""

from peftcore.engine.room.record import LOOKING, Person, Settings
from peftcore.engine.room.room import Room

__all__ = ["LOOKING", "Person", "Room", "Settings"]
