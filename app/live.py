"""How often pages draw anew what is under way: each second, and less often where many have the app open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.runtime import Runtime
from streamlit.runtime.stats import ACTIVE_SESSIONS_FAMILY, GaugeStat

SECONDS = 1.0
EACH = 0.05  # seconds more for each session: to draw a run anew takes 0.025 of a core, and half of one is given to it
SLACK = 1.5  # by which what is right must differ from what is kept to before a page is drawn anew for it


def draw(
    view: Callable[..., object], *args: Any, is_live: bool, least: float = SECONDS, idle: float | None = None
) -> None:
    """Draws `view(*args, is_live)`, again and again while it is live; it calls `st.rerun` when that has changed.

    Args:
        least: seconds between two looks where few have the app open.
        idle: seconds between two looks where nothing is live; None for no second look.
    """
    every = seconds(least) if is_live else None
    st.fragment(_look, run_every=every or idle)(view, args, every, least)


def seconds(least: float = SECONDS) -> float:
    """Between two looks, by how many sessions there are now."""
    return max(least, EACH * _sessions())


def _look(view: Callable[..., object], args: tuple[Any, ...], every: float | None, least: float) -> None:
    if every is not None and not every / SLACK <= seconds(least) <= every * SLACK:
        st.rerun()
    view(*args, every is not None)


def _sessions() -> int:
    if not Runtime.exists():
        return 1
    found = Runtime.instance().stats_mgr.get_stats([ACTIVE_SESSIONS_FAMILY])
    return sum(int(stat.value) for stat in found[ACTIVE_SESSIONS_FAMILY] if isinstance(stat, GaugeStat))
