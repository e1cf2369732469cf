"""Results that pages wait for: made once, except what went wrong outside of the app."""

from __future__ import annotations

import concurrent.futures

from app import background
from peftcore import errors


def ask(desk: background.Desk, work):
    job = desk.ask("key", work)
    concurrent.futures.wait([job])
    return job


def test_a_fault_that_may_be_mended_outside_is_looked_at_again(monkeypatch):
    desk, made = background.Desk(), []

    def work():
        made.append(1)
        return errors.BadData("There is no folder.") if len(made) == 1 else "images"

    assert isinstance(ask(desk, work).result(), errors.BadData)
    assert isinstance(ask(desk, work).result(), errors.BadData) and len(made) == 1  # a page that begins again sees it
    monkeypatch.setattr(background, "STALE_SECONDS", -1.0)
    assert ask(desk, work).result() == "images"
    assert ask(desk, work).result() == "images" and len(made) == 2


def test_results_and_impossible_settings_stay(monkeypatch):
    monkeypatch.setattr(background, "STALE_SECONDS", -1.0)
    for result in (None, 3, errors.DoesNotFit("It has no q.")):
        desk, made = background.Desk(), []
        for _ in range(2):
            assert ask(desk, lambda made=made, result=result: made.append(1) or result).result() is result
        assert len(made) == 1


def test_what_raises_outside_is_tried_again(monkeypatch):
    desk = background.Desk()
    monkeypatch.setattr(background, "STALE_SECONDS", -1.0)

    def absent():
        raise errors.DataUnavailable("Not here.")

    assert isinstance(ask(desk, absent).exception(), errors.DataUnavailable)
    assert ask(desk, lambda: "here").result() == "here"
