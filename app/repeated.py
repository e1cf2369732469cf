"""The same choices and figures once more on a page: within a place, their keys end in its name.

They still share what the address says; without an ending Streamlit refuses two widgets of one key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_name: ContextVar[str] = ContextVar("place", default="")


@contextmanager
def named(name: str) -> Iterator[None]:
    """Within it keys end in `name`."""
    token = _name.set(name)
    try:
        yield
    finally:
        _name.reset(token)


def here(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function, to be called later as in this place."""
    name = _name.get()

    def called() -> Any:
        with named(name):
            return function()

    return called


def key_of(name: str) -> str:
    """The key of a widget or a figure in this place."""
    return name + _name.get()
