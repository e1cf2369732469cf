"""The list of runs: search, filters, a page of what fits, and what can be done with several; one click chooses."""

from __future__ import annotations

import streamlit as st

from app import errors, links, live, screen, state, subjects, theme, words
from app.runs import alerts, filters, labels, picked, put_away, race_card, trouble
from app.runs.selection import ICONS, Choice, choose, chosen
from peftcore.store import WAITING, RunRecord, conditions, listing
from peftcore.store.listing import Filter, Page

PER_PAGE = 25
HEIGHT, SHORT = 560, 280  # pixels: what a laptop's screen leaves; on a phone, where the run stands below
BUSY, IDLE = 1.5, 10.0  # seconds between looks, while runs are under way and while none is


def is_empty() -> bool:
    """Whether no run is in the list, nor in the archive or deleted, from where the list brings it back."""
    shelves: tuple[listing.Shelf, ...] = ("current", "archived", "deleted")
    return not any(listing.page(state.store(), Filter(shelf=shelf), limit=1).total for shelf in shelves)


def draw(choice: Choice | None) -> None:
    """The list, which refreshes on a timer."""
    busy = bool(state.store().runs(limit=1, status=WAITING))
    live.draw(_list, choice, is_live=busy, least=BUSY, idle=IDLE)


@errors.sentences()
def _list(choice: Choice | None, was_busy: bool) -> None:
    waiting = state.store().runs(status=WAITING)
    if bool(waiting) != was_busy or chosen() != choice:
        st.rerun()
    wanted = filters.draw()
    picked.bar()
    put_away.bar()
    page, number = _page(wanted)
    if not page.entries:
        _nothing(wanted)
    alone = [entry[0] for entry in page.entries if entry[0].race is None]
    apart = dict(zip([r.id for r in alone], words.apart([r.spec for r in alone]), strict=True))
    with st.container(height=SHORT if screen.is_phone() else screen.tall(HEIGHT), border=False, gap=None):
        for entry in page.entries:
            if entry[0].race is None:
                _row(entry[0], choice is not None and entry[0].id == choice.run, apart[entry[0].id])
            else:
                race_card.draw(entry, choice)
    _turn(page, number)
    alerts.draw(waiting)


def _page(wanted: Filter) -> tuple[Page, int]:
    """The page of the list that the address names, else the last one; and its number, from 0."""
    number = links.number("list", 1, 10**6, 1) - 1
    page = listing.page(state.store(), wanted, PER_PAGE, number)
    if number and not page.entries:
        number = max(0, (page.total - 1) // PER_PAGE)
        page = listing.page(state.store(), wanted, PER_PAGE, number)
    return page, number


def _nothing(wanted: Filter) -> None:
    if wanted == Filter(shelf=wanted.shelf) and wanted.shelf != "current":
        st.caption({"archived": "Nothing is in the archive.", "deleted": "Nothing was deleted."}[wanted.shelf])
    elif wanted == Filter():
        st.caption("No run is in the list; archived and deleted runs are under the filters.")
    else:
        st.caption("No run fits.")
    if wanted != Filter():
        st.button("Show all runs", key="runs_show_all", type="tertiary", on_click=filters.clear)


def _turn(page: Page, number: int) -> None:
    """Buttons to the entries before and after."""
    if page.total <= PER_PAGE:
        return
    first, last = number * PER_PAGE + 1, min(page.total, (number + 1) * PER_PAGE)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="runs_turn"):
        for where, step, able, icon in (
            ("newer", -1, number > 0, "left"), ("older", 1, last < page.total, "right"),
        ):  # fmt: skip
            st.button(
                "", icon=f":material/chevron_{icon}:", key=f"runs_{where}", type="tertiary", disabled=not able,
                help=f"{where.capitalize()} runs", on_click=links.write, kwargs={"list": number + 1 + step},
            )  # fmt: skip
        st.caption(f"{first:,} to {last:,} of {page.total:,}", width="content")


def _row(record: RunRecord, selected: bool, apart: str) -> None:
    with st.container(horizontal=True, wrap=False, gap="xsmall", vertical_alignment="center", key=f"row_{record.id}"):
        picked.box(f"pick_{record.id}", f"Pick run {record.id}", [record.id])
        when = record.finished or record.started or record.queued
        icon, text = _says(record)
        title = errors.plain(words.run_title(record.spec) + apart)
        mark = words.mark(record.spec["method"]["name"], theme.is_dark())
        star = f" {labels.STAR}" if record.starred else ""
        name = f" **{errors.plain(record.name)}**  \n:small[{title}]" if record.name else f" {title}"
        tags = f" {labels.tags(record)}" if record.tags else ""
        st.button(
            f"{icon} {mark} **{record.id}**{star}{name}  \n:small[{text} :gray[{words.age(when)}]{tags}]",
            key=f"run_{record.id}",
            type="secondary" if selected else "tertiary",
            width="stretch",
            wrap=True,
            on_click=choose,
            kwargs={"run": record.id},
            help=f"{record.status}, {words.exact(when)}"
            + (f", {errors.plain(record.owner)}" if record.owner else "")
            + (f". Test accuracy with {conditions.words(record.spec)}." if "test_accuracy" in record.summary else ""),
        )


def _says(record: RunRecord) -> tuple[str, str]:
    """The icon of a run, and its accuracy, or where it is and what is wrong with it."""
    accuracy, icon = record.summary.get("test_accuracy"), ICONS[record.status]
    if accuracy is None:
        wrong = trouble.name(record) if record.status in ("running", "failed") else ""
        return icon, f"{record.status}, {wrong}" if wrong else record.status
    text, ground = f"**{accuracy:.3f}**", subjects.ground(record)
    if ground and ground.images:
        text += f" :gray[{ground.text(accuracy)}]"
    if ground and ground.at_chance(accuracy):
        icon, text = ":orange[:material/error:]", f"{text} at chance"
    return icon, text
