"""The lesson pages: the list of lessons, and one lesson section by section."""

from __future__ import annotations

import streamlit as st

from app import links, navigation, screen
from app.errors import sentences, show
from app.learn import facts, lesson, live, predictions
from app.learn.lesson import Lesson, Section, Step
from peftcore.errors import unknown

LINE = 760  # pixels that a line of text is long
_SEEN = "lesson_sections_seen"  # in the session: (lesson, section's number from 1)


def lessons() -> None:
    """All lessons as cards: question, length, how far this reader has come."""
    read, faults = lesson.readable()
    for fault in faults:
        show(fault)
    st.markdown(
        f"{len(read)} lessons, about {sum(each.minutes for each in read)} minutes in all. Each asks you to predict "
        "before it shows; nothing has to be trained."
    )
    for start in range(0, len(read), 3):
        for column, each in zip(st.columns(3), read[start : start + 3], strict=False):
            with column, st.container(border=True, height="stretch"):
                title = f"{each.number}. {each.title}"
                navigation.link("learn", title, icon=":material/school:", bold=True, lesson=each.name)
                st.markdown(each.question)
                done = sum((each.name, k + 1) in _seen() for k in range(len(each.sections)))
                ended = ", done" if done == len(each.sections) else f", {done} of {len(each.sections)} read"
                st.caption(f"{each.minutes} minutes{ended if done else ''}")
    navigation.link("learn", "For the teacher: plan, answers, print", icon=":material/co_present:", teacher="plan")


def _seen() -> set[tuple[str, int]]:
    return st.session_state.setdefault(_SEEN, set())


def one(name: str) -> None:
    """One section of a lesson, with the way on and back."""
    with sentences():
        current = lesson.read(name)
    count = len(current.sections)
    at = links.number("section", 1, count, 1)
    _seen().add((current.name, at))
    st.progress(at / count, text=f"Lesson {current.number}, {at} of {count}")
    _draw(current, current.sections[at - 1])
    _ways(current, at, count)


def _draw(current: Lesson, section: Section) -> None:
    if section.title:
        st.header(section.title, anchor=False)
    for step in section.steps:
        _step(current, step)
        if step.kind == "predict" and predictions.made(current, step) is None:
            if step is not section.steps[-1]:
                st.caption("Commit to a prediction, and the answer shows here.")
            return


def _step(current: Lesson, step: Step) -> None:
    with sentences(stop=False), st.container(width="stretch" if step.kind == "live" else screen.tall(LINE)):
        if step.kind == "text":
            st.markdown(facts.fill(step.text))
        elif step.kind == "paper":
            st.info(facts.fill(step.text), icon=":material/article:")
        elif step.kind == "predict":
            predictions.draw(current, step)
        elif step.kind == "do":
            door(step)
        else:
            live.figure(step.settings["figure"])(step.settings)


def door(step: Step) -> None:
    """A link to another page, filled in. Raises UnknownName where there is no such page."""
    page, query = step.settings["page"], {k: v for k, v in step.settings.items() if k not in ("page", "label")}
    if page not in navigation.PAGES:
        raise unknown("page", page, list(navigation.PAGES))
    navigation.link(page, facts.fill(step.settings["label"]), **query)


def _ways(current: Lesson, at: int, count: int) -> None:
    """Back, on, and at the end the next lesson."""
    place = (current.number, current.name)
    following = next((each for each in lesson.readable()[0] if (each.number, each.name) > place), None)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        if at > 1:
            navigation.link("learn", "Back", icon=":material/arrow_back:", lesson=current.name, section=at - 1)
        else:
            navigation.link("learn", "All lessons", icon=":material/list:")
        if at < count:
            navigation.link("learn", "Next", icon=":material/arrow_forward:", lesson=current.name, section=at + 1)
        elif following:
            navigation.link("learn", f"Next: {following.title}", icon=":material/arrow_forward:", lesson=following.name)
