"""How long a run will take, by an earlier one that is like it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peftcore.spec import RunSpec
    from peftcore.store import Store

ALIKE = ("backbone", "method", "task", "batch_size")  # runs that agree on it take as long
LOOK_BACK = 60  # newest finished runs among which one like this is looked for


def seconds(specs: Sequence[RunSpec], store: Store) -> tuple[float, int] | None:
    """Seconds these runs take one by one, and the number of an earlier run that this is taken from; None where one of
    them has none like it.

    Like it: the newest finished run of the same backbone, method, task and batch size that shared its time with no
    other. What that run spent outside its epochs (loading, caching) is taken once, its mean epoch as often as this
    run has epochs.
    """
    total, earlier = 0.0, 0
    records = [record for record in store.runs(limit=LOOK_BACK, status="finished") if record.race is None]
    for spec in specs:
        settings = spec.to_dict()
        like = (r for r in records if all(_trait(r.spec, name) == _trait(settings, name) for name in ALIKE))
        ends = ((record.id, store.last_event(record.id, "finished")) for record in like)
        earlier, end = next(((run, end) for run, end in ends if end and end["epochs"]), (0, None))
        if end is None:
            return None
        epochs = sum(epoch["seconds"] for epoch in end["epochs"])
        total += end["seconds"] - epochs + epochs / len(end["epochs"]) * spec.epochs
    return total, earlier


def _trait(settings: dict[str, Any], name: str) -> Any:
    return settings[name]["name"] if name == "method" else settings[name]
