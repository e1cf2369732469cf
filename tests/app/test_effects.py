"""Heads switched off, on the Heads page: what is shown is what the library measures, once, and it can be stopped."""

import numpy as np
import pytest
import torch
from drawn import figures

from app import subjects
from app.heads import effects, measuring, opinions
from peftcore import adapters
from peftcore.backbone.preprocess import prepare
from peftcore.probes.effects import head_effects
from peftcore.task import load_task


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(measuring, "IMAGES", 4)
    monkeypatch.setattr(effects, "IMAGES", 4)
    monkeypatch.setattr(opinions, "IMAGES", 2)
    _forget()


def _forget():
    """As a new process: nothing is kept but what is on disk."""
    measuring._bench.clear()
    measuring._measurements.clear()


def text(app) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.info, *app.error])


def test_each_head_is_switched_off_beside_its_score_and_a_reload_shows_it(at, trained, store, built):
    app = at("heads", run=trained["lora"])
    before = len(figures(app))
    app.button(key="heads_effects").click().run()
    assert not app.exception and not app.error and "on the first 4 validation images" in text(app)
    assert len(figures(app)) == before + 2
    app.button(key="heads_deletion").click().run()
    assert not app.exception and not app.error and len(figures(app)) == before + 4
    found = measuring._bench().jobs[_key(trained["lora"])].result()
    _forget()
    built.clear()
    again = at("heads", run=trained["lora"])
    assert len(figures(again)) == before + 4 and again.button(key="heads_effects").disabled
    assert not built, "they are kept from the first visitor"

    model = adapters.from_bytes(store.get_artifact(trained["lora"], "adapter"))
    val = load_task("digits").val
    expected = head_effects(model, prepare(val.images[:4], model.backbone), torch.tensor(val.labels[:4]))
    np.testing.assert_allclose(found["loss"], expected.loss, atol=1e-6)


def test_second_opinions_are_scores_of_the_grid_and_stability_offers_the_seeds_that_are_missing(at, trained, store):
    """One page: what is measured there is kept, and is a score to choose; the other seed of the store is compared."""
    run = trained["lora"]
    spec = store.run(run).spec
    other = store.create_run(spec | {"seed": 1})
    store.set_status(other, "running")
    store.append(other, store.events(run))
    store.set_status(other, "finished", summary=store.run(run).summary)
    app = at("heads", run=run)
    assert "how short a warm-up could be" in text(app) and "differ in nothing but the seed" in text(app)
    [launch] = [link for link in app.get("page_link") if "Launch seed" in link.proto.label]
    assert launch.proto.label == "Launch seed 2" and "seed=2" in launch.proto.query_string
    waiting = store.create_run(spec | {"seed": 2})
    app.run()
    links = [link.proto.label for link in app.get("page_link")]
    assert f"Watch run {waiting}" in links and not any("Launch seed" in label for label in links)
    before = len(figures(app))
    app.button(key="heads_opinion").click().run()
    assert not app.exception and not app.error and len(figures(app)) == before + 1
    app.button(key="heads_scored").click().run()
    assert not app.exception and not app.error and len(figures(app)) == before + 2
    _forget()
    again = at("heads", run=run, score="distance")
    assert not again.error and "attention distance, in pixels" in text(again)
    assert len(figures(again)) == before + 2


def _key(run: int) -> measuring.Key:
    return measuring.Key.of(subjects.run(subjects.named(str(run))), "effects-update")


def test_the_head_itself_and_a_stop(trained, store, engine):
    run = subjects.run(subjects.named(str(trained["lora"])))
    given = measuring.Given(subjects.adapter(run.subject), run.spec, [])
    found = effects._effects(given, "mean", measuring.Measurement())
    assert found["projections"] == ("output",) and np.isfinite(found["loss"]).all()
    stopped = measuring.Measurement()
    stopped.stopping.set()
    assert isinstance(
        measuring.or_error(lambda *both: effects._effects(both[0], "update", both[1]), given, stopped),
        measuring.Stopped,
    )
    none = measuring.or_error(lambda *both: measuring.load(both[0]), given._replace(adapter=None), stopped)
    assert "has not come to its end" in str(none)


def test_loading_is_no_part_of_the_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(measuring, "monotonic", lambda: now[0])
    measurement = measuring.Measurement()
    assert "loading the model" in measurement.text("Measuring")
    now[0] += 50  # it loads
    measurement.progress(0.01)
    assert measurement.text("Measuring") == "Measuring: 1 %."
    now[0] += 10
    measurement.progress(0.21)
    assert measurement.text("Measuring") == "Measuring: 21 %, about 40 s left."
