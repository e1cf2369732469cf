"""The Tasks page: every task as a card, one task image by image, and its frozen features as points."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn import figures
from PIL import Image

from app import desk as desk_module
from app import libraries, words
from app.desk import Job
from app.launch import task_choice
from app.tasks import feature_points, feature_view, image_data, one_task, reached
from peftcore.backbone import embedded
from peftcore.bench.tasks import MINI_VTAB
from peftcore.fetch.weight_files import sha256
from peftcore.figures.budgets import EQUAL
from peftcore.spec import RunSpec
from peftcore.store.conditions import NORMALISATIONS as NORMS
from peftcore.store.recipes import weights_digest
from peftcore.task import embedded_tasks, load_task, task_card
from peftcore.uploads.division import stratified_split


@pytest.fixture(autouse=True, scope="module")
def loaded():
    libraries.load()


def text(app) -> str:
    return "\n".join(part.value for part in [*app.markdown, *app.caption, *app.info, *app.error]).replace("\\", "")


def pictures(app) -> str:
    return "\n".join(part.proto.body for part in app.get("html"))


def test_the_gallery_has_a_card_with_images_for_every_task(at, monkeypatch):
    digits = image_data.load_task("digits")  # drawing them all takes a while, and each has a test of its own below
    monkeypatch.setattr(image_data, "load_task", lambda name, download: digits)
    image_data._desk.clear()
    app = at("tasks")
    image_data._desk.clear()
    assert not app.error
    assert {words.task_title(name) for name in embedded_tasks()} <= {
        link.label.strip("*") for link in app.get("page_link")
    }
    assert pictures(app).count("<img") == image_data.STRIP * len(
        embedded_tasks()
    ) and "10 classes; 800 to train" in text(app)


@pytest.mark.parametrize("task", embedded_tasks())
def test_one_task_shows_its_classes_as_the_backbone_reads_them(at, task):
    app = at("tasks", task=task)
    assert not app.error
    data = load_task(task)
    assert "As vit_micro reads them" in text(app)
    assert f"{len(data.train):,} to train, {len(data.val):,} to validate" in text(app)
    rows = min(len(task_card(task).classes), image_data.ROWS)
    assert pictures(app).count("<img") == rows * image_data.PER_ROW


@pytest.mark.parametrize("seeds, shown", [(("0", "1"), "LAST reaches 62 %"), ((), "")])
def test_a_record_of_budgets_shows_equal_time_and_what_all_tasks_cost(at, tmp_path, monkeypatch, seeds, shown):
    def row(method, budget, reached):
        curves = {"cells": {seed: [[1, 20.0], [10, reached]] for seed in seeds}}
        found = {"cells": {seed: reached + 2 * int(seed) for seed in seeds}}
        numbers = {"parameters": 1, "epochs": 10, "batch_size": 64, "lr": 0.01, "bytes": 10**7, "seconds": 50.0}
        one = {"backbone": "vit_micro", "method": method, "published": False, "budget": budget, "seconds_before": 0.0}
        return one | numbers | {"tasks": found, "curves": curves}

    rows = [row(m, b, reached) for m, reached in (("last", 61.0), ("lora", 50.0)) for b in ("epochs", "time", "memory")]
    weights = {"vit_micro": "another digest"}
    record = tmp_path / "record.json"
    named = {"command": "python -m x", "tasks": ["cells"], "weights": weights, "chance": {"cells": 16.7}}
    record.write_text(json.dumps({"rows": rows} | named))
    monkeypatch.setattr(reached, "RECORD", record)
    reached._record.cache_clear()
    app = at("tasks", task="cells")
    if seeds:
        assert "last epoch" in text(app) and "python -m x" in [code.value for code in app.code]
    for other in (at("tasks", task="counting"), at("tasks", task="cells", backbone="swin_micro")):
        assert "Recorded runs" not in text(other)
    titles = [chart["layout"]["title"]["text"] for chart in charts(app)]
    assert ("had earlier weights" in text(app)) == bool(seeds)
    if seeds:
        assert titles[0].startswith(shown) and "in equal time" in text(app) and "2 seeds and their mean" in text(app)
        assert any(title.startswith("In equal time LAST reaches 61 %") for title in titles)
        assert any("10 MB above" in title for title in titles)
        for budget in ("epochs", "memory"):
            assert f"of vit_micro {EQUAL[budget]}" in text(at("tasks", task="cells", equal=budget))
        assert "in equal time" in text(at("tasks", task="cells", equal="nothing"))
    reached._record.cache_clear()


def test_recorded_accuracies_of_earlier_weights_say_so(at):
    """Of which weights the record is follows from their hash; earlier ones travel along and are named."""
    record = reached._record()
    assert {task for row in record["rows"] for task in row["tasks"]} <= set(MINI_VTAB)
    for name in {row["backbone"] for row in record["rows"]}:
        files = [embedded.weights(name), *embedded.folder(name).glob("earlier/*.safetensors")]
        assert record["weights"][name] in [sha256([file]) for file in files]
        is_said = "had earlier weights" in text(at("tasks", task=next(iter(record["rows"][0]["tasks"])), backbone=name))
        assert is_said == (record["weights"][name] != weights_digest(name))


@pytest.fixture
def few(monkeypatch):
    """Some images of each split are enough to see that features come."""
    monkeypatch.setattr(feature_points, "MOST", {"train": 40, "val": 16})
    for shared in (feature_points._quick, feature_points._slow):
        shared.clear()


def charts(app) -> list[dict]:
    return list(figures(app).values())


@pytest.mark.parametrize("by, told", [("pca", "; PCA."), ("tsne", "t-SNE, perplexity 5, seed 0.")])
def test_features_are_points_beside_those_of_random_weights(at, few, by, told):
    app = at("tasks", task="digits", view="features", by=by, perplexity=5)
    assert not app.error and told in text(app) and "40 training and 16 validation images of digits" in text(app)
    pretrained, random = charts(app)
    for figure, weights in ((pretrained, "Pretrained"), (random, "Random")):
        assert figure["layout"]["title"]["text"].startswith(f"{weights} weights: a linear classifier gets")
        shown = [image for trace in figure["data"] for image in trace["customdata"]]
        assert sorted(shown) == list(range(56)), "each point knows its image"
    assert pretrained["data"] != random["data"]


def test_features_are_those_of_the_frozen_backbone_and_are_computed_once(store, few, monkeypatch):
    from peftcore.backbone.load import load_backbone
    from peftcore.backbone.preprocess import prepare
    from peftcore.task import load_task

    wish = feature_points.Wish("digits", "vit_micro", True, "half", "stretch")
    found = feature_points._features(wish, False)
    backbone, train = load_backbone("vit_micro"), load_task("digits").train
    chosen = np.sort(stratified_split(train.labels, [40], feature_points.SEED)[0])
    with torch.no_grad():
        expected = backbone.pooled(prepare(train.images[chosen], backbone, "half")).numpy()
    np.testing.assert_allclose(found.values[:40], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.labels[:40], train.labels[chosen])
    monkeypatch.setattr("peftcore.backbone.load.Backbone.pooled", None)  # to run it again would fail
    again = feature_points._features(wish, False)
    np.testing.assert_array_equal(again.values, found.values)


def test_a_computation_that_nobody_watches_stops_and_begins_again_when_asked(store, few, monkeypatch):
    wish = feature_points.Wish("digits", "vit_micro", True, "backbone", "stretch")
    with monkeypatch.context() as patch:
        patch.setattr(desk_module, "PATIENCE", -1.0)
        patch.setattr(desk_module, "HURRIED", -1.0)
        left = Job(feature_points._slow(), lambda: feature_points._features(wish, False))
        desk_module._do(left, None)
        assert not left.done(), "it stopped at the first thing that it told"
    assert feature_points.features(wish).result().values.shape == (56, 128)


@pytest.mark.parametrize("task, told", [("digitz", "There is no task"), ("vtab", "needs a folder")])
def test_a_link_to_no_task_says_so(at, task, told):
    app = at("tasks", task=task)
    assert told in text(app) and not figures(app)


def test_a_folder_that_is_not_there_is_said_and_found_once_it_is(at, tmp_path):
    folder = tmp_path / "brought"
    assert "There is no folder" in text(at("tasks", task=f"vtab:{folder}"))
    folder.mkdir()
    for label, name in enumerate(("train800", "val200", "test")):
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"{name}.png {label}\n")
    app = at("tasks", task=f"vtab:{folder}?size=64")
    assert not app.error and "1 to train, 1 to validate, 1 to test" in text(app)
    app = at("tasks", task=f"vtab:{folder}?size=64", view="features")
    assert "at least three rows" in text(app)


def test_a_task_of_another_group_is_listed_after_the_three(monkeypatch):
    def card(name: str):
        return replace(task_card(name), group="patterns") if name == "digits" else task_card(name)

    monkeypatch.setattr(task_choice, "task_card", card)
    found = task_choice.by_group()
    assert [*found][3:] == ["patterns"] and found["patterns"] == ["digits"]


def test_a_link_names_split_class_and_normalisation(at):
    app = at("tasks", task="digits", split="test", normalisation="none", values="normalised", **{"class": "3"})
    assert not app.error and "no normalisation (less 0, divided by 1)" in text(app)
    shown = pictures(app)
    assert "3, test image" in shown and "4, test image" not in shown and shown.count("<img") == image_data.OF_ONE
    app.button(key="tasks_more").click().run()
    assert app.query_params["more"] == ["2"] or app.query_params["more"] == "2"
    assert pictures(app).count("<img") > image_data.OF_ONE


def test_with_the_normalisation_undone_images_are_as_they_were(store):
    """What is undone is exactly what was done, whatever the normalisation; the values themselves differ."""
    wishes = [
        image_data.Wish("digits", "vit_micro", norm, "stretch", "none", "train", 0, 1, raw)
        for norm in NORMS
        for raw in (False, True)
    ]
    found = {(wish.norm, wish.raw): image_data._seen(wish) for wish in wishes}
    addresses = {key: [image.address for image in seen.rows["0"]] for key, seen in found.items()}
    assert len({tuple(addresses[norm, False]) for norm in NORMS}) == 1
    assert len({tuple(addresses[norm, True]) for norm in ("imagenet", "half", "none")}) == 3
    assert (found["none", False].low, found["none", False].high) == (0.0, 1.0)


def test_runs_on_the_task_are_links_and_one_button_launches_it(at, store):
    run = store.create_run(RunSpec(task="digits").to_dict())
    store.set_status(run, "finished", summary={"test_accuracy": 0.875})
    app = at("tasks", task="digits")
    assert any(link.label.replace("\\", "").startswith("0.875: LAST on vit_micro") for link in app.get("page_link"))
    app = at("tasks", task="digits", resize="crop")
    app.button(key="tasks_launch").click().run()
    assert app.query_params["task"] == "digits" and app.selectbox("resize").value == "crop"
    assert app.title[0].value.startswith("Which backbone")


def test_augmentation_is_shown_on_training_images_alone(at):
    app = at("tasks", task="digits", augmentation="randaugment", **{"class": "3"})
    assert "RandAugment" in text(app) and not app.error
    plain = at("tasks", task="digits", **{"class": "3"})
    assert pictures(app) != pictures(plain)
    assert "no augmentation" in text(at("tasks", task="digits", augmentation="randaugment", split="val"))


def test_images_that_must_be_downloaded_are_offered_and_come_when_asked_for(at, monkeypatch):
    """With the data of a task away: no network is asked before the button is pressed, and what goes wrong is said."""
    from peftcore.errors import DataUnavailable

    asked = []

    def fetch(name, tell):
        asked.append(name)
        tell(1, 2)
        raise DataUnavailable("The hub does not answer; connect to the network.")

    monkeypatch.setattr(one_task, "here", lambda name: False)
    monkeypatch.setattr(feature_points, "fetch", fetch)
    app = at("tasks", task="digits")
    assert "not on this machine yet" in text(app) and not asked
    app.button(key="tasks_images_download").click().run()
    assert asked == ["digits"] and "does not answer" in text(app)
    assert app.button(key="tasks_images_download").label == "Try again"
    assert "tasks_images_stop" not in [button.key for button in app.button], "nothing is left of the progress"


def test_weights_that_do_not_come_are_said_and_asked_for_again(at, few, monkeypatch):
    from peftcore.errors import WeightsUnavailable

    fault = WeightsUnavailable("No way to https://hub.example/one_of_timm; connect to the network.")
    monkeypatch.setattr(feature_view, "_here", lambda backbone: False)
    monkeypatch.setattr(feature_view.heavy, "agreed", lambda *_, **__: True)
    monkeypatch.setattr(feature_points, "_features", lambda *_: fault)
    app = at("tasks", task="digits", view="features", backbone="vit_small_patch16_224.augreg_in21k")
    app.button(key="tasks_fetch_download").click().run()
    assert app.button(key="tasks_fetch_download").label == "Try again"
    assert "https:\N{WORD JOINER}//hub.example/one\\_of\\_timm" in app.error[0].value, "not a link"
