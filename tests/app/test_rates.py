"""The launch page's learning rate: the best known for the method, until another is written, and what says so."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from app.launch import request, tried
from peftcore.spec import RunSpec
from peftcore.store import recipes

OURS = {"method": {"qk_norm": True}, "clip": 1.0}
EVIDENCE = {
    "on": "cells and counting",
    "tried": [
        {"lr": 0.001, "epochs": 20, "val": 0.2, "seeds": [0]},
        {"lr": 0.02, "epochs": 20, "val": 0.5, "seeds": [0, 1, 2]},
        {"lr": 0.02, "epochs": 20, **OURS, "val": None, "seeds": [0]},
    ],
    "command": "python -m peftcore bench recipes",
}
RATES = {"lora": 0.02, "last": 0.005, "linear": 0.05}


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    entries = tuple(
        {"method": method, "backbone": "vit_micro", "values": {"lr": lr}, "evidence": EVIDENCE}
        for method, lr in RATES.items()
    )
    monkeypatch.setattr(recipes, "recorded", lambda: entries)


def test_a_recipe_that_keeps_fewer_epochs_than_would_win_says_so():
    own, many = (
        {"lr": 0.02, "epochs": 20, "val": 0.5, "seeds": [0, 1, 2]},
        {"lr": 0.1, "epochs": 40, "seeds": [0, 1, 2]},
    )
    entry = {"values": {"lr": 0.02, "epochs": 20}, "evidence": {"tried": [own, many | {"val": 0.515}]}}
    assert tried.longer(entry).startswith("40 epochs reach 51.5 %, where its 20 reach 50.0 %.")
    for less in ({"val": 0.505}, {"val": None}, {"val": 0.6, "seeds": [0]}, {"val": 0.6, "epochs": 10}):
        assert tried.longer(entry | {"evidence": {"tried": [own, many | less]}}) == ""


def specs(store) -> list[RunSpec]:
    return [RunSpec.from_dict(record.spec) for record in store.runs()[::-1]]


def rates(store) -> dict[str, float]:
    return {spec.method.name: spec.lr for spec in specs(store)}


def text(page) -> str:
    return " ".join(e.value for kind in ("caption", "markdown") for e in getattr(page, kind)).replace("\\", "")


def test_the_rate_follows_the_method_until_another_is_written(at):
    page = at("launch", method="lora")
    assert page.text_input("lr").value == "0.02"
    page.pills("launch_method").set_value("last").run()
    assert page.text_input("lr").value == "0.005" and "lr" not in page.query_params
    page.text_input("lr").set_value("0.5").run()
    page.pills("launch_method").set_value("lora").run()
    assert page.text_input("lr").value == "0.5" and page.query_params["lr"] == "0.5"
    page.button("default_rate").click().run()
    assert page.text_input("lr").value == "0.02" and "lr" not in page.query_params


def test_a_rate_in_the_link_stays(at, store):
    page = at("launch", method="lora", lr=0.001)
    page.button("launch").click().run()
    assert rates(store) == {"lora": 0.001}


@pytest.mark.parametrize(
    "query, lr, basis",
    [
        ({"method": "lora"}, "0.02", "best of 3 tried with LoRA on vit_micro"),
        ({"method": "ssf"}, "0.02", "not measured for SSF; from LoRA on vit_micro"),
        ({"method": "lora", "backbone": "vit_small_patch16_224"}, "0.001", "0.001 is the general default"),
    ],
)
def test_what_the_default_is_based_on_is_said(at, query, lr, basis):
    page = at("launch", **query)
    assert page.text_input("lr").value == lr and basis in text(page)


def test_what_was_tried_is_one_click_away(at):
    page = at("launch", method="lora")
    rows = "| 0.001 | 20 | – | 20.0 % | 1 |\n| **0.02**\u00a0✓ | 20 | – | 50.0 % | 3 |\n| 0.02 | 20 | q and k"
    assert rows in text(page)
    assert "validation images of cells and counting" in text(page)


@pytest.fixture
def whole(monkeypatch):
    """LAST's recipe has more than a rate."""
    values = {"lr": 0.02, "epochs": 20, **OURS}
    last = {"method": "last", "backbone": "vit_micro", "values": values, "evidence": EVIDENCE}
    others = [entry for entry in recipes.recorded() if entry["method"] != "last"]
    monkeypatch.setattr(recipes, "recorded", lambda: (last, *others))
    return RunSpec(method={"name": "last", "qk_norm": True}, lr=0.02, epochs=20, clip=1.0)


def test_a_recipe_is_shown_and_launched_whole_and_each_part_of_it_can_be_changed(at, store, whole):
    page = at("launch", method="last")
    assert page.text_input("epochs").value == "20" and page.text_input("clip").value == "1.0"
    assert page.toggle("last.qk_norm").value and "Learning rate 0.02, 20 epochs, q and k" in text(page)
    page.button("launch").click().run()
    assert specs(store)[-1] == whole
    page = at("launch", method="last")
    page.text_input("epochs").set_value("10").run()
    page.toggle("last.qk_norm").set_value(False).run()
    assert page.query_params["epochs"] == "10" and page.query_params["last.qk_norm"] == "false"
    published = recipes.best("last", "vit_micro").lr
    assert f"Learning rate {published:g}, 20 epochs: " in text(page)
    page.button("launch").click().run()
    assert specs(store)[-1] == RunSpec(lr=published, epochs=10), "the rate and clip of q and k normalised went with it"


def test_the_way_back_from_a_rate_keeps_what_was_switched_off(at, store, whole):
    published = recipes.best("last", "vit_micro").lr
    page = at("launch", method="last", clip="none")
    page.text_input("lr").set_value("0.5").run()
    page.button("default_rate").click().run()
    assert page.query_params["clip"] == "none" and page.text_input("lr").value == "0.02"
    page = at("launch", method="last", **{"last.qk_norm": "false"})
    page.text_input("lr").set_value("0.5").run()
    assert f"the best known is {published:g}" in text(page)
    page.button("default_rate").click().run()
    assert page.query_params["last.qk_norm"] == "false"
    page.button("launch").click().run()
    assert specs(store)[-1] == RunSpec(lr=published, epochs=20)


def test_what_is_raced_decides_no_recipe():
    query = {"method": "last", "race": "qk_norm"}
    leftover = query | {"last.qk_norm": "false"}
    assert request.from_query(leftover).specs == request.from_query(query).specs


def test_what_a_recipe_sets_can_be_left_out(at, store, whole):
    page = at("launch", method="last")
    page.text_input("clip").set_value("").run()
    assert page.query_params["clip"] == "none"
    page.button("launch").click().run()
    assert specs(store)[-1] == whole.replace(clip=None)
    page = at("launch", method="last", clip="none")
    page.text_input("clip").set_value("1.0").run()
    assert "clip" not in page.query_params, "it is the recipe's"


def test_a_rate_that_is_written_leaves_the_rest_of_the_recipe_and_a_link_with_one_has_none(at, store, whole):
    page = at("launch", method="last")
    page.text_input("lr").set_value("0.5").run()
    assert page.text_input("clip").value == "1.0" and page.toggle("last.qk_norm").value
    page.button("launch").click().run()
    assert specs(store)[-1] == whole.replace(lr=0.5)
    page = at("launch", method="last", lr=0.02, epochs=10)
    assert page.text_input("clip").value == "" and not page.toggle("last.qk_norm").value
    page.button("launch").click().run()
    assert specs(store)[-1] == RunSpec(lr=0.02)


def test_methods_are_raced_as_published(at, store, whole):
    page = at("launch", method="last", race="method", **{"race.method": ["lora"]})
    assert "Methods are raced as published." in text(page)
    page.button("launch").click().run()
    assert specs(store) == [RunSpec(method="last", lr=0.02), RunSpec(method="lora", lr=0.02)]


def test_raced_methods_have_each_its_own_rate(at, store):
    page = at("launch", method="lora", race="method", **{"race.method": ["last", "linear"]})
    assert page.text_input("lr").value == "" and "LoRA 0.02, LAST 0.005, Linear probe 0.05" in text(page)
    page.button("launch").click().run()
    assert rates(store) == RATES


@pytest.mark.parametrize("query, lr", [({"lr": "0.1"}, {0.1}), ({"race": "method,lr", "race.lr": "1, 2"}, {1.0, 2.0})])
def test_but_a_rate_that_is_written_or_raced_is_for_all(at, store, query, lr):
    page = at("launch", **{"method": "lora", "race": "method", "race.method": ["last"]} | query)
    page.button("launch").click().run()
    assert {spec.lr for spec in specs(store)} == lr and set(rates(store)) == {"lora", "last"}


def test_launch_again_takes_the_rates_of_then(at, store, monkeypatch):
    page = at("launch", method="lora", race="method", **{"race.method": ["last", "linear"]})
    page.button("launch").click().run()
    first = specs(store)
    monkeypatch.setattr(recipes, "recorded", tuple)
    page = at("runs", race=1)
    link = next(link for link in page.page_link if link.label == "Launch again")
    page = at("launch", **parse_qs(link.proto.query_string))
    page.button("launch").click().run()
    assert specs(store)[3:] == first
    page.query_params = {}
    page.switch_page("pages/launch.py").run()
    page.button("default_rate").click().run()
    page.button("launch").click().run()
    assert {spec.lr for spec in specs(store)[6:]} == {RunSpec().lr}


def test_a_preset_of_the_days_without_recipes_means_what_it_meant(at, store):
    """It names all that is always in one, and no rate where that was the general default."""
    old = {"method": "lora", "backbone": "vit_micro", "task": "digits", "epochs": 3, "seed": 1}
    page = at("launch", **old)
    assert page.text_input("lr").value == "0.001"
    page.button("launch").click().run()
    assert rates(store) == {"lora": 0.001}


def test_a_form_that_comes_to_name_as_much_does_not(at):
    page = at("launch", method="lora", backbone="vit_micro", task="digits", epochs=3)
    page.text_input("seed").set_value("1").run()
    assert page.text_input("lr").value == "0.02" and page.query_params["lr"] == ""
    again = at("launch", **page.query_params)
    assert again.text_input("lr").value == "0.02"
