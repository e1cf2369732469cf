"""What a person adds to runs (name, note, tags, star), and putting runs away: archive, delete, restore, purge.

A deleted run can be restored until it is purged. All of it is kept as it was typed: whoever shows it escapes it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from peftcore import errors
from peftcore.store.record import WAITING
from peftcore.store.runs import Store

LONGEST_NAME, LONGEST_NOTE, LONGEST_TAG, MOST_TAGS = 80, 4000, 32, 12
KEPT_DAYS = 7  # after which a deleted run is purged when the app starts
# Bidirectional controls would turn what stands beside them around: a name is part of other people's lists.
_TURNING = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(rf"[\x00-\x1f\x7f-\x9f{_TURNING}]")


def mark(
    store: Store,
    runs: Iterable[int],
    *,
    name: str | None = None,
    note: str | None = None,
    tags: Iterable[str] | None = None,
    starred: bool | None = None,
) -> None:
    """Sets what is given, of each run; '' takes a name or a note away, no tags take all tags away.

    Raises:
        InvalidSetting: a name, a note or a tag that is too long, or more than MOST_TAGS tags; UnknownName: no such run.
    """
    values: dict[str, Any] = {}
    if name is not None:
        values["name"] = _short("A name", _CONTROL.sub(" ", name).strip(), LONGEST_NAME)
    if note is not None:
        values["note"] = _short("A note", re.sub(f"[{_TURNING}]", "", note).strip(), LONGEST_NOTE)
    if tags is not None:
        values["tags"] = json.dumps(_tags(tags), ensure_ascii=False)
    if starred is not None:
        values["starred"] = int(starred)
    if values:
        _set(store, [store.run(run).id for run in runs], values)


def archive(store: Store, runs: Iterable[int], on: bool = True) -> list[int]:
    """Takes runs out of the list of Runs, or back in, and returns those that were not so already. Links to them, and
    all else that knows them, stay. Raises InvalidSetting, UnknownName: as `delete`."""
    those = _ended(store, runs, "archived") if on else list(runs)
    changed = [run for run in those if (store.run(run).archived is not None) != on]
    _set(store, changed, {"archived": time.time() if on else None})
    return changed


def delete(store: Store, runs: Iterable[int]) -> list[int]:
    """Takes runs out of all lists, until they are restored or purged, and returns those that were not so already.

    Raises:
        InvalidSetting: one of them waits or works; nothing is deleted then. UnknownName: there is no such run.
    """
    changed = [run for run in _ended(store, runs, "deleted") if store.run(run).deleted is None]
    _set(store, changed, {"deleted": time.time()})
    return changed


def restore(store: Store, runs: Iterable[int]) -> list[int]:
    """Brings deleted runs back where they were, and returns those that were deleted. Raises UnknownName."""
    changed = [run for run in runs if store.run(run).deleted is not None]
    _set(store, changed, {"deleted": None})
    return changed


def forget(store: Store, runs: Iterable[int]) -> list[int]:
    """Forgets runs now, with their events and artifacts, and returns their numbers. There is no way back.

    Raises:
        InvalidSetting: one of them waits or works; none is forgotten then. UnknownName: there is no such run.
    """
    gone = _ended(store, runs, "deleted")
    for run in gone:
        store.delete_run(run)
    return gone


def purge(store: Store, days: float = KEPT_DAYS) -> list[int]:
    """Forgets the runs that were deleted more than `days` ago, with their events and artifacts; returns their numbers.
    There is no way back."""
    with store.write() as db:
        gone = db.execute("DELETE FROM runs WHERE deleted <= ? RETURNING id", (time.time() - days * 86400,)).fetchall()
    return sorted(row[0] for row in gone)


def tags_of(text: str) -> list[str]:
    """'seeds, thesis' -> ['seeds', 'thesis']."""
    return [tag for part in text.split(",") if (tag := part.strip())]


def _tags(tags: Iterable[str]) -> list[str]:
    found = list(dict.fromkeys(tag for one in tags for tag in tags_of(_CONTROL.sub(" ", one))))
    if len(found) > MOST_TAGS:
        raise errors.InvalidSetting(f"A run has at most {MOST_TAGS} tags; these are {len(found)}.")
    return [_short("A tag", tag, LONGEST_TAG) for tag in found]


def _short(what: str, text: str, longest: int) -> str:
    if len(text) > longest:
        raise errors.InvalidSetting(f"{what} has at most {longest:,} characters; this one has {len(text):,}.")
    return text


def _ended(store: Store, runs: Iterable[int], how: str) -> list[int]:
    records = [store.run(run) for run in runs]
    if busy := [record for record in records if record.status in WAITING]:
        raise errors.InvalidSetting(
            f"Run {busy[0].id} is {busy[0].status} and cannot be {how}; stop it first, or wait until it has ended."
        )
    return [record.id for record in records]


def _set(store: Store, runs: Sequence[int], values: dict[str, Any]) -> None:
    # A run that has been resumed meanwhile is at work and stays in the lists.
    store.put_marks(runs, values, only_ended=any(values.get(name) is not None for name in ("archived", "deleted")))
