"""A prediction: the reader commits to an answer, and only then sees what it is. Kept with the session."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import streamlit as st

from app import links
from app.learn import facts, live
from app.learn.lesson import Lesson, Step
from peftcore.errors import BadData

_KEPT = "lesson_predictions"  # in the session: (lesson, key) -> the answer that the reader committed to


def _kept() -> dict[tuple[str, str], Any]:
    return st.session_state.setdefault(_KEPT, {})


def made(lesson: Lesson, step: Step) -> Any:
    """What the reader predicted, or None."""
    return _kept().get((lesson.name, step.settings["key"]))


def answered(lesson: str, key: str) -> Any:
    """What the reader predicted in a lesson by its name, or None."""
    return _kept().get((lesson, key))


def draw(lesson: Lesson, step: Step) -> Any:
    """The question with its widget, or what was answered beside what is true. Returns the prediction, or None."""
    asked, key = step.settings, f"predict_{lesson.name}_{step.settings['key']}"
    with st.container(border=True):
        st.markdown(f":material/psychology: **Predict.** {facts.fill(asked['ask'])}")
        if (answer := made(lesson, step)) is None:
            guess = _widget(asked, key)
            if st.button("Commit", key=f"{key}_commit", type="primary", disabled=guess is None):
                _kept()[lesson.name, asked["key"]] = guess
                st.rerun()
            return None
        st.markdown(verdict(asked, answer))
        if st.button("Predict again", key=f"{key}_again", type="tertiary", icon=":material/undo:"):
            del _kept()[lesson.name, asked["key"]]
            st.session_state.pop(f"{key}_moved", None)
            st.rerun()
    return answer


def _widget(asked: dict[str, Any], key: str) -> Any:
    ask = facts.fill(asked["ask"])
    if "choices" in asked:
        return st.radio(ask, asked["choices"], index=None, key=key, label_visibility="collapsed")
    if "click" in asked:
        return _clicked(asked, key)
    low, high, step = _whole_or_not(asked["low"], asked["high"], asked.get("step", 1))
    unit = f" {asked['unit']}".replace("%", "%%") if asked.get("unit") else ""  # for sprintf
    middle = low + round((high - low) / 2 / step) * step
    digits, moved = 0 if isinstance(step, int) else max(0, -math.floor(math.log10(step))), f"{key}_moved"
    guess = st.slider(
        ask, low, high, middle, step, key=key, label_visibility="collapsed", format=f"%.{digits}f{unit}",
        on_change=lambda: st.session_state.update({moved: True}),
    )  # fmt: skip
    if moved in st.session_state:
        return guess
    st.caption("Move the slider to your prediction, then commit.")
    return None  # where it stands from the beginning is nobody's prediction


def _whole_or_not(*given: float) -> tuple[float, ...]:
    """All whole numbers, or none of them: a slider takes no mixture."""
    return given if all(isinstance(one, int) for one in given) else tuple(map(float, given))


def _clicked(asked: dict[str, Any], key: str) -> str | None:
    """The mark of a figure that is chosen so far: it stands in the address by the prediction's key."""
    figure = live.module(asked["click"])
    marks, chosen = figure.marks(asked), links.read(asked["key"])
    chosen = chosen if chosen in marks else None

    def keep() -> None:
        said = links.clicked(key)
        links.write(**{asked["key"]: next((text for text, mark in marks.items() if mark == said), None)})

    figure.pick(asked, key, chosen, keep)
    st.markdown(
        f"You chose **{chosen}**." if chosen else "Nothing is chosen yet: click, or use the arrow keys and Enter."
    )
    return chosen


def truth(asked: dict[str, Any]) -> Any:
    """The answer, computed from facts: one of the choices, or a number. Raises BadData where it is neither."""
    true = facts.value(asked["answer"])
    if "choices" in asked or "click" in asked:
        choices = asked["choices"] if "choices" in asked else list(live.module(asked["click"]).marks(asked))
        if true not in choices:
            raise BadData(f"The answer {asked['answer']} comes to {true!r}, and the choices are {choices}.")
    elif not isinstance(true, Real):
        raise BadData(f"The answer {asked['answer']} comes to {true!r}, and should be a number.")
    return true


def solution(asked: dict[str, Any]) -> str:
    """What is true, as Markdown: '12 %', or the choice."""
    true, unit = truth(asked), f" {asked['unit']}" if asked.get("unit") else ""
    if "choices" in asked or "click" in asked:
        return str(true)
    if unit == " %" and abs(true) >= 10:  # the slider goes by whole ones
        return f"{true:.0f}{unit}"
    return f"{f'{true:.3g}' if abs(true) < 100 else f'{true:,.0f}'}{unit}"


def verdict(asked: dict[str, Any], answer: Any) -> str:
    """'You said 40 %. It is 12 %.', as Markdown."""
    true, unit = truth(asked), f" {asked['unit']}" if asked.get("unit") else ""
    if later := asked.get("later"):
        return f"You said “{answer}”. {facts.fill(later)}"
    if "choices" in asked or "click" in asked:
        return f"You said “{answer}”. " + ("That is so." if answer == true else f"It is “{true}”.")
    span = asked["high"] - asked["low"]
    near = abs(answer - true) <= max(asked.get("step", 1), min(0.1 * span, 0.25 * abs(true)))
    said = f"{answer:g}{unit}"
    if said == solution(asked):
        return f"You said **{said}**. It is so."
    return f"You said **{said}**. It is **{solution(asked)}**{': close.' if near else '.'}"
