"""The list of runs: what waits, what works, what has been; one click chooses."""

from __future__ import annotations

import streamlit as st

from app import errors, screen, state, subjects, theme, words
from app.runs import race_card
from app.runs.selection import ICONS, Choice, choose, chosen
from peftcore.store import WAITING, RunRecord, conditions

MOST_SHOWN = 200
HEIGHT, SHORT = 640, 280  # pixels: what a laptop's screen leaves; on a phone, where the run stands below
EVERY = {True: 1.5, False: 10.0}  # seconds between looks, while runs are under way and while none is


def draw(choice: Choice) -> None:
    """The list, which refreshes on a timer."""
    busy = bool(state.store().runs(limit=1, status=WAITING))
    st.fragment(_list, run_every=EVERY[busy])(choice, busy)


@errors.sentences()
def _list(choice: Choice, was_busy: bool) -> None:
    records = state.store().runs(limit=MOST_SHOWN)
    busy = any(record.status in WAITING for record in records)
    if busy != was_busy or chosen(records) != choice:
        st.rerun()
    drawn: set[int] = set()
    alone = [record for record in records if record.race is None]
    apart = dict(zip([r.id for r in alone], words.apart([r.spec for r in alone]), strict=True))
    with st.container(height=SHORT if screen.is_phone() else screen.tall(HEIGHT), border=False, gap=None):
        for record in records:
            if record.race is None:
                _row(record, record.id == choice.run, apart[record.id])
            elif record.race not in drawn:
                drawn.add(record.race)
                race_card.draw([other for other in records if other.race == record.race], choice)


def _row(record: RunRecord, selected: bool, apart: str) -> None:
    accuracy = record.summary.get("test_accuracy")
    text, icon = f"**{accuracy:.3f}**" if accuracy is not None else record.status, ICONS[record.status]
    if accuracy is not None and (ground := subjects.ground(record)):
        text += f" :gray[{ground.text(accuracy)}]" if ground.images else ""
        if ground.at_chance(accuracy):
            text, icon = f"{text} at chance", ":orange[:material/error:]"
    when = record.finished or record.started or record.queued
    st.button(
        f"{icon} {words.mark(record.spec['method']['name'], theme.is_dark())} **{record.id}** "
        f"{words.run_title(record.spec)}{errors.plain(apart)}  \n:small[{text} :gray[{words.age(when)}]]",
        key=f"run_{record.id}",
        type="secondary" if selected else "tertiary",
        width="stretch",
        on_click=choose,
        kwargs={"run": record.id},
        help=f"{record.status}, {words.exact(when)}"
        + (f", {record.owner}" if record.owner else "")
        + (f". Test accuracy with {conditions.words(record.spec)}." if accuracy is not None else ""),
    )
