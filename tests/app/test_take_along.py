"""Take it with you: every kind of export on a run's page, built when it is asked for, or why it cannot be."""

from __future__ import annotations

import pytest

from app import background, heavy
from app.runs import take_along
from peftcore.cli.exports import EXPORTS


@pytest.fixture
def opened(at):
    def open_run(run):
        app = at("runs", run=run)
        app.session_state["take_along"] = True
        app.run()
        assert not app.exception, app.exception
        return app

    return open_run


def buttons(app) -> dict[str, bool]:
    """Kind of export: whether its button can be pressed."""
    return {b.key.removeprefix("build_"): not b.disabled for b in app.button if str(b.key).startswith("build_")}


def test_nothing_is_looked_up_until_it_is_opened(at, trained, monkeypatch):
    monkeypatch.setattr(take_along, "kinds", lambda: pytest.fail("looked up"))
    assert not buttons(at("runs", run=trained["lora"]))


def test_each_kind_has_a_button_or_says_why_not(opened, trained):
    app = opened(trained["last"])
    shown = buttons(app)
    assert set(shown) == set(EXPORTS.names()) and shown["script"] and not shown["merged"]
    assert any("cannot be folded" in text.value for text in app.markdown)
    assert buttons(opened(trained["lora"]))["merged"]


def test_a_file_is_built_and_can_be_downloaded(opened, trained):
    app = opened(trained["lora"])
    app.button(key="build_events").click().run()
    assert not app.exception and "build_events" not in {b.key for b in app.button}
    (name, data), *_ = app.session_state["exports_built"].values()
    assert name == f"run-{trained['lora']}-events.csv" and data.startswith(b"run,seq,time")


def test_what_loads_a_large_backbone_waits_for_a_word(opened, trained, monkeypatch):
    monkeypatch.setattr(heavy.embedded, "names", lambda: ())
    monkeypatch.setattr(heavy, "needed", lambda name: background.settled(1_000_000_000))
    monkeypatch.setattr(heavy, "free", lambda: 2_000_000_000)
    app = opened(trained["lora"])
    assert buttons(app)["script"] and not buttons(app)["onnx"] and not buttons(app)["merged"]
    app.button("take_along_load").click().run()
    assert buttons(app)["merged"]


def test_a_session_keeps_no_more_than_its_share_of_bytes(opened, trained, monkeypatch):
    monkeypatch.setattr(take_along, "MOST_BYTES", 10)
    app = opened(trained["lora"])
    for kind in ("events", "script"):
        app.button(key=f"build_{kind}").click().run()
    assert len(app.session_state["exports_built"]) == 1, "the newest"


def test_a_failure_is_a_sentence(opened, trained, monkeypatch):
    from peftcore import errors

    def fail(*_):
        raise errors.CannotExport("The disk is full.")

    app = opened(trained["lora"])
    monkeypatch.setattr(take_along, "as_bytes", fail)
    app.button(key="build_events").click().run()
    assert [error.value for error in app.error] == ["The disk is full."]
