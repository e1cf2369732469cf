"""For the teacher: the plan of a workshop, what each lesson answers, what to print, and pictures for slides."""

from __future__ import annotations

import streamlit as st

from app import links, navigation
from app.errors import sentences, show
from app.learn import lesson, paper, plan, view
from app.learn.lesson import Lesson

VIEWS = {"plan": "Plan and answers", "pictures": "Pictures for slides"}
# A figure's menu is seen at all times where it is what one came for.
_STYLE = "<style>.st-key-pictures .modebar {opacity: 1 !important}</style>"


def draw() -> None:
    """The view that the address names as `teacher`."""
    shown = links.choice(
        st.segmented_control, "learn", "teacher", "view", list(VIEWS), default="plan", show=VIEWS.__getitem__,
        label_visibility="collapsed", required=True,
    )  # fmt: skip
    navigation.link("learn", "All lessons", icon=":material/list:")
    if shown == "pictures":
        _pictures()
        return
    with sentences(stop=False):
        _plan(plan.read())
    st.header("Lesson by lesson", anchor=False)
    lessons, faults = lesson.readable()
    for fault in faults:
        show(fault)
    for each in lessons:
        with st.expander(f"{each.number}. {each.title}, {each.minutes} minutes"):
            _one(each)
    st.header("Change it", anchor=False)
    st.markdown(
        "Each lesson is one Markdown file of `assets/lessons`, and the plan is `assets/lessons/plan.md`. Change a "
        "sentence, a question, an order or a length there and reload this page. Write `[[ ... ]]` for a number, never "
        "the number itself: the text then stays true when a run is recorded again. `docs/lessons.md` says how a lesson "
        "is written."
    )


def _plan(found: plan.Plan) -> None:
    over, takes = found.takes - found.minutes, f"It takes {found.takes} of {found.minutes} minutes"
    mend = f": {over} too many. Leave out a lesson, or shorten a part" if over > 0 else ""
    st.markdown(f"**{takes}{mend}.** Lessons count as long as their files say, and a little for talk.")
    if found.missing:
        st.warning(
            f"The plan names lesson {', '.join(map(str, found.missing))}, and there is no such file in assets/lessons.",
            icon=":material/error:",
        )
    for part in found.parts:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f":gray[{part.clock}]", width=110)
            if part.lesson:
                navigation.link("learn", part.title, lesson=part.lesson.name)
            elif part.page:
                navigation.link(part.page, part.title, **dict(part.query or {}))
            else:
                st.markdown(f"**{part.title}**", width="content")
            st.caption(part.note)
    with st.container(horizontal=True):
        for kind, words in paper.PLANS.items():
            navigation.link("learn", f"Print the {words.partition(':')[0]}", icon=":material/print:", print=kind)
    st.markdown(found.text)


def _one(each: Lesson) -> None:
    st.markdown(f"*{each.question}*")
    paper.answers(each, "page")
    with st.container(horizontal=True):
        navigation.link("learn", "Open", lesson=each.name)
        for kind, words in paper.KINDS.items():
            label = words.partition(":")[0].partition(",")[0]
            navigation.link("learn", f"Print the {label}", icon=":material/print:", lesson=each.name, print=kind)
        navigation.link("learn", "Pictures", icon=":material/image:", teacher="pictures", pictures_of=each.name)
    doors = [step for section in each.sections for step in section.steps if step.kind == "do"]
    if doors:
        with st.container(horizontal=True):
            for door in doors:
                with sentences(stop=False):
                    view.door(door)


def _pictures() -> None:
    """The figures of one lesson, each with its menu of pictures in sight."""
    read = {each.name: each for each in lesson.readable()[0]}
    name = links.choice(
        st.selectbox, "learn", "pictures_of", "figures of lesson", list(read), default=next(iter(read)),
        show=lambda one: f"{read[one].number}. {read[one].title}",
    )  # fmt: skip
    st.caption(
        "The two buttons at the right above each figure save it as SVG, which slides show sharp at any size, or PNG. "
        "Set the figure first: what you see is what is saved, in the colours of your theme. For large type, save it "
        "in a window as wide as a projector's, 1,800 pixels or more."
    )
    st.html(_STYLE)
    used: dict[str, int] = {}
    with st.container(key="pictures"):
        for section in read[name].sections:
            for step in section.steps:
                if step.kind == "live":
                    with sentences(stop=False):
                        paper.figure(step, used)
