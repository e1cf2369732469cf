"""The results of a run: its confusion, its images, and what the page says where there are none."""

from __future__ import annotations

import pytest
from drawn import figures

from peftcore.store import results


def text(page) -> str:
    parts = [e.value for kind in ("markdown", "caption", "info", "error") for e in getattr(page, kind)]
    return " ".join(parts).replace("\\", "")


@pytest.fixture
def run(trained, monkeypatch) -> int:
    """A run that was tested on few of the digits; the page reads the same few."""
    few(monkeypatch)
    return trained["lora"]


def few(monkeypatch) -> None:
    from dataclasses import replace

    from app import cached
    from peftcore.task import Split, load_task

    whole = load_task("digits")
    part = replace(whole, test=Split(whole.test.images[:24], whole.test.labels[:24]))
    monkeypatch.setattr(cached, "task", lambda name: part)


def test_training_first_results_by_link(at, run):
    page = at("runs", run=run)
    assert page.segmented_control(key="runs_show").value == "training" and len(figures(page)) == 5
    page = at("runs", run=run, show="results")
    assert len(figures(page)) == 3 and not page.error
    assert "24 test images" in text(page) and "95 %, Wilson" in text(page)
    downloads = {button.key for button in page.download_button}
    assert {"csv_classes", "csv_answers"} <= downloads


def test_images_by_order_and_by_cell(at, run, store):
    found = results.results(run, store)
    label, predicted = int(found.labels[0]), int(found.predicted[0])
    page = at("runs", run=run, show="results")
    assert page.segmented_control(key="runs_images").value == "worst"
    page = at("runs", run=run, show="results", label=label, predicted=predicted)
    assert page.segmented_control(key="runs_images").value == "cell"
    assert page.selectbox(key="runs_label").value == label
    cards = next(e.value for e in page.get("html") if "test image" in e.value)
    assert cards.count("<img") == min(9, len(found.cell(label, predicted)))
    assert not at("runs", run=run, show="results", label="x", predicted=999).exception


def test_pages_of_images(at, run):
    page = at("runs", run=run, show="results", images="uncertain")
    assert "1 to 9 of 24 images" in text(page)
    page.button("runs_images_after").click().run()
    assert "10 to 18 of 24 images" in text(page) and page.query_params["page"] in ("1", ["1"])


def test_a_run_without_predictions_is_predicted_again(at, run, store, monkeypatch):
    store.delete_artifact(run, results.ARTIFACT)
    page = at("runs", run=run, show="results")
    assert "kept no predictions" in text(page) and not figures(page)
    page.button("predict_again").click().run()
    assert not page.exception and results.ARTIFACT in store.artifact_names(run)
    assert "test images" in text(page)
    for name in (results.ARTIFACT, "adapter"):
        store.delete_artifact(run, name)
    page = at("runs", run=run, show="results")
    assert "no saved adapter" in text(page) and not [b for b in page.button if b.key == "predict_again"]


def test_other_images_than_it_was_tested_on_are_named(at, trained):
    page = at("runs", run=trained["lora"], show="results")  # the whole test split, of which 24 were used
    assert "not those that the run was tested on" in text(page)
    assert len(figures(page)) == 3


def test_a_deleted_image_set_is_a_sentence(at, trained, monkeypatch):
    from app import cached
    from peftcore import errors

    def gone(name):
        raise errors.DataUnavailable("The image set is gone.")

    monkeypatch.setattr(cached, "task", gone)
    page = at("runs", run=trained["lora"], show="results")
    assert "The image set is gone." in text(page) and len(figures(page)) == 3


def test_a_failed_run_has_no_results(at, trained, store):
    store.set_status(trained["lora"], "failed", error="Too warm.")
    page = at("runs", run=trained["lora"], show="results")
    assert "Too warm" in text(page) and not page.exception
