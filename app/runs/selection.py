"""Which run or race the page shows, as the address says it, and the mark of each status."""

from __future__ import annotations

from typing import NamedTuple

from app import links, state
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
    """What the address names, else the newest run or race in the list."""
    for name in ("run", "race"):
        said = links.read(name)
        if said is not None and said.isdigit():
            return Choice(**{"run": None, "race": None, name: int(said)})
    entries = listing.page(state.store(), listing.Filter(), limit=1).entries
    if not entries:
        return None
    newest = entries[0][0]
    return Choice(None, newest.race) if newest.race else Choice(newest.id, None)


def choose(run: int | None = None, race: int | None = None) -> None:
    """Puts a run or a race into the address."""
    links.write(run=run, race=race)
