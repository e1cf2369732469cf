"""The page's theme, and how figures come into it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import plotly.graph_objects as go
import streamlit as st

from app import links, numbers, screen, words
from app.figure import figure as draw
from peftcore.figures.theme import larger, marked, muted, narrowed

# What the theme cannot say: under the navigation Streamlit leaves a gap a fifth of a laptop's screen high, and a list
# made of buttons is centred. A link to another view of the same page is no place where one is already. In one row all
# controls are as high as a select box. Columns that hold pictures of a fixed size stack where both have no room.
_STYLE = """<style>
[data-testid="stLayoutWrapper"]:has(> :is(.st-key-screen, .st-key-screen_tour)) {display: none}
.stMainBlockContainer {padding-top: 4.25rem; padding-bottom: 3rem}
[class*="st-key-card_"] {padding: 0 0 0.4rem}
[class*="st-key-card_"] .stMarkdown {padding: 0 0.75rem}
.stMain [data-testid="stPageLink-NavLink"]:not(:hover) {background: none}
[class*="st-key-task_"] a {padding-left: 0}
.st-key-task_all a, button[data-variant="segmented_control"] {min-height: 2.5rem}
.stSelectbox input {text-overflow: ellipsis}
[class*="st-key-run_"] button {padding: 0.3rem 0.75rem}
@media (max-width: 1250px) {
  [class*="st-key-wrap_"] [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"]) {flex-wrap: wrap}
  [class*="st-key-wrap_"] > * > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] {
    min-width: min(100%, 610px)
  }
}
[class*="st-key-run_"] button, [class*="st-key-run_"] button > div {justify-content: flex-start; text-align: left}
</style>"""


def apply() -> None:
    """The few lines of style that the theme cannot say, and how wide the window is."""
    numbers.forget()
    screen.watch()
    # Captions as the figures' small text: Streamlit's grey is too pale (WCAG AA). Type grows on a projector.
    wrong = (
        '.stElementContainer:has(+ .stElementContainer [data-testid="stCaptionContainer"] [aria-label="error icon"]) '
        ':is([data-testid="stTextInputRootElement"], [data-baseweb="select"] > div) '
        f"{{border-color: {'#F2736B' if is_dark() else '#B3261E'}}}"  # a field whose value is refused
    )
    of = "[data-testid='stCaptionContainer']"
    small = f"{of}, {of} p {{color: {muted(is_dark())}; opacity: 1}}"
    st.html(
        _STYLE.replace(
            "</style>", f"{small}\n{wrong}\n@media (min-width: 1800px) {{html {{font-size: 18px}}}}\n</style>"
        )
    )


def is_dark() -> bool:
    """Whether this reader's page is dark, and not one to be printed."""
    return st.context.theme.type == "dark" and not screen.is_paper()


def show(
    figure: go.Figure,
    key: str,
    *,
    spec: Mapping[str, Any] | None = None,
    on_click: Callable[[], Any] | Literal["rerun"] | None = None,
    alt: str | None = None,
) -> list | None:
    """Draws a figure of `peftcore.figures`, which has its own template, for the window that the reader has.

    `spec`: of the run whose model the figure shows; where its backbone began with random weights, the figure says so.
    For the rest, and for what it returns, see `app.figure`.
    """
    key, on_click = links.key_of(key), links.here(on_click) if callable(on_click) else on_click
    if spec and words.random_weights(spec):
        marked(figure, "random weights", is_dark())
    numbers.drawn(key, _title(figure) or "", figure)
    if screen.is_phone():
        figure = narrowed(figure, screen.width() - screen.PADDING)
    elif screen.is_projector():
        figure = larger(figure, screen.GROWN)
    return draw(figure, key=key, on_click=on_click, alt=alt or _title(figure))


def _title(figure: go.Figure) -> str | None:
    """In one line, the note under it after a semicolon."""
    lines = re.split(r"<br>(?=<span)", figure.layout.title.text or "")
    return html.unescape("; ".join(" ".join(re.sub(r"<[^>]+>", " ", line).split()) for line in lines)) or None
