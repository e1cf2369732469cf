"""What somebody in a room may do: look at runs, change them, launch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peftcore import errors, uploads
from peftcore.backbone.weights import REMOTE
from peftcore.engine.room.challenge import challenge
from peftcore.engine.room.ending import ended
from peftcore.engine.room.record import Person, Settings
from peftcore.engine.room.room import Room
from peftcore.fetch import places
from peftcore.fetch.curated import CURATED
from peftcore.store import RunRecord
from peftcore.task import here

HUB = ("hf-hub:", "hf_hub:")  # whose configuration timm asks of the hub before anything else
SHELF = "upload:"  # of tasks whose images somebody in the room brought


@dataclass(frozen=True)
class Rights:
    """Of one person, asked anew each time: the teacher may change them while a page is open.

    The machine's own runs, which nobody in the room launched, are the teacher's.
    """

    room: Room
    id: str

    @property
    def person(self) -> Person:
        """Raises NotYours: the person has been removed."""
        if (found := self.room.person(self.id)) is None:
            raise errors.NotYours("You are no longer in this room. Ask the teacher, or enter it again.")
        return found

    @property
    def settings(self) -> Settings:
        return self.room.now().settings

    @property
    def teachers(self) -> tuple[str, ...]:
        """Owners of what is the teacher's."""
        return ("", self.room.teacher.name)

    def seen(self) -> tuple[str, ...] | None:
        """Owners whose runs may be looked at; None for all."""
        me = self.person
        if me.is_teacher or self.settings.looking == "all":
            return None
        return (me.name, *self.teachers) if self.settings.looking == "teacher" else (me.name,)

    def seals(self) -> bool:
        """Whether a challenge keeps anything from this person."""
        now = challenge(self.room)
        return now is not None and not now.revealed and not self.person.is_teacher

    def sealed(self, record: RunRecord) -> bool:
        """Whether what this run answered on the test images is kept from this person."""
        now = challenge(self.room)
        return now is not None and now.seals(record) and not self.person.is_teacher

    def sight(self) -> str:
        """The same for two people who are shown the same of every run: part of a key under which pages keep things."""
        now = challenge(self.room)
        return f"{self.seen()} {(now.task, now.began) if now and self.seals() else ''}"

    def owns(self, owner: str) -> bool:
        """Whether what this owner has may be changed."""
        me = self.person
        return me.is_teacher or owner == me.name

    def look(self, what: str, owner: str) -> None:
        """Raises NotYours: it may not be looked at."""
        seen = self.seen()
        if seen is not None and owner not in seen:
            raise errors.NotYours(
                f"{what} belongs to somebody else, and in this room one looks at {_whose(self.settings.looking)}."
            )

    def change(self, what: str, owner: str) -> None:
        """Raises NotYours: it may not be changed."""
        if not self.owns(owner):
            whose = "the teacher" if owner in self.teachers else owner
            raise errors.NotYours(f"{what} belongs to {whose}; only {whose} and the teacher change or stop it.")

    def teach(self, what: str) -> None:
        """Raises NotYours: only the teacher may do it."""
        if not self.person.is_teacher:
            raise errors.NotYours(f"Only the teacher {what}.")

    def task(self, name: str) -> None:
        """Raises NotYours: the task's images are somebody else's and may not be looked at; the same where there are
        none, so that nobody learns which names there are."""
        base, seen = name.partition("?")[0], self.seen()
        if not base.startswith(SHELF) or seen is None:
            return
        shelf, set_ = self.room.now().owners.get(base, ""), base.removeprefix(SHELF)
        if shelf not in seen or set_ not in uploads.kept():
            raise errors.NotYours(
                f"You have no set of uploaded images {set_!r}, and in this room one looks at "
                f"{_whose(self.settings.looking)}."
            )

    def predict(self, backbone: str, task: str = "") -> None:
        """Whether what these take, or what a backbone is made of, may be found out: nothing is fetched for it.

        Raises:
            NotYours: as `task`, or a link or form names what only the teacher may name. DataUnavailable: it would have
            to be fetched first.
        """
        self.task(task)
        if not self.person.is_teacher:
            fetched(backbone, task)
        elif backbone.startswith(HUB) and not places.here(backbone):
            raise errors.DataUnavailable(
                f"{backbone} is not on this machine, and in a room nothing is fetched to predict what it takes. It "
                "can be launched, which fetches it."
            )

    def fetch(self, what: str) -> None:
        """Raises NotYours: only the teacher has something downloaded by a page."""
        self.teach(f"has {what} downloaded in a room")

    def launch(self, settings: Mapping[str, Any]) -> None:
        """Whether a run with these settings may be queued.

        Raises:
            NotYours: the room has ended or launching is closed, or a link or form names what only the teacher may name.
            InvalidSetting: it is not what the teacher has pinned.
        """
        me, now = self.person, self.settings
        if me.is_teacher:
            return
        if ended(self.room) is not None:
            raise errors.NotYours("The teacher has ended the room: nothing more is launched in it.")
        if not now.launching:
            raise errors.NotYours("The teacher has closed launching for now. What is queued goes on.")
        fetched(str(settings.get("backbone", "")), str(settings.get("task", "")))
        if settings.get("pretrained", True):
            _curated(str(settings.get("backbone", "")))
        if settings.get("weights"):
            raise errors.NotYours("In a room only the teacher names a file of weights.")
        self.task(str(settings.get("task", "")))
        if now.pinned:
            pinned(settings, now.pinned, now.free)


def _whose(looking: str) -> str:
    return {"teacher": "one's own and the teacher's", "own": "one's own"}[looking]


def fetched(backbone: str, task: str) -> None:
    """Raises NotYours: the machine would download something, or read a folder, that only the teacher names in a room.

    A data set that is here already is anybody's.
    """
    if backbone.startswith(REMOTE):
        raise _would_come(backbone)
    try:
        if task and not here(task):
            raise _would_come(task)
    except errors.NotYours:
        raise
    except errors.HeadroomError:
        return  # which says better what is wrong, where the task is loaded


def _curated(backbone: str) -> None:
    """Raises NotYours: the backbone's weights would be downloaded, and it is not one of the few that are known."""
    try:
        if backbone not in CURATED and not places.here(backbone):
            raise _would_come(backbone)
    except errors.UnknownName:
        return  # which says better what is wrong, where it is loaded


def _would_come(name: str) -> errors.NotYours:
    return errors.NotYours(
        f"{name} would be downloaded, or read from a folder of this machine; in a room only the teacher does that. "
        "Take one of the backbones and tasks that are here, or upload images."
    )


def pinned(settings: Mapping[str, Any], fixed: Mapping[str, Any], free: tuple[str, ...]) -> None:
    """Raises InvalidSetting: a setting that is not free differs from what is pinned."""
    for name, value, wanted in _differences(settings, fixed):
        if name not in free and not (name.startswith("method.") and "method" in free):
            may = ", ".join(free) or "nothing"
            raise errors.InvalidSetting(
                f"The teacher has pinned {name} = {wanted}; this run has {value}. What may vary: {may}."
            )


def _differences(settings: Mapping[str, Any], fixed: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    found = []
    for name in sorted({*settings, *fixed} - {"method"}):
        if settings.get(name) != fixed.get(name):
            found.append((name, settings.get(name), fixed.get(name)))
    mine, theirs = dict(settings.get("method", {})), dict(fixed.get("method", {}))
    if mine.get("name") != theirs.get("name"):
        return [*found, ("method", mine.get("name"), theirs.get("name"))]
    for name in sorted({*mine, *theirs}):
        if mine.get(name) != theirs.get(name):
            found.append((f"method.{name}", mine.get(name), theirs.get(name)))
    return found
