"""Heads that a lesson's reader switches off: chosen by clicks, buttons or the address, measured on request."""

from __future__ import annotations

from drawn import click, titles

from app.learn import facts, heads_off


def off(page) -> str:
    return next(text.value for text in page.markdown if "You switched off" in text.value)


def test_a_choice_is_made_measured_and_changed(at, monkeypatch):
    monkeypatch.setattr(heads_off, "IMAGES", 8)
    page = at("learn", lesson="heart-lora", section=2, heads_off="1-1.99-1.x.1-1")  # what is no head is none
    assert not titles(page), "one predicts before one chooses"
    page.radio("predict_heart-lora_whose").set_value("yours").run()
    page.button("predict_heart-lora_whose_commit").click().run()
    assert "off 1 of" in off(page) and not any("Your choice" in title for title in titles(page))
    click(page, "choose_heads", 1, 2)
    assert "off 2 of" in off(page) and page.query_params["heads_off"] == "1-1.2-3"
    page.button("choose_heads_measure").click().run()
    assert not page.exception and not page.error, [error.value for error in page.error]
    assert any("Your choice keeps" in title for title in titles(page))
    assert not any("the lowest loss is" in text.value for text in page.markdown), "the score has not chosen yet"
    on = next(link for link in page.get("page_link") if link.label == "Next")
    assert "section=3" in on.proto.query_string
    page.button("choose_heads_S").click().run()
    assert f"off {facts.TABLES['measured']['heads_off']['cut']} of" in off(page)
    assert not any("Your choice" in title for title in titles(page))  # another choice is another measurement


def test_at_most_so_many_numbers_of_heads_are_measured():
    assert heads_off.numbers_of(1) == [1] and heads_off.numbers_of(6) == [1, 2, 3, 4, 5, 6]
    for count in (7, 20, 32):
        numbers = heads_off.numbers_of(count)
        assert len(numbers) == heads_off.POINTS and numbers[-1] == count
