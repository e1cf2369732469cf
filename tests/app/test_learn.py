"""Lessons: every file is one, every step can be walked, every number in a text is a fact's."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import load

from app.launch import request, strangers
from app.learn import facts, lesson, live, plan, predictions
from app.learn.live import spectrum, walk
from app.navigation import PAGES
from peftcore import errors
from peftcore.bench import experiments
from peftcore.store import gallery

LESSONS = [lesson.read(name) for name in lesson.names()]
HEAD = '+++\ntitle = "Mine"\nquestion = "Why?"\nminutes = 5\n+++\n'
STEPS = [(each, step) for each in LESSONS for section in each.sections for step in section.steps]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the lessons that a test may change; a teacher's own lesson is 99-mine.md."""
    copied = shutil.copytree(lesson.FOLDER, tmp_path / "lessons")
    monkeypatch.setattr(lesson, "FOLDER", copied)
    monkeypatch.setattr(plan, "FILE", copied / "plan.md")
    return copied


def errors_of(page) -> list[str]:
    return [error.value for error in page.error]


def of(kind: str):
    return [
        pytest.param(each, step, id=f"{each.name}-{n}") for n, (each, step) in enumerate(STEPS) if step.kind == kind
    ]


@pytest.mark.parametrize("each", LESSONS, ids=lambda each: each.name)
def test_texts_are_filled_with_facts(each):
    for _, step in [(e, s) for e, s in STEPS if e is each]:
        filled = facts.fill(step.text or step.settings.get("ask", ""))
        assert "[[" not in filled


@pytest.mark.parametrize("each, step", of("predict"))
def test_an_answer_is_one_of_the_choices_or_within_the_slider(each, step):
    asked, true = step.settings, predictions.truth(step.settings)
    if "choices" in asked:
        assert true in asked["choices"]
    elif "click" in asked:
        assert true in live.module(asked["click"]).marks(asked)
    else:
        assert asked["low"] <= true <= asked["high"]


@pytest.mark.parametrize("each, step", of("do"))
def test_doors_lead_to_pages(each, step):
    assert step.settings["page"] in PAGES
    query = {name: value for name, value in step.settings.items() if name not in ("page", "label")}
    if step.settings["page"] == "launch":
        texts = {name: value if isinstance(value, list) else [str(value)] for name, value in query.items()}
        asked = request.from_query(texts)
        assert all(map(strangers.is_setting, query)), query
        assert not asked.faults and len(asked.specs) > (1 if "race" in query else 0)
    elif "experiment" in query:
        assert query["experiment"] in experiments.names()
    elif "run" in query:
        assert query["run"] in gallery.names()


def test_a_door_opens_without_a_fault(at):
    settings = [step.settings for _, step in STEPS if step.kind == "do" and step.settings["page"] != "launch"]
    doors = {
        (one["page"], tuple((k, str(v)) for k, v in one.items() if k not in ("page", "label"))) for one in settings
    }
    for page, query in sorted(doors):
        opened = at(page, **dict(query))
        faults = [each.value for each in (*opened.error, *opened.exception)]
        assert not faults, (page, query, faults)


@pytest.mark.parametrize("each, step", of("live"))
def test_figures_exist(each, step):
    assert step.settings["figure"] in live.names()


@pytest.mark.parametrize("each", LESSONS, ids=lambda each: each.name)
def test_a_lesson_is_walked_to_its_end(at, each):
    """Every section draws; a prediction hides what follows it until it is committed to."""
    for number, section in enumerate(each.sections, 1):
        page = at("learn", lesson=each.name, section=number)
        assert not page.error, [error.value for error in page.error]
        before, after = section.before_and_after()
        if not after:
            continue
        key = f"predict_{each.name}_{before[-1].settings['key']}"
        assert hidden(page)
        asked = before[-1].settings
        if "choices" in asked:
            page.radio(key).set_value(asked["choices"][0]).run()
        elif "click" in asked:  # a click writes the mark's text into the address
            assert page.button(f"{key}_commit").disabled
            mark = next(iter(live.module(asked["click"]).marks(asked)))
            page = at("learn", lesson=each.name, section=number, **{asked["key"]: mark})
        else:
            assert page.button(f"{key}_commit").disabled, "nobody predicts what a slider stands at by itself"
            page.slider(key).set_value(asked["low"]).run()
        page.button(f"{key}_commit").click().run()
        assert not page.exception and not page.error, [error.value for error in page.error]
        assert not hidden(page)


def test_each_prediction_of_a_section_hides_what_follows_it(folder, at):
    asked = PREDICT.format('choices = ["a", "b"]\nanswer = "\'a\'"')
    parts = [asked.replace('"k"', f'"k{nth}"').replace("After.", f"After {nth}.") for nth in (1, 2)]
    (folder / "99-mine.md").write_text(HEAD + "".join(parts))
    page = at("learn", lesson="mine")
    for seen in (["After 1."], ["After 1.", "After 2."]):
        assert hidden(page)
        page.radio(f"predict_mine_k{len(seen)}").set_value("b").run()
        page.button(f"predict_mine_k{len(seen)}_commit").click().run()
        assert [text.value for text in page.markdown if text.value.startswith("After")] == seen
    assert not hidden(page)


def hidden(page) -> bool:
    return any("Commit to a prediction" in caption.value for caption in page.caption)


def test_a_fact_that_does_not_exist_is_a_sentence():
    with pytest.raises(errors.BadData, match="fact that does not exist"):
        facts.fill('[[ runs["no-such-run"].summary.test_accuracy | percent ]]')
    with pytest.raises(errors.BadData, match="fact that does not exist"):
        facts.value("nonsense.at_all")


SLIPS = ["see [[ 1 + ]]", "see [[ runs ] x", "[[ 'a' | percent ]]", "[[ 1 | nofilter ]]", "[[ 1 / 0 ]]",
         "[[ mini.mean('nobody') ]]", "[[ mini.mean() ]]", "[[ nothing.here ]]", "[% if x %] and no end"]  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_a_text_is_a_sentence_that_quotes_it_and_its_file(folder, slip):
    (folder / "99-mine.md").write_text(f"{HEAD}First line.\n{slip}\n")
    with pytest.raises(errors.BadData) as raised:
        facts.fill(f"First line.\n{slip}")
    assert slip in str(raised.value) and "99-mine.md" in str(raised.value)


@pytest.mark.parametrize("answer", ["1 +", "1 / 0", "'a' | percent", "mini.mean('nobody')", "nothing.here", "nothing"])
def test_an_answer_that_cannot_be_computed_is_a_sentence(answer):
    with pytest.raises(errors.BadData, match=re.escape(answer)):
        facts.value(answer)


def test_a_plain_link_and_a_comment_are_no_slip():
    assert facts.fill("a [#1](http://x) b[[# not shown #]]") == "a [#1](http://x) b"


PREDICT = '```predict\nkey = "k"\nask = "How?"\n{}\n```\nAfter.\n'


@pytest.mark.parametrize("ends", ["low = 0\nhigh = 1\nstep = 0.1", "low = 0.0\nhigh = 20.0", "low = 0.5\nhigh = 9"])
def test_a_slider_takes_whole_numbers_and_others(folder, at, ends):
    (folder / "99-mine.md").write_text(HEAD + PREDICT.format(ends + '\nanswer = "1"'))
    page = at("learn", lesson="mine")
    page.slider("predict_mine_k").set_value(page.slider("predict_mine_k").max).run()
    page.button("predict_mine_k_commit").click().run()
    assert not errors_of(page) and any("It is" in text.value for text in page.markdown)


@pytest.mark.parametrize("given", ['choices = ["a", "b"]\nanswer = "\'c\'"', 'low = 0\nhigh = 9\nanswer = "[1]"'])
def test_an_answer_that_nobody_can_give_is_a_sentence(given):
    step = lesson.parse(HEAD + PREDICT.format(given), "99-mine").sections[0].steps[0]
    with pytest.raises(errors.BadData, match="The answer"):
        predictions.truth(step.settings)


FAULTS = {  # a file that is no lesson, by its name and text
    "no-head": ("99-mine.md", "Words."),
    "minutes": ("99-mine.md", HEAD.replace("5", '"5"') + "Words."),
    "title": ("99-mine.md", HEAD.replace('"Mine"', "5") + "Words."),
    "no-minutes": ("99-mine.md", HEAD.replace("5", "-5") + "Words."),
    "one-text": ("99-mine.md", HEAD.replace("minutes", 'answers = "One."\nminutes') + "Words."),
    "no-texts": ("99-mine.md", HEAD.replace("minutes", "show = [3]\nminutes") + "Words."),
    "no-number": ("mine.md", HEAD + "Words."),
    "letter": ("10a-mine.md", HEAD + "Words."),
    "empty": ("99-mine.md", HEAD),
    "ends": ("99-mine.md", HEAD + PREDICT.format('low = 9\nhigh = 0\nanswer = "1"')),
    "nothing-to-answer": ("99-mine.md", HEAD + PREDICT.format('answer = "1"')),
    "same-key": ("99-mine.md", HEAD + 2 * PREDICT.format('choices = ["a"]\nanswer = "1"')),
    "not-utf8": ("99-mine.md", HEAD + "Gr\xf6\xdfe"),
    "same-name": ("10-bits.md", HEAD + "Words."),
    "same-number": ("9-mine.md", HEAD + "Words."),
}


@pytest.mark.parametrize("name, text", FAULTS.values(), ids=FAULTS.keys())
def test_a_file_that_is_no_lesson_takes_no_other_away(folder, at, name, text):
    (folder / name).write_bytes(text.encode("latin-1"))
    for query in ({}, {"teacher": "plan"}):
        page = at("learn", **query)
        assert len(errors_of(page)) == 1 and name.removesuffix(".md") in errors_of(page)[0], errors_of(page)
        shown = page.expander if query else [text for text in page.markdown if text.value in QUESTIONS]
        assert len(shown) >= len(LESSONS)
    assert not errors_of(at("learn", lesson="which-method", section=99)), "its last section links to no next lesson"
    assert not errors_of(at("learn", print="handout"))


QUESTIONS = {each.question for each in LESSONS}


def test_a_file_that_is_new_or_renamed_is_there_at_the_next_look(folder, at):
    at("learn")
    (folder / "99-mine.md").write_text(f"\ufeff{HEAD}Words.", "utf-8")  # with the mark that some editors write
    (folder / "9-which-method.md").rename(folder / "100-which-method.md")
    page = at("learn", lesson="mine")
    assert not errors_of(page) and lesson.names()[-2:] == ("mine", "which-method")
    assert not errors_of(at("learn"))


def test_texts_hold_no_typed_results():
    """A decimal or a per cent in a lesson's text stands in an expression, never typed."""
    for each, step in STEPS:
        typed = re.sub(r"\[\[.*?\]\]|\[%.*?%\]|\$.*?\$", "", step.text, flags=re.DOTALL)
        assert not re.search(r"\d+(\.\d+)? ?%|\b0\.\d+", typed), (each.name, typed)


def test_formulas_render():
    """Streamlit takes $$ for a formula's ends only in one line with each other, or alone in their lines; and $ only
    where it is in one line with the other one and no digit follows."""
    for each, step in STEPS:
        for text in map(facts.fill, (step.text, str(step.settings.get("ask", "")))):
            lines = text.splitlines()
            assert all(line.count("$$") in (0, 2) or line.strip() == "$$" for line in lines), (each.name, text)
            assert sum(line.strip() == "$$" for line in lines) % 2 == 0, (each.name, text)
            for line in re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL).splitlines():
                parts = line.split("$")
                assert len(parts) % 2, (each.name, line)
                assert all(inner == inner.strip() != "" for inner in parts[1::2]), (each.name, line)
                assert not any(after[:1].isdigit() for after in parts[2::2]), (each.name, line)


def test_what_is_not_a_lesson_is_a_sentence():
    for text, words in [
        ("no head", r"\+\+\+"),
        ("+++\ntitle = 1\n+++\n", "lacks minutes, question"),
        ("+++\ntitle = \n+++\n", "not TOML"),
        ('+++\ntitle="a"\nquestion="b"\nminutes=1\n+++\n```live\nrank = 1\n```\n', "lacks figure"),
    ]:
        with pytest.raises(errors.BadData, match=words):
            lesson.parse(text, "9-bad")


def test_what_was_measured_says_how_and_stays_small():
    folder = lesson.FOLDER
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 10e6
    for path in folder.glob("measured/*.json"):
        assert facts.TABLES["measured"][path.stem]["command"] == f"python scripts/record_lessons.py {path.stem}"
        assert (folder.parents[1] / "scripts" / "lesson_parts" / path.name).with_suffix(".py").exists()


def test_recorded_attention_is_a_share_and_tokens_are_like_themselves():
    pictures = range(len(facts.value("measured.walk.pictures")))
    for nth in pictures:
        weights, alike = walk.attended(nth), walk.likeness(nth)
        np.testing.assert_allclose(weights.sum(-1), 1)
        assert weights.shape[:2] == (facts.value("measured.walk.depth"), facts.value("measured.walk.heads"))
        np.testing.assert_allclose(np.diagonal(alike, axis1=1, axis2=2), 1, atol=0.01)
        np.testing.assert_array_equal(alike, alike.swapaxes(1, 2))


def test_an_updates_pieces_add_up_to_it():
    """U S V of a recorded update is (alpha / r) B A, its pieces orthonormal and by size."""
    run = facts.value("measured.low_rank.run")
    weights, method = load(gallery.adapter(run)), gallery.record(run)["spec"]["method"]
    for (layer, projection), (U, S, V) in spectrum.updates(run).items():
        A, B = (weights[f"blocks.{layer - 1}.attn.{projection}.lora_{part}.weight"] for part in "AB")
        np.testing.assert_allclose(U * S @ V, method["alpha"] / method["rank"] * B @ A, atol=1e-5)
        np.testing.assert_allclose(U.T @ U, np.eye(len(S)), atol=1e-8)
        assert (np.diff(S) <= 0).all()


def test_the_bill_adds_up():
    """A bar is the sum of its parts, and more images never need less."""
    ledger = facts.TABLES["measured"]["ledger"]
    for row in ledger["rows"]:
        assert sum(row["components"].values()) == row["peak"]
    for method in ledger["at"]:
        assert np.all(np.diff([row["peak"] for row in ledger["rows"] if row["method"] == method]) > 0)


def test_a_slope_is_that_of_the_measured_curve():
    """Near the whole update, what was measured follows the tangent: the last stretch of every curve has its slope."""
    known = facts.TABLES["measured"]["taylor"]
    slopes, losses, sizes = np.array(known["slopes"]), np.array(known["losses"]), known["sizes"]
    np.testing.assert_array_equal(losses[..., -1], known["loss"])
    stretch = (losses[..., -1] - losses[..., -2]) / (sizes[-1] - sizes[-2])
    assert np.corrcoef(stretch.ravel(), slopes.ravel())[0, 1] > 0.9


def test_what_was_measured_is_of_the_recorded_weights():
    """With the bits that it was trained with, a run reaches what it recorded; else run scripts/record_lessons.py."""
    bits = facts.TABLES["measured"]["bits"]
    for how in ("after", "while"):
        run, rows = facts.TABLES["runs"][bits[how]["run"]], bits[how]["by_bits"]
        reached = rows[str(bits[how]["trained_bits"])]["accuracy"]
        assert reached == pytest.approx(run["summary"]["test_accuracy"], abs=1e-4), bits[how]["run"]


def test_cuts_on_real_weights_are_those_of_the_log():
    """Every number is a run's that docs/runs keeps; else run scripts/record_lessons.py real_cuts."""
    known = facts.TABLES["measured"]["real_cuts"]
    log = (lesson.FOLDER.parents[1] / "docs" / "runs" / "real_weights.jsonl").read_text().splitlines()
    runs = [row for row in map(json.loads, log) if row["spec"]["method"]["name"] == "heart_lora"]
    ran = {(str(row["spec"]["method"]["off"]), row["spec"]["method"]["n_off"], row["spec"]["seed"]): row["test"]
           for row in runs if row["spec"]["lr"] == known["spec"]["lr"]}  # fmt: skip
    for cut in known["cuts"]:
        own = [100 * ran["None", cut["off"], int(seed)] for seed in cut["own"]]
        lots = [100 * ran[str([mask]), None, seed] for mask, seed, _ in cut["random"]]
        assert cut["mean"] == pytest.approx(np.mean(own), abs=0.01) and len(own) > 1
        assert cut["chance"] == pytest.approx(np.mean(lots), abs=0.01) and len(lots) > 1
        assert list(cut["own"].values()) == pytest.approx(own, abs=0.01)


@pytest.mark.parametrize(
    ("asked", "answer", "close"),
    [
        ({"low": 1, "high": 40, "answer": "4.15"}, 1, False),
        ({"low": 0, "high": 100, "answer": "5.08"}, 0, False),
        ({"low": 0, "high": 100, "answer": "5.08"}, 15, False),
        ({"low": 0, "high": 100, "answer": "5.08"}, 5, True),
        ({"low": 0, "high": 20, "answer": "2.02"}, 4, False),
        ({"low": 0, "high": 100, "answer": "60"}, 52, True),
    ],
)
def test_close_is_what_is_close_to_the_answer_and_not_to_the_slider_s_width(asked, answer, close):
    assert predictions.verdict(asked, answer).endswith(": close.") == close


def test_what_is_exact_is_not_called_close():
    assert predictions.verdict({"low": 0, "high": 8, "answer": "6"}, 6) == "You said **6**. It is so."
