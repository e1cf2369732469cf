"""Which task: those that are complete by their name, in groups, those of earlier runs, and any other by typing."""

from __future__ import annotations

import streamlit as st

from app import errors, links, state, words
from peftcore.errors import HeadroomError, UnknownName
from peftcore.fetch.places import hub
from peftcore.registry import TASKS
from peftcore.spec import RunSpec
from peftcore.task import GROUPS, embedded_tasks, here, task_card
from peftcore.uploads.sets import kept_task

DEFAULT = RunSpec.model_fields["task"].default
LOOK_BACK = 60  # newest runs whose tasks are offered again


def by_group() -> dict[str, list[str]]:
    """The tasks that come with Headroom, by group, sorted by title; VTAB's groups first, then any other."""
    cards = sorted((task_card(name) for name in embedded_tasks()), key=lambda card: card.title)
    groups = dict.fromkeys([*GROUPS, *sorted(card.group for card in cards)])
    return {group: [card.name for card in cards if card.group == group] for group in groups}


def brought() -> list[str]:
    """Images that were uploaded and kept, then tasks with an argument that earlier runs learnt; the newest first."""
    said = [record.spec["task"] for record in state.store().runs(limit=LOOK_BACK)]
    kept = {f"upload:{name}": kept_task(name) for name in state.shelf().kept()}
    gone = {name for name in said if name.startswith("upload:") and name.partition("?")[0] not in kept}
    found = dict.fromkeys([*kept.values(), *said])
    return [name for name in found if name not in gone and is_complete(name) and ":" in name]


def is_complete(name: str) -> bool:
    """Whether a name says all that its kind of task needs: 'digits', or 'vtab:PATH' but not 'vtab'."""
    kind, _, argument = name.partition(":")
    try:
        return bool(task_card(kind).argument) == bool(argument)
    except UnknownName:
        return False


def choose(page: str, label: str = "Task") -> str:
    """The picker; any name may be typed. `task` in the address, which counts where it is complete."""
    known = [name for names in by_group().values() for name in names]
    asked = links.read("task") or ""
    # On the launch page a name that is no task stands in the field, with the reason beneath it.
    more = [*filter(is_complete, brought()), *([asked] if asked and (page == "launch" or is_complete(asked)) else [])]
    more = [name for name in dict.fromkeys(more) if name not in known]
    kinds = [task_card(name).shown for name in TASKS.names() if task_card(name).argument]
    return links.choice(
        st.selectbox,
        page,
        "task",
        label,
        [*known, *more],
        default=DEFAULT,
        show=title,
        accept_new_options=True,
        help=f"A task that comes with Headroom, or one of your own: type {', '.join(kinds)}.",
    )


def download_note(name: str) -> None:
    """Before the launch: that the task's images will be downloaded, and from where."""
    try:
        if here(name):
            return
    except HeadroomError:
        return  # the preview says what is wrong
    kind, _, said = name.partition(":")
    where = f"the hub, {hub()}" if kind == "hf" else "where torchvision says"
    st.caption(
        f":material/download: **{errors.plain(said.partition('?')[0])} will be downloaded** from {where} when the run "
        f"begins, and kept. Without a network here: {errors.code(f'python -m peftcore fetch {name}')} on a "
        "machine that has one."
    )


@st.cache_data(show_spinner=False)
def title(name: str) -> str:
    """'Handwritten digits, 10 classes'; of a folder its kind and last part."""
    try:
        classes = len(task_card(name).classes)
    except UnknownName:
        return name
    return words.task_title(name) + (f", {classes} classes" if classes else "")
