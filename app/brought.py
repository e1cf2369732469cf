"""What somebody brings to be looked at, an adapter or a picture: whose it is, and who finds it in a list.

A link opens what it names for whoever has it: nobody who has not the bytes can guess its code.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.room import who


def owner() -> str:
    """Whose it is that is brought now: a person's id, '' where nobody has a name.

    Raises:
        NotYours: a stranger in a room.
    """
    may = who.rights()
    return "" if may is None else may.id


def listed(owners: Iterable[str]) -> set[str]:
    """Of these people, those whose adapters are in the lists of whoever looks at the page: as their runs are.

    What nobody in the room brought is the teacher's; of somebody whom the room does not know, it is only for who sees
    everything.
    """
    may = who.rights()
    if may is None or (seen := may.seen()) is None:
        return set(owners)
    names = {"": ""} | {person.id: person.name for person in may.room.now().people.values()}
    return {one for one in owners if names.get(one) in seen}
