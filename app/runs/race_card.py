"""A race in the list of runs: one card with its small curves."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import streamlit as st

from app import errors, state, subjects, theme, words
from app.runs import labels, picked, races
from app.runs.selection import ICONS, ORDER, Choice, choose
from peftcore.figures import races as figures
from peftcore.figures.words import how_many
from peftcore.store import RunRecord

WIDTH, HEIGHT, EDGE = 240, 44, 5  # of the picture, pixels


def draw(records: Sequence[RunRecord], choice: Choice | None) -> None:
    """The card of a race; `records`: its runs, the newest first."""
    records = records[::-1]
    race, specs = records[0].race, [record.spec for record in records]
    when = max(record.finished or record.started or record.queued for record in records)
    best = max(  # by validation: test images choose nothing
        (record for record in records if "test_accuracy" in record.summary),
        key=lambda record: record.summary.get("val_accuracy") or 0.0,  # older runs have none
        default=None,
    )
    ended = sum(record.ended for record in records)
    text = f"{ended} of {len(records)} ended" if ended < len(records) else how_many(len(records), "run")
    if best is not None:
        accuracy, ground = best.summary["test_accuracy"], subjects.ground(best)
        sure = f" :gray[{ground.text(accuracy)}]" if ground and ground.images else ""
        chance = " at chance" if ground and ground.at_chance(accuracy) else ""
        text = f"best by validation **{accuracy:.3f}**{sure}{chance}, {text}"
    status = next((status for status in ORDER[::-1] if any(r.status == status for r in records)), "queued")
    if races.busy(records):
        status = "running" if any(record.status == "running" for record in records) else "queued"
    elif any(record.status == "finished" for record in records):
        status = "finished"
    runs = [record.id for record in records]
    chosen = choice is not None and (choice.race == race or choice.run in runs)
    card = st.container(border=chosen, gap=None, key=f"card_{race}")
    row = card.container(horizontal=True, wrap=False, gap="xsmall", vertical_alignment="center", key=f"row_race_{race}")
    with row:
        picked.box(f"pick_race_{race}", f"Pick the runs of race {race}", runs)
    star = f" {labels.STAR}" if any(record.starred for record in records) else ""
    row.button(
        f"{ICONS[status]} :material/flag: **{race}**{star} {errors.plain(words.race_title(specs))}  \n"
        f":small[{text}, :gray[{words.age(when)}]]",
        key=f"run_race_{race}",
        type="tertiary",
        width="stretch",
        wrap=True,
        on_click=choose,
        kwargs={"race": race},
        help=f"A race of {len(records)} runs, {words.exact(when)}",
    )
    card.markdown(_curves(records))


def _curves(records: Sequence[RunRecord]) -> str:
    """Markdown of a picture: each variation's validation accuracy after each epoch, from the lowest to the highest."""
    dark = theme.is_dark()
    colours = figures.lane_colours([record.spec["method"]["name"] for record in records], dark)
    longest = max(record.spec["epochs"] for record in records)
    curves = [_accuracies(record.id, record.ended, record.attempts) for record in records]
    known = [accuracy for curve in curves for _, accuracy in curve] or [0.0]
    low, reach = min(known), max(max(known) - min(known), 0.01)
    lines = []
    for curve, colour in zip(curves, colours, strict=True):
        points = [
            (
                EDGE + epoch / longest * (WIDTH - 2 * EDGE),
                HEIGHT - EDGE - (accuracy - low) / reach * (HEIGHT - 2 * EDGE),
            )
            for epoch, accuracy in curve
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points[-1:]]
    floor = f'<path d="M0 {HEIGHT - 1}H{WIDTH}" stroke="{"#3A444F" if dark else "#D9DEE4"}"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">{floor}{"".join(lines)}</svg>'
    return f"![curves](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _accuracies(run: int, ended: bool, attempts: int) -> list[tuple[int, float]]:
    return _ended(str(state.store().folder), run, attempts) if ended else _read(run)


@st.cache_data(show_spinner=False, max_entries=512)
def _ended(folder: str, run: int, attempts: int) -> list[tuple[int, float]]:
    """A run that has ended tells no more, unless it is taken up again (`attempts`)."""
    return _read(run)


def _read(run: int) -> list[tuple[int, float]]:
    events = state.store().events(run, kinds="evaluation")
    return [(event["epoch"], event["accuracy"]) for event in events if event["split"] == "val"]
