"""What a room keeps: its people and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from peftcore import errors

# facts: the code, the teacher's secret, the key that signs cookies, the settings, each as JSON.
# alike: the name as two are compared. account: who a sign-in service says that this is.
SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE people (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, alike TEXT NOT NULL UNIQUE, teacher INTEGER NOT NULL, joined REAL NOT NULL,
    account TEXT UNIQUE, removed REAL, lifted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE owners (thing TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID
"""
LOOKING = {  # whose runs a participant may look at
    "all": "everybody's runs",
    "teacher": "their own and the teacher's",
    "own": "their own",
}


@dataclass(frozen=True)
class Person:
    """Somebody in the room. `name` is theirs alone, and what the store knows as the owner of their runs."""

    id: str
    name: str
    is_teacher: bool
    joined: float
    removed: float | None = None
    lifted: bool = False  # the teacher has lifted the limits for them


@dataclass(frozen=True)
class Settings:
    """What the teacher has set.

    looking: a name of LOOKING. launching: whether participants may launch. paused: whether queued runs wait. pinned:
    the settings of a RunSpec that is fixed, {} for none; free: its fields, and settings of its method, that may vary.
    message: for all, '' for none.
    """

    looking: str = "all"
    launching: bool = True
    paused: bool = False
    pinned: Mapping[str, Any] | None = None
    free: tuple[str, ...] = ()
    message: str = ""

    def __post_init__(self) -> None:
        if self.looking not in LOOKING:
            raise errors.InvalidSetting(f"looking = {self.looking!r} is not one of {', '.join(LOOKING)}.")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """From JSON; what an older or newer Headroom wrote beside it is left out."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**known | {"free": tuple(known.get("free", ()))})
