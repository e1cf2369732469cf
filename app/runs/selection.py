"""Which run or race the page shows, as the address says it, and the mark of each status."""

from __future__ import annotations

from typing import NamedTuple

from app import links, state, subjects
from peftcore.errors import UnknownName
from peftcore.store import listing

ICONS = {
    "queued": ":gray[:material/schedule:]",
    "running": ":blue[:material/play_circle:]",
    "finished": ":green[:material/check_circle:]",
    "failed": ":red[:material/error:]",
    "cancelled": ":gray[:material/cancel:]",
    "interrupted": ":orange[:material/pause_circle:]",
}


ORDER = tuple(ICONS)


class Choice(NamedTuple):
    """What the page shows: a run, or a race, by its number. `race` of a run: the one it is a variation in."""

    run: int | None
    race: int | None


def chosen() -> Choice | None:
    """What the address names, else the newest run or race in the list. Raises UnknownName: it names no number."""
    for name in ("run", "race"):
        if (said := links.read(name)) is None:
            continue
        if (number := subjects.number(said)) is None:
            raise UnknownName(f"There is no {name} {said!r}; a {name} is named by its number, such as {name}=1.")
        return Choice(**{"run": None, "race": None, name: number})
    entries = listing.page(state.store(), listing.Filter(), limit=1).entries
    if not entries:
        return None
    newest = entries[0][0]
    return Choice(None, newest.race) if newest.race else Choice(newest.id, None)


def missing(choice: Choice | None) -> UnknownName | None:
    """What is wrong with a link to a run or race that is not there; None where it is, or none is named."""
    if choice is None:
        return None
    try:
        state.store().run(choice.run or choice.race or 0)
    except UnknownName as error:
        return error
    return None


def choose(run: int | None = None, race: int | None = None) -> None:
    """Puts a run or a race into the address."""
    links.write(run=run, race=race)
