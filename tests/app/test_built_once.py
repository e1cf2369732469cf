"""Figures of what has ended are built for the first visitor; the second one is given what was kept."""

from __future__ import annotations

import pytest
from drawn import figures
from streamlit.testing.v1 import AppTest

from app.learn import lesson, live

PAGES = {  # and the least number of figures on each
    "xray": ({"adapter": "lora-digits", "beside": "heart-digits"}, 8),
    "try_it": ({"runs": "lora-digits,last-digits", "from": "test"}, 5),
    "attention": ({"run": "last-digits"}, 5),
    "attribution": ({"run": "lora-digits"}, 3),
    "heads": ({"run": "heart-digits"}, 3),
    "tasks": ({"task": "digits"}, 1),
}


def all_live_figures() -> None:
    from app import links, numbers, repeated
    from app.learn import lesson, live

    links.receive("learn")
    numbers.forget()
    steps = [step for name in lesson.names() for part in lesson.read(name).sections for step in part.steps]
    for nth, step in enumerate(step for step in steps if step.kind == "live"):
        with repeated.named(f"_{nth}"):
            live.figure(step.settings["figure"])(step.settings)


@pytest.mark.parametrize("page", PAGES)
def test_a_second_visitor_s_page_builds_no_figure(at, built, page):
    query, least = PAGES[page]
    first = figures(at(page, **query))
    assert len(built) >= least
    built.clear()
    assert figures(at(page, **query)) == first and not built


def test_a_second_reader_s_lesson_builds_no_figure(store, engine, built):
    """Every figure of every lesson, one under the other."""
    there = {step.settings["figure"] for each in map(lesson.read, lesson.names()) for section in each.sections
             for step in section.steps if step.kind == "live"}  # fmt: skip
    assert there == {*live.names()}
    first = AppTest.from_function(all_live_figures, default_timeout=60).run()
    assert not first.exception and not first.error, first.exception
    assert len(built) >= len(there)
    built.clear()
    second = AppTest.from_function(all_live_figures, default_timeout=60).run()
    assert figures(second) == figures(first) and not built
