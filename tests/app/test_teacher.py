"""For the teacher: the plan adds up, paper shows what it should and no more."""

from __future__ import annotations

import re
import shutil

import pytest
from drawn import figures

from app.learn import facts, lesson, paper, plan
from peftcore import errors

LESSONS = [lesson.read(name) for name in lesson.names()]
PLAN = """+++
minutes = 20
[[parts]]
title = "Welcome"
minutes = 3
[[parts]]
lessons = [1, 77]
talk = 2
[[parts]]
title = "Race"
minutes = 5
+++
Words."""


def test_a_plan_takes_the_minutes_of_its_lessons():
    found = plan.parse(PLAN, LESSONS[:1])
    assert [part.start for part in found.parts] == [0, 3, 5 + LESSONS[0].minutes]
    assert found.takes == 10 + LESSONS[0].minutes
    assert (found.missing, found.text) == ((77,), "Words.")


def test_the_plan_that_comes_with_headroom_keeps_its_time_and_the_order_of_the_lessons():
    found = plan.read()
    assert not found.missing and found.takes <= found.minutes
    walked = {each.name for each in found.lessons}
    assert walked and [each.name for each in found.lessons] == [name for name in lesson.names() if name in walked]


@pytest.mark.parametrize("change", [("minutes = 20", ""), ("minutes = 5", ""), ("minutes = 20", "minutes =")])
def test_what_is_no_plan_is_a_sentence(change):
    with pytest.raises(errors.BadData, match="plan"):
        plan.parse(PLAN.replace(*change), LESSONS)


@pytest.mark.parametrize("each", LESSONS, ids=lambda each: each.name)
def test_what_the_teacher_reads_is_filled_with_facts(each):
    texts = [text for name in ("answers", "misunderstandings", "show") for text in each.teacher[name]]
    assert all("[[" not in facts.fill(text) for text in texts)
    typed = [re.sub(r"\[\[.*?\]\]|\$.*?\$", "", text) for text in texts]
    assert not [text for text in typed if re.search(r"\d+(\.\d+)? ?%|\b0\.\d+", text)]


@pytest.mark.parametrize("each", LESSONS, ids=lambda each: each.name)
def test_a_teachers_copy_has_the_whole_lesson_and_its_answers(at, each):
    page = at("learn", lesson=each.name, print="teacher")
    assert not page.error, [error.value for error in page.error]
    words = "\n".join(text.value for text in page.markdown)
    assert all(facts.fill(step.settings["ask"]) in words for _, step in paper.asked(each))
    assert all(facts.fill(text) in words for text in each.teacher["answers"])


def test_a_worksheet_gives_no_answer_away(at):
    each = next(one for one in LESSONS if any(True for _ in paper.asked(one)))
    page = at("learn", lesson=each.name, print="sheet")
    words = "\n".join(text.value for text in page.markdown)
    for section in each.sections:
        for step in section.before_and_after()[1]:
            assert step.kind != "text" or facts.fill(step.text) not in words
    assert "What I saw:" in words


def test_what_is_clicked_on_the_screen_is_marked_in_a_picture_on_paper(at):
    each = next(one for one in LESSONS if any("click" in step.settings for _, step in paper.asked(one)))
    for query in ({"lesson": each.name, "print": "sheet"}, {"print": "handout"}):
        page = at("learn", **query)
        assert "Mark your choice in the picture." in [text.value for text in page.markdown]
        assert any(key.startswith(f"kept_predict_{each.name}_") for key in figures(page)), query


def test_lessons_of_one_s_own_print_whatever_their_keys_and_titles_are(tmp_path, monkeypatch, at):
    """A key of another lesson's prediction, and two sections of one title, one of them with two questions."""
    copied = shutil.copytree(lesson.FOLDER, tmp_path / "lessons")
    monkeypatch.setattr(lesson, "FOLDER", copied)
    monkeypatch.setattr(plan, "FILE", copied / "plan.md")
    used = next(step.settings["key"] for each in LESSONS for _, step in paper.asked(each))
    blocks = [f'```predict\nkey = "{key}"\nask = "How {key}?"\nlow = 0\nhigh = 9\nanswer = "1"\n```\nSo.\n'
              for key in (used, "k2", "k3")]  # fmt: skip
    text = f'+++\ntitle = "A"\nquestion = "Q?"\nminutes = 1\n+++\n## Try\n{blocks[0]}## Try\n{blocks[1]}{blocks[2]}'
    (copied / "99-mine.md").write_text(text)
    plan.FILE.write_text(plan.FILE.read_text().replace("[9]", "[9, 99]"))
    for query in (
        {},
        *({"print": kind} for kind in paper.PLANS),
        *({"lesson": "mine", "print": k} for k in paper.KINDS),
    ):
        page = at("learn", **({"teacher": "plan"} | query))
        assert not page.error, (query, [error.value for error in page.error])
        if query.get("print") in ("handout", "sheet"):
            words = "\n".join(each.value for each in page.markdown)
            assert all(f"How {key}?" in words for key in (used, "k2", "k3")) and "So." not in words


def test_the_teachers_page_and_its_prints_open(at):
    page = at("learn", teacher="plan")
    assert not page.error and len(page.expander) == len(LESSONS)
    for query in ({"print": "handout"}, {"print": "answers"}, {"teacher": "pictures", "pictures_of": LESSONS[-1].name}):
        page = at("learn", **query)
        assert not page.error, [error.value for error in page.error]
