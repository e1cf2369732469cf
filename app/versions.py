"""Which images a task's name means now: a kept set may be deleted, and another one be kept under its name."""

from __future__ import annotations

from peftcore.errors import HeadroomError

KEPT = "upload:"


def of(task: str) -> float:
    """To stand beside the task's name wherever something is remembered of it; 0 where the name says it all, and for a
    set that is gone."""
    if not task.startswith(KEPT):
        return 0.0
    from peftcore.uploads.sets import kept_set

    try:
        return kept_set(task.removeprefix(KEPT).partition("?")[0]).made
    except HeadroomError:
        return 0.0
