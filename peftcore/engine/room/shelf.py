"""The shelf of uploaded images as one person in a room has it: each verb asks whether they may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peftcore import uploads
from peftcore.engine.room.rights import SHELF, Rights
from peftcore.engine.room.rules import caps_of
from peftcore.uploads.sets import Kept, kept_set


class ShelfAs:
    """Sets of uploaded images as somebody in a room has them."""

    def __init__(self, rights: Rights):
        self.rights = rights

    def kept(self) -> list[str]:
        """Names of the sets that may be looked at."""
        seen, owners = self.rights.seen(), self.rights.room.now().owners
        return [name for name in uploads.kept() if seen is None or owners.get(SHELF + name, "") in seen]

    def keep(self, survey: Any, name: str, **how: Any) -> Kept:
        """As `uploads.keep`; the set is this person's. Raises InvalidSetting: they keep too many images already."""
        self._allow(len(survey), survey.bytes)
        return self._noted(uploads.keep(survey, name, **how))

    def keep_collected(self, pictures: Mapping[str, Sequence[bytes]], name: str) -> Kept:
        """As `uploads.keep_collected`; the set is this person's. Raises InvalidSetting: as `keep`."""
        self._allow(sum(map(len, pictures.values())), sum(len(one) for each in pictures.values() for one in each))
        return self._noted(uploads.keep_collected(pictures, name))

    def remove(self, name: str) -> None:
        """Raises NotYours: it is somebody else's."""
        self.rights.change(f"{name}, a set of uploaded images,", self.rights.room.now().owners.get(SHELF + name, ""))
        uploads.remove(name)

    def owns(self, name: str) -> bool:
        """Whether it may be removed."""
        return self.rights.owns(self.rights.room.now().owners.get(SHELF + name, ""))

    def _allow(self, more: int, adds: int) -> None:
        me, owners = self.rights.person.name, self.rights.room.now().owners
        mine = [kept_set(name) for name in uploads.kept() if owners.get(SHELF + name) == me]
        caps = caps_of(self.rights.room)(me)
        caps.upload(sum(map(len, mine)), more, sum(kept.bytes for kept in mine), adds)

    def _noted(self, kept: Kept) -> Kept:
        self.rights.room.own(SHELF + kept.name, self.rights.person.name)
        return kept
