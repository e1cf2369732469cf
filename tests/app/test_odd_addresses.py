"""Addresses that nobody meant: odd values under every name of every page are answered by sentences."""

from __future__ import annotations

import random
import re

import pytest

from app import errors, links
from app.navigation import PAGES

ODD = (
    "²", "99999999999999999999", "-1", "0", "1.5", "inf", "nan", "1e400", "", " ", "\x00", "../../etc/passwd", "[x](y)",
    "1,1", "a,b,", "none", "None", "true", "{}", "[]", '{"a": [1e999, {"b": null}]}', "[" * 999, "9" * 5000, "1-1",
    "class", "-5--5", "own-../x", "photo-china", "gallery", "kept-x-0", "lora-digits", "1", "2", "cuda:99", "é😀",
)  # fmt: skip
# What the pages read of an address under no condition that an odd one would not meet; the rest is heard of as they run.
NAMES = {
    "runs": ("run", "race", "view", "page", "images", "label", "predicted"),
    "launch": ("backbone", "method", "task", "race", "race.lr", "race.method", "lora.rank", "device", "weights"),
    "tasks": ("task", "class", "more", "split", "values", "by", "perplexity", "view", "equal"),
    "heads": ("run", "layer", "head", "image", "query", "score", "projection", "of", "all", "off"),
    "attention": ("run", "layer", "head", "module", "image", "query"),
    "attribution": ("run", "image", "class", "by", "layer", "steps"),
    "xray": ("adapter", "beside", "heads", "scale", "projection", "spectrum"),
    "compare": ("runs", "view", "curve", "task"),
    "try_it": ("view", "learning", "runs", "image", "from"),
    "memory": ("backbone", "batch", "size", "methods", "curve", "epochs", "task", "block", "lora.rank"),
    "atlas": ("open", "score", "of"),
    "home": (),
}
ROUNDS = 1
EVIL = "x`![p](https://evil.example/p.png)`y"  # closes a code span, and draws a picture


@pytest.fixture
def no_traceback(monkeypatch):
    """What nobody foresaw fails the test instead of standing on the page with a number."""

    def unforeseen(error: Exception) -> None:
        raise AssertionError(f"nobody foresaw {error!r}") from error

    monkeypatch.setattr(errors, "unexpected", unforeseen)


@pytest.mark.parametrize("page", PAGES)
def test_odd_values_are_answered_by_sentences(at, trained, no_traceback, monkeypatch, page):
    read, heard = links.texts, set(NAMES.get(page, ()))
    monkeypatch.setattr(links, "texts", lambda name: heard.add(name) or read(name))
    for nth in range(ROUNDS):
        dice = random.Random(f"{page} {nth}")
        said = {name: dice.choice(ODD) for name in sorted(heard) if dice.random() < 0.4}
        assert at(page, **said).title, said  # `at` fails where there is an exception


ATTACKS = [
    ("runs", {"run": "²"}, "There is no run '²'"),
    ("runs", {"run": "9" * 20}, "There is no run '99999999999999999999'"),
    ("runs", {"race": "1"}, "is no race"),
    ("heads", {"run": "²"}, "'²'"),
    ("compare", {"runs": f"1,{'9' * 20}"}, "99999999999999999999"),
    ("launch", {"method": "lora", "lora.rank": "inf"}, "rank = inf is not possible"),
    ("launch", {"device": "gpu7"}, "There is no device 'gpu7'"),
    ("launch", {"method": "hf_peft", "hf_peft.options": '{"target_modules": "(a+)+$"}'}, "must be a plain name"),
    ("launch", {"method": "hf_peft", "hf_peft.options": '{"rank_pattern": {"(a+)+$": 4}}'}, "must be a plain name"),
    ("memory", {"methods": "hf_peft", "hf_peft.options": '{"layers_pattern": "(a+)+$"}'}, "must be a plain name"),
]


UNFORESEEN = [  # each ended in a traceback once
    ("try_it", {"view": "teach", "learning": "²"}),
    ("try_it", {"view": "teach", "learning": "9" * 20}),
    ("memory", {"methods": "lora,lora"}),
    ("memory", {"batch": "9" * 5000}),
    ("memory", {"size": "9" * 5000}),
    ("launch", {"method": "heart_lora", "heart_lora.off": "9" * 5000}),
    ("heads", {"run": "heart-digits", "off": "heart-digits:[[1e999]]"}),
    ("memory", {"backbone": EVIL}),
    ("launch", {"backbone": EVIL}),
]


@pytest.mark.parametrize("page, said", UNFORESEEN)
def test_what_nobody_foresaw_is_foreseen(at, store, no_traceback, page, said):
    shown = at(page, **said)
    drawn = [one.value for kind in ("markdown", "caption", "error", "warning") for one in getattr(shown, kind)]
    assert not any(re.search("(?<!`)`x`!", text) for text in drawn), "typed text ends the code span it stands in"


@pytest.mark.parametrize("pasted", ["http://[", f"[{'9' * 5000}]"])
def test_what_is_pasted_and_cannot_be_read_is_a_sentence(at, store, no_traceback, pasted):
    page = at("launch")
    page.text_input("launch_paste").input(pasted).run()
    assert not page.exception and page.error


@pytest.mark.parametrize("page, said, sentence", ATTACKS)
def test_what_was_tried_is_refused_in_a_sentence(at, trained, no_traceback, page, said, sentence):
    shown = at(page, **said)
    text = "\n".join(one.value for one in [*shown.error, *shown.caption, *shown.info]).replace("\\", "")
    assert sentence in text
