"""Lessons on paper: a worksheet, a whole lesson, a teacher's copy, and a handout for a workshop.

A view is drawn as wide as a page of A4 or Letter, on white, without navigation and controls; the browser prints it, or
saves it as PDF.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st

from app import navigation, repeated, screen
from app.errors import sentences
from app.learn import facts, live, plan, predictions
from app.learn.lesson import Lesson, Section, Step

KINDS = {
    "sheet": "worksheet: questions and blanks",
    "lesson": "whole lesson, predictions as blanks",
    "teacher": "teacher's copy: whole lesson, answers at its end",
}
PLANS = {"handout": "handout: all lessons' questions and blanks", "answers": "answers to all lessons"}
WIDTH = 680  # pixels of a page between its margins, the same of A4 and Letter
LINES = 3  # for notes, in place of what a worksheet leaves out
LINE = "\\_" * 11  # to write on
_INK = "#1F2933"

# Streamlit's page scrolls within a window; on paper it is as long as what is on it. Controls are no part of a page.
_STYLE = f"""<style>
@page {{size: auto; margin: 14mm}}
.st-key-paper {{max-width: {WIDTH}px; margin: 0 auto; padding: 1.5rem; background: #FFFFFF; box-sizing: content-box}}
.st-key-paper :is(p, li, h1, h2, h3, td, th, span, strong, em, div, label, summary) {{color: {_INK}}}
.st-key-paper :is([data-testid="stSlider"], [data-testid="stSelectbox"], [data-testid="stMultiSelect"],
  [data-testid="stButton"], [data-testid="stButtonGroup"], [data-testid="stPopover"], [data-testid="stDownloadButton"],
  [data-testid="stNumberInput"], [data-testid="stTextInput"], [data-testid="stCheckbox"], [data-testid="stToggle"],
  [data-testid="stRadio"], [data-testid="stPageLink"], .modebar) {{display: none !important}}
.st-key-paper [data-testid="stHorizontalBlock"] {{flex-wrap: wrap}}
.st-key-paper [data-testid="stColumn"] {{min-width: 100%}}
.st-key-paper [data-testid="stAlertContainer"] {{background: #EEF2F6}}
.st-key-paper .blank {{border-bottom: 1px solid {_INK}; height: 1.6rem}}
.st-key-paper [data-testid="stElementContainer"]:has(.headroom-figure),
.st-key-paper :is(table, p, li, [data-testid="stAlertContainer"], [data-testid="stCaptionContainer"]),
.st-key-paper [class*="st-key-kept_"] {{break-inside: avoid}}
.st-key-paper :is(h1, h2, h3, p:has(+ ul)) {{break-after: avoid}}
.st-key-paper [class*="st-key-newpage_"] {{break-before: page}}
@media print {{
  [data-testid="stHeader"], [data-testid="stToolbar"], [data-testid="stSidebar"], [data-testid="stDecoration"],
  .st-key-off_paper, .st-key-screen, .st-key-address_history {{display: none !important}}
  html, body, #root, .stApp, [data-testid="stAppViewContainer"], .stMain, [data-testid="stMain"] {{
    position: static !important; overflow: visible !important; height: auto !important; background: #FFFFFF !important;
    display: block !important}}
  .stMainBlockContainer {{padding: 0 !important; max-width: none !important}}
  .st-key-paper {{padding: 0}}
  .st-key-paper, .st-key-paper :is([data-testid="stVerticalBlock"], [data-testid="stHorizontalBlock"],
    [data-testid="stColumn"], [data-testid="stLayoutWrapper"]) {{display: block !important}}
  .st-key-paper [data-testid="stElementContainer"] {{margin-bottom: 0.8rem}}
}}
</style>"""


def of(lesson: Lesson, kind: str) -> None:
    """A lesson on paper; `kind` is one of KINDS."""
    with _page(f"{KINDS[kind].partition(':')[0].capitalize()} of lesson {lesson.number}", lesson=lesson.name):
        _title(lesson)
        used: dict[str, int] = {}
        for number in range(1, len(lesson.sections) + 1):
            _section(lesson, number, whole=kind != "sheet", used=used)
        if kind == "teacher":
            with st.container(key="newpage_answers"):
                answers(lesson, "paper")


def of_plan(kind: str) -> None:
    """All lessons of the plan on paper; `kind` is one of PLANS."""
    with sentences():
        found = plan.read()
    with _page(PLANS[kind].partition(":")[0].capitalize(), teacher="plan"):
        st.title("Handout" if kind == "handout" else "Answers", anchor=False)
        for lesson in found.lessons:
            if kind == "answers":
                answers(lesson, "paper")
                continue
            steps = [step for _, step in asked(lesson)]
            first, last = steps[:1], steps[1:][-1:]
            with st.container(key=f"kept_{lesson.name}"):  # no page ends between a title and what follows it
                st.header(f"{lesson.number}. {lesson.title}", anchor=False)
                st.markdown(f"*{lesson.question}*")
                _blanks(lesson, first)
            _blanks(lesson, steps[1:-1])
            with st.container(key=f"kept_end_{lesson.name}"):
                _blanks(lesson, last)
                _notes(f"handout_{lesson.name}", 2)


def asked(lesson: Lesson) -> Iterator[tuple[Section, Step]]:
    """A lesson's predictions, with the section of each."""
    for section in lesson.sections:
        for step in section.steps:
            if step.kind == "predict":
                yield section, step


def answers(lesson: Lesson, where: str) -> None:
    """What the predictions come to, the lesson's answers, what is often misunderstood, and what to show."""
    if where == "paper":
        st.header(f"{lesson.number}. {lesson.title}: answers", anchor=False)
    else:
        st.subheader("Answers", anchor=False)
    for _, step in asked(lesson):
        with sentences(stop=False):
            st.markdown(f"{facts.fill(step.settings['ask'])}  \n**{predictions.solution(step.settings)}**")
    for name, title in (("answers", ""), ("misunderstandings", "Common misunderstandings"), ("show", "What to show")):
        if texts := lesson.teacher.get(name):
            with sentences(stop=False):
                head = f"**{title}**\n\n" if title else ""
                st.markdown(head + "\n".join(f"- {facts.fill(text)}" for text in texts))


@contextmanager
def _page(what: str, **back: Any) -> Iterator[None]:
    """A white page; above it, off the paper, how it is printed and the way back."""
    st.html(_STYLE)
    with st.container(key="off_paper", horizontal=True, vertical_alignment="center"):
        navigation.link("learn", "Back", icon=":material/arrow_back:", **back)
        st.caption(f"{what}. Print it with Ctrl+P (on a Mac Cmd+P), or save it as PDF there; this line is left out.")
    screen.put_on_paper()
    with st.container(key="paper"):
        yield


def _title(lesson: Lesson) -> None:
    st.title(lesson.question, anchor=False)
    st.caption(f"Headroom, lesson {lesson.number}: {lesson.title}, {lesson.minutes} minutes")


def _section(lesson: Lesson, number: int, *, whole: bool, used: dict[str, int]) -> None:
    section = lesson.sections[number - 1]
    if section.title:
        st.header(section.title, anchor=False)
    before, after = section.before_and_after()
    for step in (*before, *(step for step in after if whole or step.kind == "predict")):
        _step(lesson, step, used)
    if after and not whole:
        _notes(f"{lesson.name}_{number}", LINES)


def _step(lesson: Lesson, step: Step, used: dict[str, int]) -> None:
    with sentences(stop=False):
        if step.kind == "text":
            st.markdown(facts.fill(step.text))
        elif step.kind == "paper":
            st.info(facts.fill(step.text), icon=":material/article:")
        elif step.kind == "predict":
            _blanks(lesson, [step])
        elif step.kind == "live":
            figure(step, used)


def figure(step: Step, used: dict[str, int]) -> None:
    """A live figure beside others of its lesson. `used`: how often each was drawn."""
    name = step.settings["figure"]
    used[name] = used.get(name, 0) + 1
    with repeated.named(f"_{used[name]}" if used[name] > 1 else ""):
        live.figure(name)(step.settings)


def _blanks(lesson: Lesson, steps: Sequence[Step]) -> None:
    """Questions with room for what a reader predicts."""
    for step in steps:
        _blank(step.settings, f"kept_predict_{lesson.name}_{step.settings['key']}")


def _blank(known: Mapping[str, Any], key: str) -> None:
    with st.container(border=True, key=key), sentences(stop=False):
        st.markdown(f"**Predict.** {facts.fill(known['ask'])}")
        if "choices" in known:
            st.markdown("  \n".join(f"\N{BALLOT BOX} {choice}" for choice in known["choices"]))
        elif "click" in known:
            live.module(known["click"]).pick(known, f"{key}_picture", None, None)
            st.markdown("Mark your choice in the picture.")
        else:
            unit = f" {known['unit']}" if known.get("unit") else ""
            span = f"between {known['low']:g} and {known['high']:g}{unit}"
            st.markdown(f"My prediction: {LINE}{unit}, {span}")


def _notes(key: str, lines: int) -> None:
    with st.container(key=f"kept_notes_{key}"):
        st.markdown("What I saw:")
        st.html('<div class="blank"></div>' * lines)
