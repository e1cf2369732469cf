"""How many weights a run trains: fewer from the cut on, where a method switches heads off. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peftcore.store.runs import Store


def counts(started: Mapping[str, Any], cut: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Weights by part as a run counts them, from its events 'started' and, where there was one, 'heads_cut'."""
    return (cut or {}).get("parameters") or started["parameters"]  # a cut of an older run does not count them


def trained(started: Mapping[str, Any], cut: Mapping[str, Any] | None = None) -> int:
    """Those that learn: of the method and of the classifier."""
    found = counts(started, cut)
    return found["method"] + found["head"]


def of_run(store: Store, run: int) -> int | None:
    """The same of a run of the store; None where it has not begun."""
    started = store.last_event(run, "started")
    return trained(started, store.last_event(run, "heads_cut")) if started else None
