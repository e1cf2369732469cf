"""The one component that draws figures: Plotly in the page itself, kept from one run of the script to the next.

A figure that changes is drawn over (`Plotly.react`): no blink, and the reader's zoom stays. A click on any mark, a
heatmap's cell too, arrives as its `customdata`. Plotly's script comes from the Plotly package through Streamlit's own
server, once per page, so nothing is asked of the network.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import plotly
import plotly.graph_objects as go
import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

from app.drawn import Drawn, Plan

NAME = "headroom.figure"
ASSETS = {  # served as /_stcore/bidi-components/<name>/<file>
    NAME: Path(__file__).parent / "assets",
    "headroom.plotly": Path(plotly.__file__).parent / "package_data",
}
DEFAULT_HEIGHT = 450  # pixels: Plotly's own, where a figure names none
_lock = threading.Lock()


def figure(
    drawn: go.Figure | Drawn,
    *,
    key: str,
    on_click: Callable[[], Any] | Literal["rerun"] | None = None,
    alt: str | None = None,
) -> list | None:
    """Draws a figure at its own size, or as wide as its place where it has none.

    Args:
        key: names the figure while it stays, and the file of its picture.
        on_click: called before the page runs again, when a mark was clicked, or chosen with the arrow keys and Enter;
            `links.clicked(key)` then gives its `customdata`. "rerun": the page only runs again. None: no clicks.
        alt: what the figure shows, for those who do not see it.

    Returns the `customdata` of the mark that was clicked just now, else None.
    """
    shown = drawn if isinstance(drawn, Drawn) else of(drawn)
    data = {
        "figure": shown.json,
        "name": key,
        "says": (alt or "").rstrip("."),  # a sentence goes on with what the keys do
        "clickable": on_click is not None,
        "plotly": plotly.__version__,
    }
    said = _component()(
        key=key,
        data=data,
        width="content" if shown.fixed else "stretch",
        height=shown.height or DEFAULT_HEIGHT,
        on_click_change=on_click if callable(on_click) else lambda: None,
    )
    return clicked(said)


def of(made: go.Figure, plan: Plan | None = None, has_numbers: bool = False) -> Drawn:
    """A figure as the page is given it."""
    height = int(made.layout.height) if made.layout.height else None
    fixed = made.layout.autosize is False
    return Drawn(made.to_json(validate=False), height, fixed, title(made), has_numbers, plan or Plan(lambda: made))


def title(made: go.Figure) -> str | None:
    """In one line, the note under it after a semicolon."""
    lines = re.split(r"<br>(?=<span)", made.layout.title.text or "")
    return html.unescape("; ".join(" ".join(re.sub(r"</?[a-z][^<>]*>", " ", line).split()) for line in lines)) or None


def clicked(said: Any) -> list | None:
    """The `customdata` in what the component says; None where nothing was clicked in this run."""
    chosen = said.get("click") if said else None
    return list(chosen) if isinstance(chosen, list) else None


def _component() -> Any:
    """The component, its files announced to the server that runs now: each test's app has one of its own.

    Streamlit finds a component's folder of files by the metadata of an installed package, which Headroom is not, so
    the folders are announced by the call that its own search ends in.
    """
    manager = get_bidi_component_manager()
    with _lock:  # an announcement takes the place of a component that another session is drawing with
        for name, folder in ASSETS.items():
            if manager.get_component_path(name) is None:
                package, short = name.split(".")
                config = ComponentConfig(short, asset_dir=folder.name)
                manager.register_from_manifest(ComponentManifest(package, "1", [config]), folder.parent)
        return _renderer()


@cache
def _renderer() -> Any:
    return st.components.v2.component(NAME, js="figure.js", css="figure.css", isolate_styles=False)
