"""From lives of storages to bytes by component over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from peftcore.memory.report import COMPONENTS

if TYPE_CHECKING:
    from peftcore.memory.lifetimes import Life

_ROW = {name: i for i, name in enumerate(COMPONENTS)}


def levels(lives: Sequence[Life], ticks: int) -> np.ndarray:
    """Bytes by component at each operator, (components, ticks) int64.

    A storage counts at tick t when born <= t <= died: what dies after an operator was still alive while it
    ran.
    """
    change = np.zeros((len(COMPONENTS), ticks + 1), dtype=np.int64)
    for life in lives:
        end = ticks - 1 if life.died is None else life.died
        if life.role is not None:
            spans = [(life.role, life.born, end)]
        else:
            kept = end if life.keepers else min(life.kept_until, end)
            spans = [("activations", life.born, kept), ("workspace", max(kept + 1, life.born), end)]
        for role, first, last in spans:
            if first <= last:
                change[_ROW[role], first] += life.nbytes
                change[_ROW[role], last + 1] -= life.nbytes
    return change.cumsum(axis=1)[:, :-1]


def peak(lives: Sequence[Life], phases: Sequence[str], places: Sequence[str]) -> dict[str, Any]:
    """Bytes by component, total, phase and module at the first moment of the highest total."""
    table = levels(lives, len(phases))
    top = int(table.sum(axis=0).argmax())
    return {
        **_moment(table, top),
        "total": int(table[:, top].sum()),
        "phase": phases[top],
        "where": places[top],
        "tick": top,
    }


def curve(lives: Sequence[Life], phases: Sequence[str], places: Sequence[str], points: int) -> list[dict[str, Any]]:
    """At most `points` moments: the ends of every phase, the peak, and the highest moment of each stretch
    between.
    """
    table = levels(lives, len(phases))
    total = table.sum(axis=0)
    ticks = len(phases)
    changes = [t for t in range(1, ticks) if phases[t] != phases[t - 1]]
    chosen = {0, ticks - 1, int(total.argmax()), *changes, *(t - 1 for t in changes)}
    room = max(points - len(chosen), 0)
    if ticks <= points:
        chosen = set(range(ticks))
    elif room:
        edges = np.linspace(0, ticks, room + 1).astype(int)
        chosen |= {int(a + total[a:b].argmax()) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a}
    return [
        {"t": t / max(ticks - 1, 1), "phase": phases[t], "where": places[t], **_moment(table, t)}
        for t in sorted(chosen)
    ]


def _moment(table: np.ndarray, t: int) -> dict[str, int]:
    return {name: int(table[i, t]) for name, i in _ROW.items()}
