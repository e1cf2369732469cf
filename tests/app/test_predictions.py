"""Every run keeps its prediction, and the pages say how near it was."""

import json

import pytest

from app.launch import costs
from app.runs import predictions


def kept(store, trained, method, predicted, measured=1000):
    summary = store.run(trained[method]).summary
    summary["memory"] = summary["memory"] | {"peak": measured}
    if predicted:
        summary["memory"]["predicted"] = {"peak": predicted}
    store.set_status(trained[method], "finished", summary=summary)


def test_a_run_says_what_was_predicted_and_how_far_off(at, store, trained):
    kept(store, trained, "lora", 1_010_000, 1_000_000)
    told = [caption.value for caption in at("runs", run=trained["lora"]).caption]
    assert any(text.endswith("Memory: predicted 1.01 MB, measured 1 MB (+1.0 %).") for text in told)


def test_a_run_without_a_prediction_says_nothing(at, store, trained):
    kept(store, trained, "lora", None)
    told = [caption.value for caption in at("runs", run=trained["lora"]).caption]
    assert not any("predicted" in text for text in told) and predictions.rows() == []


def test_all_runs_in_one_figure(at, store, trained):
    kept(store, trained, "lora", 1010)
    kept(store, trained, "last", 970)
    assert [(row["method"], row["predicted"], row["measured"]) for row in predictions.rows()] == [
        ("last", 970, 1000),
        ("lora", 1010, 1000),
    ]
    app = at("memory", batch=4, methods="linear")
    assert any("2 finished runs" in caption.value for caption in app.caption)


def test_the_link_from_a_run_opens_its_own_spec(at, trained):
    from app.memory import cases

    spec = {"method": {"name": "lora", "rank": 3}, "backbone": "vit_micro", "task": "digits", "batch_size": 6}
    spec |= {"precision": "fp32", "device": "auto", "cache_features": "auto", "augmentation": "light", "epochs": 3}
    app = at("memory", **cases.preset(spec))
    assert app.multiselect(key="memory_methods").value == ["full", "lora"]
    assert app.text_input(key="lora.rank").value == "3" and app.selectbox(key="memory_batch").value == "6"
    assert app.selectbox(key="memory_features").value == "computed"


@pytest.mark.parametrize("memory", [{}, {"peak": 0, "predicted": {"peak": 1}}, {"peak": 5}])
def test_no_sentence_without_both(store, trained, memory):
    store.set_status(trained["lora"], "finished", summary=store.run(trained["lora"]).summary | {"memory": memory})
    assert predictions.sentence(store.run(trained["lora"])) == ""


def test_a_run_is_compared_with_what_its_launch_showed(store, trained):
    kept(store, trained, "lora", 1_000_000, 1_000_000)
    store.put_artifact(trained["lora"], costs.ARTIFACT, json.dumps({"peak": 1_500_000}).encode())
    assert "predicted 1.5 MB, measured 1 MB (+50.0 %)" in predictions.sentence(store.run(trained["lora"]))


def test_an_older_run_says_that_its_cache_is_among_the_features(store, trained):
    record = store.run(trained["last"])
    assert "earlier Headroom" not in predictions.sentence(record)
    memory = {"peak": 1_000_000, "features": 800_000, "predicted": {"peak": 1_000_000}}
    store.set_status(record.id, "finished", summary=record.summary | {"memory": memory})
    assert "earlier Headroom, which counted cached features" in predictions.sentence(store.run(record.id))
