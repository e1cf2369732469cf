"""Two methods, each with a seed that the reader rolls: who wins on how many tasks?"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import links, theme
from app.captions import caption
from app.drawn import plan
from app.learn import mini
from peftcore.figures.choice import seed_rolls
from peftcore.figures.method_style import method_title


def draw(settings: Mapping[str, Any]) -> None:
    """`first`, `second`: the methods that it begins with; the two that are closest to each other where not said."""
    names, closest = mini.methods(), mini.closest()
    places = st.columns([3, 3, 2], vertical_alignment="bottom")
    with places[0]:
        first = _method("first", names, settings.get("first", closest[0]))
    with places[1]:
        second = _method("second", [name for name in names if name != first], settings.get("second", closest[1]))
    rolled = {first: links.number("seeds_a", 0, 99, 0), second: links.number("seeds_b", 0, 99, 0)}
    with places[2]:
        st.button("Roll the seeds", key="learn_seeds_roll", type="primary", icon=":material/casino:", on_click=_roll)
    results = {name: mini.results()[name] for name in rolled}
    theme.show(plan(seed_rolls, results, rolled, dark=theme.is_dark()), "seeds")
    count = mini.seeds()
    large = " and ".join(f"seed {rolled[name] % count} of {method_title(name)}" for name in rolled)
    caption(
        f"Recorded runs of {mini.BACKBONE} on the mini-VTAB{mini.since()}. Large: {large}. A seed decides where new "
        "weights begin and in which order the images come, and nothing else.",
        mini.record()["command"],
    )


def _method(name: str, options: Any, default: str) -> str:
    default = default if default in options else options[0]
    return links.choice(
        st.selectbox, "learn", f"seeds_{name}", f"{name} method", options, default=default, show=method_title
    )


def _roll() -> None:
    """Another pair of seeds than the one that is shown."""
    count = mini.seeds()
    now = links.number("seeds_a", 0, 99, 0) % count, links.number("seeds_b", 0, 99, 0) % count
    other = [(a, b) for a in range(count) for b in range(count) if (a, b) != now] or [now]
    a, b = random.choice(other)
    links.write(seeds_a=a, seeds_b=b)
