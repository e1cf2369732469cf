"""One number for memory: what Launch shows before a run is what the run measures and what its page says."""

import json
from dataclasses import replace

import pytest
from drawn import titles

from app.launch import costs
from app.memory import cases
from app.runs import predictions
from peftcore.engine.worker import finetune, race
from peftcore.figures.words import si_bytes
from peftcore.memory import predict_memory
from peftcore.spec import RunSpec
from peftcore.task import Split
from peftcore.tasks.drawn import digits

COMMON = {"epochs": 2, "pretrained": False, "device": "cpu"}
SPECS = {
    "side, cached": {"method": "last", "batch_size": 12},
    "side, cached, more in a batch than there are": {"method": "last", "batch_size": 33},
    "side, cached in bf16": {"method": "linear", "batch_size": 12, "cache_precision": "bf16"},
    "side, cached on disk": {"method": "linear", "batch_size": 12, "cache_features": "disk"},
    "side, computed": {"method": "last", "batch_size": 12, "cache_features": False},
    "in-backbone": {"method": "lora", "batch_size": 12},
    "Swin, side, cached": {"method": "last", "batch_size": 12, "backbone": "swin_micro"},
    "Swin, side, cached, autocast": {
        "method": "linear", "batch_size": 12, "backbone": "swin_micro", "precision": "bf16",
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_digits(monkeypatch):
    """The digits, 24 images of each split."""
    whole = digits._task()
    few = {n: Split(getattr(whole, n).images[:24], getattr(whole, n).labels[:24]) for n in ("train", "val", "test")}
    monkeypatch.setattr(digits, "_task", lambda: replace(whole, **few))


@pytest.mark.parametrize("name", SPECS)
def test_the_bill_the_run_and_its_page_say_the_same(name, at, store):
    spec = RunSpec(**COMMON, **SPECS[name])
    promised = predict_memory(spec)
    events = list(finetune(spec.to_dict(), None))
    measured = events[-1].memory
    assert promised.peak == measured["peak"] == measured["predicted"]["peak"]
    assert promised.components["cached_features"] == measured["cached_features"]
    cached = "side, cached" in name and "disk" not in name
    assert bool(measured["cached_features"]) == cached
    if cached:
        assert (
            measured["cached_features"] == next(e for e in events if e.kind == "started").settings["features"]["bytes"]
        )

    card = costs.of(spec).result(timeout=60)
    assert card.peak == promised.peak and card.batch == promised.batch_size
    run = store.create_run(spec.to_dict())
    store.put_artifact(run, costs.ARTIFACT, json.dumps(costs.promised(spec)).encode())
    store.append(run, [event.to_dict() for event in events])
    store.set_status(run, "finished", summary={k: v for k, v in events[-1].to_dict().items() if k != "kind"})
    page, shown = at("runs", run=run), si_bytes(promised.peak)
    assert next(metric.value for metric in page.metric if metric.label == "Peak memory") == shown
    assert predictions.sentence(store.run(run)) == f"Memory: predicted {shown}, measured {shown} (+0.0 %)."


def test_the_pages_show_it(at):
    spec = RunSpec(**COMMON, method="last", batch_size=11)
    shown = si_bytes(predict_memory(spec).peak)
    query = {"method": "last", "task": "digits", "batch_size": 11, "pretrained": False, "last.qk_norm": False}
    assert any(title.startswith(f"Peak {shown}") for title in titles(at("launch", **query)))
    for method in ("full", "last"):  # so that the page does not have to wait for it
        cases.predicted(cases.Case(method, "vit_micro", "11", "fp32", "cpu", epochs="2")).result(timeout=60)
    page = at("memory", **cases.preset(spec.to_dict()))
    table = page.dataframe[0].value.set_index("method")
    assert table.loc["LAST", "peak"] == shown and not page.error


def test_what_a_race_shares_is_counted_once_and_is_what_each_of_its_runs_measures():
    specs = [RunSpec(**COMMON, method={"name": "last", "gap": gap}, batch_size=12) for gap in (2, 4)]
    ends = {
        which: event
        for which, event in race([s.to_dict() for s in specs], [None, None], tuple)
        if event.kind == "finished"
    }
    each = [costs.of(spec).result(timeout=60) for spec in specs]
    bill = costs.of_race(specs, each).result(timeout=60)
    for end in ends.values():
        assert end.memory["peak"] == end.memory["predicted"]["peak"]
        assert (
            end.memory["cached_features"]
            == bill.components["cached_features"]
            > max(cost.components["cached_features"] for cost in each)
        )
