"""The launch page's word on learning rates: what was measured, a button that takes it, silence where nothing was."""

from __future__ import annotations

import pytest

from peftcore.backbone import embedded

TOLD = {
    "lora": {
        "lr": 0.02,
        "epochs": 5,
        "rates": {"0.001": {"val": 0.2, "test": 0.24}, "0.02": {"val": 0.5, "test": 0.51}},
    }
}


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    card = embedded.card
    monkeypatch.setattr(embedded, "card", lambda name: card(name) | {"learning_rates": TOLD})


def shown(page):
    return [caption.value for caption in page.caption if "Learning rates tried" in caption.value]


def test_a_measured_rate_is_offered_and_taken(at):
    page = at("launch", method="lora")
    assert shown(page) == ["Learning rates tried with LoRA on vit_micro: 24 % at 0.001, 51 % at 0.02."]
    assert page.number_input("lr").value == 0.001
    page.button("use_rate").click().run()
    assert page.number_input("lr").value == 0.02 and page.button("use_rate").disabled


@pytest.mark.parametrize("link", [{"method": "last"}, {"method": "lora", "race": "lr"},
                                  {"method": "lora", "backbone": "vit_small_patch16_224"}])  # fmt: skip
def test_nothing_is_said_of_what_was_not_measured_or_is_raced(at, link):
    assert not shown(at("launch", **link))
