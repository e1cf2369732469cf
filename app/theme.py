"""The page's theme, and how figures come into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import plotly.graph_objects as go
import streamlit as st

from app import numbers, repeated, screen, words
from app.drawn import Drawn, Plan, kept
from app.figure import figure as draw
from app.figure import of, title
from peftcore.figures.fitted import larger, narrowed
from peftcore.figures.theme import marked, muted

RANDOM = "random weights"  # what such a figure says
# What the theme cannot say: under the navigation Streamlit leaves a gap a fifth of a laptop's screen high, and a list
# made of buttons is centred. A link to another view of the same page is no place where one is already. In one row all
# controls are as high as a select box. Columns that hold pictures of a fixed size stack where both have no room.
# A table whose text people typed has a CSV of ours; Streamlit's own would hold their formulas.
# Where the app does not answer Streamlit asks about the internet; in a room it is the teacher's machine that stopped.
_LOST = 'body:has([data-testid="stConnectionStatus"]) section[role="dialog"]:not(:has([data-testid]))'
_STYLE = """<style>
[data-testid="stLayoutWrapper"]:has(> :is(.st-key-screen, .st-key-screen_tour)) {display: none}
.stMainBlockContainer {padding-top: 4.25rem; padding-bottom: 3rem}
[class*="st-key-card_"] {padding: 0 0 0.4rem}
[class*="st-key-card_"] .stMarkdown {padding: 0 0.75rem}
.stMain [data-testid="stPageLink-NavLink"]:not(:hover) {background: none}
.stMain [data-testid="stPageLink-NavLink"] :is(span, p) {white-space: normal}
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
[class*="st-key-own_csv_"] [aria-label="Download as CSV"] {display: none}
LOST > h2[slot="title"], LOST > h2 + div > div {font-size: 0}
LOST > h2[slot="title"]::after {content: "Headroom is not responding"; font-size: 1.5rem}
LOST > h2 + div > div::after {
  content: "It has been stopped, or the connection was lost. Leave this page open: it goes on by itself as soon as "
    "Headroom responds again. What is launched is kept, and goes on from its last checkpoint.";
  font-size: 1rem
}
</style>""".replace(
    "LOST", 'body:has([data-testid="stConnectionStatus"]) section[role="dialog"]:not(:has([data-testid]))'
)


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
    focus = (  # which Streamlit shows by a background that links have here only under a pointer
        '[data-testid="stPageLink-NavLink"]:focus-visible '
        f"{{outline: 2px solid {'#3FA0DB' if is_dark() else '#0072B2'}; outline-offset: -2px}}"
    )
    filled = (  # Streamlit writes white on the dark theme's light blue
        'body :is([data-testid="stBaseButton-primary"], [data-testid="stBaseButton-primaryFormSubmit"], '
        '[data-testid="stMultiSelectTagsContainer"] [data-tag]):not(:disabled) {color: #11151A}'
        if is_dark()
        else ""
    )
    of = "[data-testid='stCaptionContainer']"
    small = f"{of}, {of} p {{color: {muted(is_dark())}; opacity: 1}}"
    st.html(
        _STYLE.replace(
            "</style>",
            f"{small}\n{wrong}\n{focus}\n{filled}\n@media (min-width: 1800px) {{html {{font-size: 18px}}}}\n</style>",
        )
    )


def is_dark() -> bool:
    """Whether this reader's page is dark, and not one to be printed."""
    return st.context.theme.type == "dark" and not screen.is_paper()


def show(
    figure: go.Figure | Plan,
    key: str,
    *,
    spec: Mapping[str, Any] | None = None,
    on_click: Callable[[], Any] | Literal["rerun"] | None = None,
    alt: str | None = None,
) -> list | None:
    """Draws a figure of `peftcore.figures`, which has its own template, for the window that the reader has. A plan of
    one is built once for all who look at the same (drawn.py).

    `spec`: of the run whose model the figure shows; where its backbone began with random weights, the figure says so.
    For the rest, and for what it returns, see `app.figure`.
    """
    key, on_click = repeated.key_of(key), repeated.here(on_click) if callable(on_click) else on_click
    random = bool(spec and words.random_weights(spec))
    if isinstance(figure, Plan):
        whole = _finished(figure, random)
        if (same := whole.key) is not None:
            drawn = kept(same, lambda: _built(whole), lambda made: len(made.json))
            numbers.drawn(key, drawn.title or "", drawn)
            return draw(drawn, key=key, on_click=on_click, alt=alt or drawn.title)
        figure = figure.figure()
    if random:
        marked(figure, RANDOM, is_dark())
    numbers.drawn(key, title(figure) or "", figure)
    if screen.is_phone():
        figure = narrowed(figure, screen.width() - screen.PADDING)
    elif screen.is_projector():
        figure = larger(figure, screen.GROWN)
    return draw(figure, key=key, on_click=on_click, alt=alt or title(figure))


def _finished(figure: Plan, random: bool) -> Plan:
    """With what this reader's window asks for."""
    whole = figure.and_(marked, RANDOM, is_dark()) if random else figure
    if screen.is_phone():
        return whole.and_(narrowed, screen.width() - screen.PADDING)
    return whole.and_(larger, screen.GROWN) if screen.is_projector() else whole


def _built(plan: Plan) -> Drawn:
    made = plan.figure()
    return of(made, plan, not numbers.table(made).empty)
