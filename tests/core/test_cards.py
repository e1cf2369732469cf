"""Method cards: the record is of today's methods, and formulas count what the ledger counts."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import pytest

from peftcore import errors
from peftcore.bench import cards
from peftcore.figures.block import block
from peftcore.methods import make_method
from peftcore.registry import METHODS

RECORDED = cards.recorded()["methods"]
AGAIN = "run python -m peftcore bench cards --write"


def test_every_method_is_recorded_with_the_text_that_its_class_has():
    assert set(RECORDED) == set(METHODS.names()), AGAIN
    for name, found in RECORDED.items():
        assert found["card"] == asdict(METHODS.load(name).METHOD.card), f"{name}: {AGAIN}"
        assert found["settings"] == make_method(name).settings(), f"{name}: {AGAIN}"
        assert found["card"]["choose"], f"the docstring of {name} says not when to choose it"


@pytest.mark.parametrize("name", [name for name, found in RECORDED.items() if found["card"]["counts"]])
def test_formulas_count_what_is_there(name):
    found = RECORDED[name]
    assert cards.counted(found["card"]["counts"], found["settings"]) == found["parameters"]["method"]


@pytest.mark.parametrize("wrong", ["2 * x", "2 *", "d / 0", "d()"])
def test_what_is_no_formula_is_named(wrong):
    with pytest.raises(errors.InvalidSetting, match=r"cannot be computed .* of d, L, N, P, rank"):
        cards.counted(wrong, {"rank": 8})


def test_a_block_is_whole():
    """Every weight of the block is on it once, and every byte that a step keeps of it."""
    width = 768
    whole = 12 * width**2 + 13 * width
    for name, found in RECORDED.items():
        parts = [row["part"] for row in found["rows"]]
        assert len(set(parts)) == len(parts) and [part for part in parts if part in cards.PARTS] == list(cards.PARTS)
        backbone = sum(row["frozen"] for row in found["rows"])
        inside = sum(row["trained"] for row in found["rows"] if row["part"] in cards.PARTS)
        if name == METHODS.baseline("upper"):
            assert (backbone, inside) == (0, whole)
        else:
            assert whole in (backbone, backbone + inside), name  # some train a part of the block itself
        kept = sum(row["kept"] for row in found["rows"])
        assert (kept == 0) == (METHODS.facts(name).kind == "side"), name


def test_the_ledger_says_so_today():
    found = cards.facts("serial_lora")
    assert {**found, "components": None} == {**RECORDED["serial_lora"], "components": None}, AGAIN


def test_writing_one_card_keeps_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "FILE", tmp_path / "cards.json")
    cards.FILE.write_text(json.dumps({"methods": RECORDED}))
    cards.command(methods="linear", write=True)
    assert set(cards.recorded()["methods"]) == set(RECORDED)


@pytest.mark.parametrize("dark", [False, True])
def test_the_drawing_says_what_the_numbers_say(dark):
    svg = block(RECORDED["lora"]["rows"], width=340, dark=dark)
    assert "24,576 weights train" in svg and "77.8 MB kept" in svg and svg.count("<rect") > len(cards.PARTS)
    side = {"trained": 617_472, "features": 135_600_000}
    assert "side network" in block(RECORDED["last"]["rows"], side=side, width=620, dark=dark)


@pytest.mark.parametrize("name", ["full", "bitfit", "ssf"])
def test_on_a_phone_no_title_leaves_its_box_or_lies_under_its_count(name):
    """A letter of 13 pixels is about 7 wide."""
    svg = block(RECORDED[name]["rows"], width=358)
    box = float(re.search(r'<rect x="0\.0"[^>]* width="([\d.]+)" height="30\.0"', svg)[1])
    titles = [(float(x), text) for x, text in re.findall(r'<text x="([\d.]+)"[^>]*font-size="13">([^<]*)', svg)]
    assert len(titles) >= 8 and all(x + 7 * len(text) <= box for x, text in titles)
    pairs = re.findall(r'font-size="13">([^<]*)</text><rect x="([\d.]+)"[^>]*/><text[^>]*font-size="12">\+', svg)
    assert bool(pairs) == (name != "full") and all(9 + 7 * len(text) <= float(x) for text, x in pairs)
