"""The page of experiments: what is known stands there, and a click launches what is missing, no more."""

from __future__ import annotations

import pytest
import streamlit as st
from drawn import titles

from app import libraries
from peftcore.bench.experiments import _known, experiment, names
from peftcore.store import WAITING, recipes


def test_what_was_recorded_shows_before_torch_is_loaded(at, monkeypatch):
    """Recorded and full views draw the same figure and conditions; a name that is none says so."""
    monkeypatch.setattr(libraries, "loaded", lambda: False)
    monkeypatch.setattr(libraries, "ready", st.stop)
    early = at("experiments", experiment="last_memory")
    assert titles(early) and not early.exception and not early.error
    listed = at("experiments", experiment="last_memry")
    assert len(listed.header) == 3 and not listed.subheader, "no level of headings is left out"
    assert "Did you mean 'last\\_memory'?" in listed.warning[0].value
    assert all(any(experiment(name).title in link.label for link in listed.get("page_link")) for name in names())
    monkeypatch.setattr(libraries, "loaded", lambda: True)
    late = at("experiments", experiment="last_memory")
    assert titles(late) == titles(early)
    assert [text.value for text in late.caption][:1] == [text.value for text in early.caption][:1]


@pytest.fixture
def no_records(tmp_path, monkeypatch):
    monkeypatch.setattr(_known, "FOLDER", tmp_path / "recorded")


def test_all_are_listed_and_one_can_be_launched_and_stopped(at, store, no_records):
    page = at("experiments")
    assert all(any(experiment(name).title in link.label for link in page.get("page_link")) for name in names())

    of = experiment("serial_rank")
    points = list(of.points())
    digest = recipes.weights_digest("vit_micro")
    for _, _, spec in points[:5]:
        run = store.create_run(spec.to_dict())
        store.append(run, [{"kind": "started", "settings": {"weights": {"sha256": digest}}}])
        store.set_status(run, "finished", summary={"test_accuracy": 0.6, "seconds": 3.0})
    page = at("experiments", experiment="serial_rank")
    assert page.title[0].value == of.title and page.button("experiment_launch").label == "Launch 5 runs"
    assert any("about **15 s** of one core" in text.value for text in page.markdown), "as the runs that are there took"
    assert any("scores highest, 60.0" in text.value for text in page.markdown)
    page.button("experiment_launch").click().run()
    waiting = store.runs(status=WAITING)
    assert {run.spec["method"]["rank"] for run in waiting} == {2, 4, 8, 16, 32} and len(waiting) == 5
    assert all(run.spec["seed"] == 1 for run in waiting), "only what is missing"
    page.button("experiment_stop").click().run()
    assert not store.runs(status=WAITING) and page.button("experiment_launch").label == "Launch 5 runs"


def test_what_is_not_measured_says_so_and_offers_it(at, no_records):
    page = at("experiments", experiment="last_memory")
    assert page.info and page.button("experiment_measure").label == "Predict 12"
