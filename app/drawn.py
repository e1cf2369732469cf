"""Figures are built once for all who look: what was built from the same data, in any session, is kept as its JSON.

A plan names a function of `peftcore.figures` and what it is given. Two plans are the same where these are, value by
value, so nothing has to be told when a run has gone on: its figure is another one then, and built once again.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

MOST_BYTES = 96 * 2**20  # of JSON, and of other values' pickles
_kept: OrderedDict[Hashable, tuple[int, Any]] = OrderedDict()
_lock = threading.Lock()
_building = threading.RLock()  # one at a time: two that build the same figure at once would take twice as long


@dataclass(frozen=True)
class Plan:
    """How a figure is made: a function and what it is given, then what else is done to it, in place."""

    build: Callable[..., go.Figure]
    args: tuple[Any, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    then: tuple[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]], ...] = ()

    def and_(self, change: Callable[..., Any], *args: Any, **settings: Any) -> Plan:
        """With a change of the figure, called as change(figure, ...); what it returns, if a figure, takes its place."""
        return Plan(self.build, self.args, self.settings, (*self.then, (change, args, settings)))

    def figure(self) -> go.Figure:
        """Builds it."""
        made = self.build(*self.args, **self.settings)
        for change, args, settings in self.then:
            changed = change(made, *args, **settings)
            made = changed if isinstance(changed, go.Figure) else made
        return made

    @property
    def key(self) -> str | None:
        """The same for the same function and values; None where a value cannot be compared."""
        return digest((self.build, self.args, self.settings, self.then))


@dataclass(frozen=True)
class Drawn:
    """A figure as the page is given it. `fixed`: it has a width of its own; `has_numbers`: `numbers.table` has rows."""

    json: str
    height: int | None
    fixed: bool
    title: str | None
    has_numbers: bool
    plan: Plan

    def figure(self) -> go.Figure:
        return self.plan.figure()


def plan(build: Callable[..., go.Figure], *args: Any, **settings: Any) -> Plan:
    """Of `build(*args, **settings)`."""
    return Plan(build, args, settings)


def once(function: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    """`function(*args, **settings)`, which depends on nothing else, once for all sessions: not to be changed."""
    key = digest((function, args, settings))
    return function(*args, **settings) if key is None else kept(key, lambda: function(*args, **settings))


def kept(key: Hashable, make: Callable[[], Any], size: Callable[[Any], int] | None = None) -> Any:
    """What was made under this key, by anybody."""
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key][1]
    with _building:
        with _lock:
            if key in _kept:
                return _kept[key][1]
        made = make()
        with _lock:
            _kept[key] = (size(made) if size else len(pickle.dumps(made)), made)
            total = sum(bytes for bytes, _ in _kept.values())
            while total > MOST_BYTES and len(_kept) > 1:
                total -= _kept.popitem(last=False)[1][0]
        return made


def digest(value: Any) -> str | None:
    """Of all that pickles; None where something does not, such as a function that has no name."""
    try:
        return hashlib.blake2b(pickle.dumps(value, protocol=5), digest_size=16).hexdigest()
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
