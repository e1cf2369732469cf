"""The Atlas page: every grid at once, each a link, and what the numbers say of groups of tasks."""

from __future__ import annotations

import importlib
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from drawn import figures
from PIL import Image
from streamlit.testing.v1 import AppTest

from app import recordings
from app.atlas import choice, contents, evidence, sameness, wall
from app.subjects import Scores
from peftcore.figures.agreement import Agreement
from peftcore.figures.atlas import CELL, GAP, Range, multiples, sheet, small_grid
from peftcore.store import gallery
from peftcore.tasks.files.vtab import KNOWN

RELEASED = "petl-vit-bi-lora"


def text(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.info, *app.error]).replace(
        "\\", ""
    )


def test_the_released_adapters_are_there_at_once(at):
    app = at("atlas")
    assert app.title[0].value == "Which heads do different tasks move?" and not app.error
    assert "19 adapters: energy, from the weights" in text(app)
    assert "Not the heads, but to some degree the layers" in text(app)
    assert app.query_params == {} or "open" not in app.query_params


def test_every_released_adapter_has_its_energies_and_its_source():
    """Numbers alone travel: 12 layers, q and v, 12 heads, of each of the 19 tasks."""
    file = json.loads((recordings.FOLDER / f"{RELEASED}.json").read_text())
    assert file["licence"] == "MIT" and "PETL-ViT" in file["source"] and file["command"].startswith("python scripts/")
    assert [entry["task"] for entry in file["entries"]] == list(KNOWN)
    for entry in file["entries"]:
        values = Scores.of(entry["scores"]["energy"]).values
        assert values.shape == (12, 2, 12) and (values > 0).all() and entry["group"] == KNOWN[entry["task"]][0]


def test_the_whole_atlas_is_small():
    assert sum(file.stat().st_size for file in recordings.FOLDER.iterdir()) < 8_000_000


def test_a_recorded_run_that_switched_heads_off_opens_in_heads_to_the_end(at):
    app = at("heads", run="digits-heart_lora-swin_micro-1")
    assert not app.error and not app.exception and "heads_settled" in figures(app)
    [cut] = recordings.events("digits-heart_lora-swin_micro-1", "heads_cut")
    assert cut["step"] == recordings.events("digits-heart_lora-swin_micro-1", "scores")[-1]["step"]


def test_no_component_looks_for_its_own_marks_by_scope():
    """Streamlit draws a component in a shadow root, where ":scope" matches nothing: each redrawing would be added."""
    sources = [*Path(wall.__file__).parents[1].rglob("*.py"), *Path(wall.__file__).parents[1].rglob("*.js")]
    assert sources and not [path for path in sources if 'Selector(":scope' in path.read_text(encoding="utf-8")]


def test_an_adapter_opens_by_its_link(at):
    app = at("atlas", open=f"{RELEASED}/eurosat", projection="q")
    assert "EuroSAT: energy, from the weights, q." in text(app) and "Trained with scale 10, bits 1, rank 32" in text(
        app
    )
    assert any(code.value == "python -m peftcore heads eurosat-bit1-dim32.bin --json" for code in app.code)


@pytest.mark.parametrize(
    "wrong", [{"open": "nobody"}, {"projection": "k"}, {"backbone": "x"}, {"score": "taylor"}, {"sort": "?"}]
)
def test_a_link_that_names_what_is_not_there_still_shows_the_atlas(at, wrong):
    assert "19 adapters" in text(at("atlas", **wrong))


def test_controls_write_the_link(at):
    app = at("atlas")
    app.selectbox(key="atlas_projection").select("v").run()
    app.selectbox(key="atlas_sort").select("peak").run()
    app.button_group(key="atlas_compare").set_value("inside").run()
    assert {name: "".join(app.query_params[name]) for name in ("projection", "sort", "compare")} == dict(
        projection="v", sort="peak", compare="inside"
    )
    assert "within each layer: energy in v" in text(app) and not app.error


def scored(*methods):
    """How many recorded examples of these methods on vit_micro have head scores."""
    specs = [gallery.record(name)["spec"] for name in gallery.names()]
    return sum(spec["backbone"] == "vit_micro" and spec["method"]["name"] in methods for spec in specs)


def test_runs_of_this_machine_are_there_and_open_in_heads(at, store, trained, monkeypatch, tmp_path):
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    app = at("atlas", backbone="vit_micro")
    assert f"{1 + scored('lora', 'heart_lora')} adapters: taylor, in training" in text(
        app
    ) and "It takes three tasks" in text(app)
    entries = {entry.id: entry for entry in contents.entries()}
    assert {str(trained["lora"]), "lora-digits"} <= entries.keys() and str(trained["last"]) not in entries
    card = choice.Card(entries[str(trained["lora"])], *entries[str(trained["lora"])].grid("taylor", "q"))
    chosen = choice.Chosen((card,), "vit_micro", "taylor", "q", ("q", "v"))
    assert wall.place(card, chosen) == ("heads", {"run": str(trained["lora"]), "projection": "q"})
    assert wall.href(card, chosen) == f"heads?run={trained['lora']}&projection=q"


def test_an_empty_atlas_is_an_invitation(at, monkeypatch, tmp_path):
    monkeypatch.setattr(gallery, "names", lambda: ())
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    app = at("atlas")
    assert "The atlas is empty" in text(app) and [link.proto.label for link in app.get("page_link")] == ["Launch LoRA"]


# Does the score mean anything?


def measured(task, seed, rho, least):
    """A row as `bench heads` writes it."""
    names = [f"{name}/{of}" for name in evidence.SCORES for of in ("update", "head")]
    areas = {"least": [1 + least], "most": [1.9], "random": [1.2, 1.3, 1.4]}
    return dict.fromkeys(names, 0.1) | {
        "taylor/update": rho, "energy/head": None, "task": task, "seed": seed, "method": "lora", "images": 100,
        "backbone": "vit_micro", "epochs": 8, "heads": 64, "areas": {"loss": areas}, "before": [1.0, 0.6],
        "settled": 0.5, "ranked": 0.25, "test_accuracy": 0.7, "sizes": dict.fromkeys(names, 0.3),
    }  # fmt: skip


def test_what_a_score_is_worth_is_said_by_task(at, monkeypatch):
    rows = (measured("digits", 0, 0.6, 0.1), measured("digits", 1, 0.4, 0.1), measured("cells", 0, 0.1, 0.3))
    monkeypatch.setattr(evidence, "record", lambda: rows)
    app = at("atlas", off="head")
    assert (
        "Too few tasks were measured for an answer: on 1 of 2 tasks" in text(app)
        and "less than random order on 1 of 2" in text(app)
        and not app.error
    )
    least, most, random = evidence.areas({"digits": rows[:2], "cells": rows[2:]})
    assert np.allclose([*least, *most], [0.1, 0.3, 0.9, 0.9]) and np.allclose(random, [(0.2, 0.4)] * 2)
    foretold = figures(app)["atlas_foretold"]
    assert "No score predicts what a head is worth better than chance" in foretold["layout"]["title"]["text"]
    said = evidence.foretold({"Taylor": [[0.6, 0.4], [0.1]], "energy": [[0.1], [0.1]]}, "update", heads=64)
    assert said == "Taylor predicts best what an update is worth: rank correlation 0.30 on 2 tasks"


# The recorder


@pytest.fixture
def recorder(monkeypatch):
    module = importlib.import_module("record_atlas")
    monkeypatch.setattr(module, "load_backbone", lambda name: SimpleNamespace(fingerprint="f"))
    return module


def finished(module, spec, seconds=0.5):
    """A run's entry as the recorder writes it, without training: 2 epochs of made-up scores."""
    values = np.random.default_rng(spec.seed).uniform(0.1, 1, (8, 2, 8)).tolist()
    told = {"values": values, "projections": ["q", "v"], "layers": [f"blocks.{n}" for n in range(8)], "mask": None}
    card = module.task_card(spec.task)
    return {
        "id": module.name_of(spec), "task": spec.task, "title": card.title, "group": card.group, "seed": spec.seed,
        "method": spec.method.name, "backbone": spec.backbone, "fingerprint": "f", "spec": spec.to_dict(),
        "command": "python -m peftcore run", "scores": {"energy": told | {"score": "energy"}},
        "started": {"classes": [*"0123456789"], "settings": {}, "parameters": {}, "method_kind": "in-backbone"},
        "summary": {"test_accuracy": 0.5, "val_accuracy": 0.5, "seconds": seconds, "selected_epoch": None},
        "history": [{"step": n, "epoch": n, "scores": told | {"score": "taylor"}} for n in (1, 2)],
    }  # fmt: skip


def test_recorded_runs_say_how_soon_their_scores_are_settled(recorder):
    specs = [spec for spec in recorder.planned(1) if recorder.name_of(spec).startswith("digits-lora")]
    row = evidence._settled([finished(recorder, spec) for spec in specs])
    assert row["seeds"] == 3 and row["cut settled after"] == row["ranks settled after"] == 0.5
    assert row["first epoch"] == 1 and -0.5 < row["seeds agree"] < 0.5


def test_a_recording_goes_on_where_it_stopped(recorder, monkeypatch, tmp_path, capsys):
    made = []
    monkeypatch.setattr(recorder, "recorded", lambda spec: made.append(spec.key) or finished(recorder, spec))
    specs = [spec for spec in recorder.planned(1) if "digits-lora" in recorder.name_of(spec)]
    assert len(specs) == len(recorder.SEEDS)
    recorder.record_runs(tmp_path, specs, dry=True)
    assert not made and capsys.readouterr().out.count("python -m peftcore run") == 3 and not [*tmp_path.iterdir()]
    recorder.record_runs(tmp_path, specs[:2], dry=False)
    recorder.record_runs(tmp_path, specs, dry=False)
    assert made == [spec.key for spec in specs]
    recorder.record_runs(tmp_path, [spec.replace(epochs=2) for spec in specs[:1]], dry=False)
    assert len(made) == 4, "another recipe is recorded again"
    monkeypatch.setattr(recorder, "load_backbone", lambda name: SimpleNamespace(fingerprint="other"))
    assert not recorder.is_recorded(tmp_path / f"{recorder.name_of(specs[1])}.json", specs[1])


def test_the_plan_has_every_task_method_and_seed(recorder):
    names = [recorder.name_of(spec) for spec in recorder.planned()]
    assert len(names) == len(set(names)) == 3 * 3 * 10


def test_a_folder_that_would_be_too_large_is_refused(recorder, monkeypatch, tmp_path):
    monkeypatch.setattr(recorder, "MOST_BYTES", 30)
    with pytest.raises(recorder.errors.BadData, match="larger than"):
        recorder.write(tmp_path / "a.json", {"entries": list(range(20))})


def test_recorded_runs_are_shown_open_in_heads_and_are_compared(at, recorder, monkeypatch, tmp_path):
    for spec in recorder.planned(1):
        if spec.backbone == "vit_micro" and spec.seed < 2:
            recorder.write(
                tmp_path / f"{recorder.name_of(spec)}.json",
                {"title": "Recorded", "licence": "MIT", "entries": [finished(recorder, spec)]},
            )
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    app = at("atlas", backbone="vit_micro", method="heart_lora", score="taylor")
    assert f"{20 + scored('heart_lora')} adapters: taylor, in training" in text(app)
    assert "10 tasks on vit_micro" in text(app) and not app.error
    opened = "digits-heart_lora-vit_micro-1"
    [drawn] = [e.proto for e in app.get("bidi_component") if e.proto.component_name == "atlas_wall"]
    cards = {card["id"]: card for group in json.loads(drawn.json)["groups"] for card in group["cards"]}
    card = cards[opened]
    assert card["href"] == f"heads?run={opened}" and card["note"].endswith("seed 1, 0.50")

    app = at("heads", run=opened)
    assert "seed 1 (test accuracy" in text(app) and "keeps this run's scores, not its weights" in text(app)
    assert list(figures(app))[:4] == ["heads_grid", "heads_mask", "heads_profile", "heads_over_steps"]
    assert not app.error
    assert "energy in q" in text(at("heads", run=opened, score="energy"))


# What is drawn and taken away


def test_a_small_grid_has_its_colours_gaps_and_crosses():
    values = np.array([[1.0, 2.0, 4.0], [1.0, np.nan, 1.0]])
    mask = np.array([[True, True, False], [True, True, True]])
    span = Range(0.0, 4.0)
    image = small_grid(values, span, mask)
    assert image.shape == (2 * CELL - GAP + 1, 3 * CELL, 4)
    bottom, middle = image[-CELL // 2, CELL // 2], image[-CELL // 2, CELL + CELL // 2]
    assert bottom[3] == 255 and tuple(bottom[:3]) == tuple(span.colours(np.array(1.0)))
    assert tuple(middle[:3]) == tuple(span.colours(np.array(2.0)))
    assert image[CELL // 2, CELL + CELL // 2, 3] == 0, "no head, no square"
    off = image[-CELL:, 2 * CELL :]
    assert (off[..., :3] == 255).all(-1).sum() > 20 and not (image[-CELL:, :CELL, :3] == 255).all(-1).any()


def test_a_range_leaves_out_the_extremes_and_is_centred_for_signs():
    span = Range.over([np.arange(1.0, 201.0).reshape(10, 20)])
    assert 0 < span.low < 0.05 and 1.9 < span.high < 2
    assert Range.over([np.array([[-1.0, 2.0]])]).low == -Range.over([np.array([[-1.0, 2.0]])]).high
    assert Range.over([np.ones((2, 2))]).high > Range.over([np.ones((2, 2))]).low


def test_numbers_and_pictures_can_be_taken_away():
    entries = [entry for entry in contents.entries() if entry.id.startswith(RELEASED)][:3]
    cards = tuple(choice.Card(entry, *entry.grid("energy", contents.TOGETHER)) for entry in entries)
    chosen = choice.Chosen(cards, entries[0].backbone, "energy", contents.TOGETHER, ("q", "v"))
    table = wall.table(chosen)
    assert (
        len(table) == 3 * 144 and table["times the median head"].groupby(table["adapter"]).median().round(6).eq(1).all()
    )
    assert wall._sheet(chosen).count("<rect") == 3 * 144 and "CIFAR-100" in wall._sheet(chosen)
    assert Image.open(io.BytesIO(wall._png(chosen))).size[0] > 500
    assert "&lt;b&gt;" in sheet({"x": [("<b>", multiples(cards[0].values))]}, chosen.colours)


def test_a_grid_that_was_named_by_somebody_is_text_not_markup(at, recorder, monkeypatch, tmp_path):
    """The wall's script writes names as text; a dialog's title is Markdown, where they are escaped."""
    assert "innerHTML" not in wall._JS
    spec = next(recorder.planned(1))
    entry = finished(recorder, spec) | {"title": "*loud* [link](x)"}
    recorder.write(tmp_path / "a.json", {"title": "Recorded", "licence": "MIT", "entries": [entry]})
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    assert not at("atlas", open=entry["id"], backbone=spec.backbone).error


@pytest.mark.parametrize(
    "whole, inside, kept, words",
    [
        (0.01, 0.5, None, "Not the heads, but to some degree the layers"),
        (0.01, 0.5, 0.2, r"one scale, even that may be chance \(p = 0.2\)"),
        (0.01, 0.01, 0.01, "Yes, and not by layers alone"),
        (0.5, 0.01, None, "Within layers, yes"),
        (0.5, 0.5, None, "No: groups differ no more than by chance"),
    ],
)
def test_the_page_says_what_the_numbers_say(whole, inside, kept, words):
    def found(p):
        return Agreement(0.5, 0.4, p, np.zeros(9), {})

    said = sameness.answer(found(whole), found(inside), found(kept) if kept else None, 0.9, "scale")
    assert re.search(words, said) and "90 %" in said
