"""Recorded runs of weights that do not travel: their heads are looked through as they were kept."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from drawn import click, figures
from streamlit.testing.v1 import AppTest

from app import cached, looks, recordings, subjects
from app.looks import look_of
from peftcore import errors

KEPT = [name for name, run in recordings.runs().items() if run.get("looks")]


def text(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.info, *app.error])


def test_some_travel_and_say_what_their_weights_are():
    assert KEPT
    for name in KEPT:
        run = recordings.run(name)
        assert run["of"] and run["backbone"] == run["of"], "a name of timm's would promise its weights"
        assert "/" not in run["spec"]["weights"] and "/" not in json.dumps(run["command"])
        assert set(run["looks"]) == set(cached.PHOTOS)


@pytest.mark.parametrize("name", KEPT)
def test_all_of_a_heads_attention_is_there(name):
    """Over the patches and the class token together."""
    run = recordings.run(name)
    layers, _, heads = np.shape(run["history"][-1]["scores"]["values"])
    for photo in run["looks"].values():
        for when in ("before", "after"):
            assert len(photo[when]) == layers
            for kept in photo[when]:
                look = looks.recorded(kept)
                assert look.maps.shape == (heads, *kept["grid"])
                assert look.maps.sum((1, 2)) + look.prefix == pytest.approx(np.ones(heads), abs=2e-3)


def test_what_is_kept_reads_back():
    import record_looks

    from peftcore.backbone.load import load_backbone
    from peftcore.backbone.preprocess import prepare
    from peftcore.probes.attention import attention_maps

    backbone = load_backbone("vit_micro")
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    for layer, kept in enumerate(record_looks.packed(backbone, backbone, images)):
        maps = attention_maps(backbone, prepare(images, backbone), layer)[0].numpy()
        own, read = look_of(maps, backbone.blocks[layer].grid, backbone, None), looks.recorded(kept)
        assert read.maps == pytest.approx(own.maps, rel=1e-3, abs=1e-7)
        assert read.prefix == pytest.approx(own.prefix, rel=1e-3)


@pytest.mark.parametrize("name", KEPT)
def test_heads_shows_both_maps_on_a_photograph_and_offers_no_launch_of_missing_weights(at, name):
    app = at("heads", run=name)
    drawn = figures(app)
    assert not app.error and {"heads_grid", "heads_before", "heads_after"} <= set(drawn)
    assert "on the photograph china.jpg, where the class token asks" in text(app)
    assert "do not travel" in text(app) and recordings.run(name)["of"] in text(app)
    labels = [button.label for button in app.button]
    assert "Launch again with this mask" not in labels and "flower.jpg" in labels
    other = at("heads", run=name, image="photo-flower", layer=1, head=1)
    assert "on the photograph flower.jpg" in text(other)
    assert figures(other)["heads_before"]["data"] != drawn["heads_before"]["data"]


@pytest.mark.parametrize("score, said", [("energy", "energy, from the weights"), ("taylor_signed", "not its weights")])
def test_scores_that_were_kept_are_shown_and_others_are_said_to_need_weights(at, score, said):
    app = at("heads", run=KEPT[0], score=score)
    assert ("heads_grid" in figures(app)) == (score == "energy") and said in text(app)


def test_all_heads_stand_at_once_and_a_click_chooses_one(at):
    drawn = figures(at("heads", run=KEPT[0], layer=2, head=3))
    for when in ("before", "after"):
        figure = drawn[f"heads_all_{when}"]
        picture, marks = figure["data"]
        assert picture["type"] == "heatmap" and len(marks["customdata"]) == 72
        assert {"x0": 1.5, "x1": 2.5, "y0": 0.5, "y1": 1.5}.items() <= figure["layout"]["shapes"][-1].items()
    app = at("heads", run="heart-digits", all=1)
    assert not app.error and {"heads_all_before", "heads_all_after"} <= set(figures(app))
    click(app, "heads_all_after", 4, 1)
    app.run()
    assert (app.query_params["layer"], app.query_params["head"]) == ("5", "2")
    assert "heads_all_after" not in figures(at("heads", run="heart-digits"))


def test_a_backbone_without_a_class_token_says_that_nobody_asks_in_all_heads(at):
    """Of what may be looked through; other heads of a Swin are looked through one by one."""
    from app.heads import all_heads

    example = subjects.run(subjects.named("heart-digits"))
    known = cached.anatomy(example.subject)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(errors.NotMeasurable, match="no class token"):
        patch.setattr(cached, "anatomy", lambda subject: replace(known, prefix_tokens=0))
        all_heads._measured(example, 0)


def test_they_are_offered_beside_runs_and_examples(at):
    app = at("heads")
    offered = next(box for box in app.selectbox if box.key == "heads_run").options
    assert sum(recordings.run(KEPT[0])["of"] in title for title in offered) == len(KEPT)
    assert [run.subject.id for run in subjects.looked_through()] == KEPT


def test_they_are_a_backbone_of_the_atlas(at):
    app = at("atlas", backbone=recordings.run(KEPT[0])["of"])
    assert not app.error and ("adapters:" in text(app) or "One adapter:" in text(app))
