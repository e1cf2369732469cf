"""The shelf of uploaded images as one person in a room has it: each verb asks whether they may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary, ref

from peftcore import uploads
from peftcore.engine.room.rights import SHELF, Rights
from peftcore.engine.room.room import Room
from peftcore.engine.room.rules import caps_of
from peftcore.errors import InvalidSetting
from peftcore.uploads.intake import Allow, Tell, silent
from peftcore.uploads.limits import Limits, size
from peftcore.uploads.sets import Kept, kept_set
from peftcore.uploads.survey import Survey

PIXELS = 5 * 10**9  # of an upload, where the environment says nothing: they take one to two minutes of a core


class _Unpacked:
    """What one person has unpacked and neither kept nor discarded. `turn`: one upload of theirs is unpacked at a time,
    or each would count on the same room."""

    def __init__(self) -> None:
        self.turn = Lock()
        self._surveys: list[ref[Survey]] = []

    def add(self, survey: Survey) -> None:
        self._surveys = [ref(one) for one in (*self.surveys(), survey)]

    def surveys(self) -> list[Survey]:
        """Those whose files are still there."""
        return [one for known in self._surveys if (one := known()) is not None and one.folder.is_dir()]


_unpacked: WeakKeyDictionary[Room, dict[str, _Unpacked]] = WeakKeyDictionary()  # by person


def limits() -> Limits:
    """Those of an upload in a room. Raises InvalidSetting as `Limits.here`."""
    found = Limits.here()
    return found if "all_pixels" in found.model_fields_set else found.model_copy(update={"all_pixels": PIXELS})


class ShelfAs:
    """Sets of uploaded images as somebody in a room has them."""

    def __init__(self, rights: Rights):
        self.rights = rights

    def kept(self) -> list[str]:
        """Names of the sets that may be looked at."""
        seen, owners = self.rights.seen(), self.rights.room.now().owners
        return [name for name in uploads.kept() if seen is None or owners.get(SHELF + name, "") in seen]

    def examine(self, source: Any, *, tell: Tell = silent) -> Survey:
        """As `uploads.examine`, once other uploads of this person are unpacked. Raises InvalidSetting, as soon as it
        is known: it holds more than they may keep beside what they keep and have unpacked already."""
        mine = self._mine()
        with mine.turn:
            survey = uploads.examine(source, limits=limits(), tell=tell, allow=self._allowance(mine.surveys()))
            mine.add(survey)
        return survey

    def keep(self, survey: Any, name: str, **how: Any) -> Kept:
        """As `uploads.keep`; the set is this person's. Raises InvalidSetting: they keep too many images already."""
        self._allowance()(len(survey), survey.bytes)
        return self._noted(uploads.keep(survey, name, **how))

    def keep_collected(self, pictures: Mapping[str, Sequence[bytes]], name: str) -> Kept:
        """As `uploads.keep_collected`; the set is this person's. Raises InvalidSetting: as `keep`."""
        several = [one for each in pictures.values() for one in each]
        self._allowance(self._mine().surveys())(len(several), sum(map(len, several)))
        return self._noted(uploads.keep_collected(pictures, name))

    def remove(self, name: str) -> None:
        """Raises NotYours: it is somebody else's."""
        self.rights.change(f"{name}, a set of uploaded images,", self.rights.room.now().owners.get(SHELF + name, ""))
        uploads.remove(name)

    def owns(self, name: str) -> bool:
        """Whether it may be removed."""
        return self.rights.owns(self.rights.room.now().owners.get(SHELF + name, ""))

    def _mine(self) -> _Unpacked:
        return _unpacked.setdefault(self.rights.room, {}).setdefault(self.rights.person.name, _Unpacked())

    def _allowance(self, unpacked: Sequence[Survey] = ()) -> Allow:
        """What refuses images and bytes that this person may not keep beside what they do, and what is `unpacked`."""
        me, owners = self.rights.person.name, self.rights.room.now().owners
        kept = [kept_set(name) for name in uploads.kept() if owners.get(SHELF + name) == me]
        mine: list[Kept | Survey] = [*kept, *unpacked]
        images, taken, caps = sum(map(len, mine)), sum(one.bytes for one in mine), caps_of(self.rights.room)(me)

        def allow(more: int, adds: int) -> None:
            try:
                caps.upload(images, more, taken, adds)
            except InvalidSetting as error:
                if not unpacked:
                    raise
                held = size(sum(one.bytes for one in unpacked))
                raise InvalidSetting(
                    f"{error} Of what you have, {held} wait on other pages of yours: keep or discard them there."
                ) from None

        return allow

    def _noted(self, kept: Kept) -> Kept:
        self.rights.room.own(SHELF + kept.name, self.rights.person.name)
        return kept
