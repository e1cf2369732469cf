"""The ranking of a race: a row for each variation, the leader first, marked as its curve is."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import streamlit as st

from app import errors, screen, theme, words
from app.runs import selection
from app.runs.races import Runner
from peftcore.figures import races as figures
from peftcore.figures.accuracy import Ground

COLUMNS = (0.4, 3.4, 2.3, 1.1, 1.2, 1.8, 2.2)
HEADS = ("", "\N{EM SPACE}variation", "validation accuracy", "loss", "time", "test accuracy", "")
# SVG paths in a box of 14 x 14 of Plotly's symbols, so that a row and its curve have the same mark.
SHAPES = {
    "circle": '<circle cx="7" cy="7" r="5.5"',
    "square": '<rect x="2" y="2" width="10" height="10"',
    "triangle-up": '<path d="M7 1.5 13 12.5H1z"',
    "diamond": '<path d="M7 .5 13.5 7 7 13.5.5 7z"',
    "cross": '<path d="M5 1h4v4h4v4H9v4H5V9H1V5h4z"',
    "x": '<path d="M4 1 7 4l3-3 3 3-3 3 3 3-3 3-3-3-3 3-3-3 3-3-3-3z"',
    "star": '<path d="M7 .5 8.7 5h4.8L9.7 8l1.4 4.8L7 10l-4.1 2.8L4.3 8 .5 5h4.8z"',
    "triangle-down": '<path d="M7 12.5 13 1.5H1z"',
    "pentagon": '<path d="M7 1 13 5.5 10.7 12.8H3.3L1 5.5z"',
    "hexagram": '<path d="M7 .5 9 3.8h3.8L10.9 7l1.9 3.2H9L7 13.5 5 10.2H1.2L3.1 7 1.2 3.8H5z"',
}


def draw(runners: Sequence[Runner]) -> None:
    """A row for each variation, the leader first; the marks are those of the curves."""
    dark = theme.is_dark()
    colours = figures.lane_colours([runner.record.spec["method"]["name"] for runner in runners], dark)
    marks = [_mark(colour, shape) for colour, shape in zip(colours, figures.lane_symbols(len(runners)), strict=True)]
    order = sorted(range(len(runners)), key=lambda nth: (runners[nth].place or len(runners) + 1, nth))
    if screen.is_phone():
        for nth in order:
            _lines(runners[nth], marks[nth])
        return
    with st.container(gap=None):
        for head, place in zip(HEADS, st.columns(COLUMNS, vertical_alignment="bottom"), strict=True):
            place.markdown(f":small[:gray[{head}]]" if head else "")
        for nth in order:
            _row(runners[nth], marks[nth])


def _row(runner: Runner, mark: str) -> None:
    record, place = runner.record, runner.place
    columns = st.columns(COLUMNS, vertical_alignment="center")
    columns[0].markdown(f"**{place}**" if place else ":gray[\N{EN DASH}]")
    with columns[1]:
        _opens(runner, mark)
    for column, number in zip(columns[2:6], _numbers(runner), strict=True):
        column.markdown(number)
    columns[6].markdown(
        f"{selection.ICONS[record.status]} :small[{_where(runner)}]", help=errors.plain(record.error or "") or None
    )


def _lines(runner: Runner, mark: str) -> None:
    """A row on a phone: each number behind its label."""
    with st.container(gap=None, border=True, key=f"card_lane_{runner.record.id}"):
        _opens(runner, f"{runner.place or ''} {mark}")
        labelled = [
            f":gray[{head}] {number}" for head, number in zip(HEADS[2:6], _numbers(runner), strict=True) if number
        ]
        state = f"{selection.ICONS[runner.record.status]} :small[{_where(runner)}]"
        st.markdown("  \n".join([*labelled, state]), help=errors.plain(runner.record.error or "") or None)


def _opens(runner: Runner, mark: str) -> None:
    """The variation's name, which opens its run."""
    bold = "**" if runner.place == 1 else ""
    st.button(
        f"{mark} {bold}{errors.plain(runner.label)}{bold}",
        key=f"run_lane_{runner.record.id}",
        type="tertiary",
        on_click=selection.choose,
        kwargs={"run": runner.record.id},
        help=f"Open run {runner.record.id}",
        width="stretch",
    )


def _numbers(runner: Runner) -> list[str]:
    """What stands under HEADS: validation accuracy, loss, time, test accuracy; '' for what is not there yet."""
    record, test = runner.record, runner.record.summary.get("test_accuracy")
    return [
        "" if runner.accuracy is None else f"{runner.accuracy:.3f}{_sure(runner, 'val', runner.accuracy)}",
        "" if runner.loss is None else f"{runner.loss:.3f}",
        "" if record.seconds is None else words.duration(record.seconds),
        "" if test is None else f"{test:.3f}{_sure(runner, 'test', test)}",
    ]


def _sure(runner: Runner, split: str, accuracy: float) -> str:
    """The 95 % interval, small, behind an accuracy."""
    sure = Ground.of(runner.follower.started, split).text(accuracy) if runner.follower.started else ""
    return f" :small[:gray[{sure}]]" if sure else ""


def _where(runner: Runner) -> str:
    if runner.record.status != "running":
        return runner.record.status
    if not runner.follower.steps:
        return "preparing"
    return f"epoch {runner.follower.steps[-1]['epoch']} of {runner.record.spec['epochs']}"


def _mark(colour: str, symbol: str) -> str:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="14" height="14">{SHAPES[symbol]} fill="{colour}"/></svg>'
    return f"![{symbol}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
