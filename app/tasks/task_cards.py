"""The gallery: every task as a card, in its group, with real images as soon as they are drawn."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import background, errors, navigation, pictures, words
from app.launch import task_choice
from app.tasks import image_data
from peftcore.errors import HeadroomError
from peftcore.task import task_card

COLUMNS = 4
GROUPS = {
    "natural": ("Natural", "what a camera or a hand made: things, characters, materials"),
    "specialised": ("Specialised", "what an instrument saw: cells, surfaces"),
    "structured": ("Structured", "what the scene is like: how many, where, how turned, how far"),
}
OTHER = "none of VTAB's three groups"
BROUGHT = ("Your own", "uploads that are kept, and what runs of this machine learnt from")


def draw() -> None:
    """All cards at once, then their images one task after the other; a click elsewhere ends it."""
    waiting: list[tuple[str, DeltaGenerator, DeltaGenerator]] = []
    sections = [
        (*GROUPS.get(group, (errors.plain(group), OTHER)), names) for group, names in task_choice.by_group().items()
    ]
    for title, caption, names in [*sections, (*BROUGHT, task_choice.brought())]:
        if names:
            st.markdown(f"**{title}** :small[:gray[{caption}]]")
            waiting += _cards(names)
    for name, strip, sizes in waiting:
        job = image_data.facts(name)
        said = f"{errors.plain(task_card(name).description)}  \nReading its images."
        background.wait(job, partial(sizes.caption, said), sizes)
        _fill(job, strip, sizes)


def _cards(names: list[str]) -> list[tuple[str, DeltaGenerator, DeltaGenerator]]:
    places = []
    for start in range(0, len(names), COLUMNS):
        for name, column in zip(names[start : start + COLUMNS], st.columns(COLUMNS), strict=False):
            with column, st.container(border=True, gap="xsmall", height="stretch", key=f"task_{name}"):
                card = task_card(name)
                strip = st.empty()
                strip.html(pictures.strip([], image_data.STRIP))
                navigation.link("tasks", words.task_title(name), bold=True, task=name)
                sizes = st.empty()
                sizes.caption(f"{errors.plain(card.description)}  \nIts images are not drawn yet.")
                places.append((name, strip, sizes))
    return places


def _fill(job: Future, strip: DeltaGenerator, sizes: DeltaGenerator) -> None:
    facts = job.result()
    if isinstance(facts, HeadroomError):
        sizes.caption(f":red[{errors.plain(str(facts))}]")
        return
    strip.html(pictures.strip(facts.strip, image_data.STRIP))
    sizes.caption(f"{errors.plain(facts.description)}  \n{len(facts.classes)} classes; {facts.sizes}.")
