"""Why this class: completeness, an analytic model, a planted patch, and the layer lens."""

from __future__ import annotations

import copy
from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch
from backbones import BOTH, MICRO, SWIN, VIT, images, nudge, small
from torch import nn

import peftcore as pc
from peftcore import errors
from peftcore.bench._lens import layer_lens
from peftcore.probes.attribution import By, attribute

METHODS = ["lora", "last", "linear", "lst", "side_tuning"]


def tuned(family, method="lora"):
    return nudge(pc.attach(small(family), method, 3), 0.05).eval()


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("method", METHODS)
def test_integrated_gradients_sum_to_the_difference_of_logits(family, method):
    model, x = tuned(family, method), images(small(family))
    found = attribute(model, x, [0, 2], steps=20)
    with torch.no_grad():
        change = (model(x) - model(torch.zeros_like(x)))[[0, 1], [0, 2]]
    torch.testing.assert_close(found.maps.sum((1, 2)) - found.delta, change, atol=1e-5, rtol=1e-4)
    finer = attribute(model, x, [0, 2], steps=200)  # norms are steep near a grey image
    assert finer.delta.abs().max() < 0.6 * found.delta.abs().max() + 1e-5


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("method", ["lora", "last"])
@pytest.mark.parametrize("by", get_args(By))
def test_every_way_gives_a_map_of_the_image_for_any_class(family, method, by):
    model, x = tuned(family, method), images(small(family))
    found = pc.attribute(model, x, by=by, steps=4)
    assert found.maps.shape == (2, *x.shape[2:]) and found.maps.isfinite().all() and found.maps.any()
    assert found.target.tolist() == model(x).argmax(1).tolist() and not found.maps.requires_grad
    assert not any(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("family", BOTH)
def test_gradients_are_had_in_torchs_inference_mode_too(family):
    model, x, labels = tuned(family), images(small(family)), torch.tensor([0, 2])

    def explained(x, labels):
        scores = pc.head_scores(model, x, labels), pc.head_conductance(model, x, labels, steps=2)
        maps = attribute(model, x, labels, steps=2), attribute(model, x, labels, by="gradcam", layer=0)
        return [*(one.values for one in scores), *(one.maps.numpy() for one in maps)]

    with torch.inference_mode():
        inside = explained(x.clone(), labels.clone())
    for one, other in zip(inside, explained(x, labels), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert not x.requires_grad


def test_a_linear_model_is_explained_by_its_weights(monkeypatch):
    """Logits linear in the pixels: x * w, and for occlusion its sum over each patch."""
    model = tuned("vit", "linear")
    weight = torch.randn(3, *small("vit").input_size, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(type(model), "forward", lambda self, x: torch.einsum("bchw,kchw->bk", x, weight))
    monkeypatch.setattr(type(model), "is_side", False, raising=False)
    model.is_side = False
    x = images(small("vit"))
    exact = x * weight[1]
    found = attribute(model, x, 1, steps=3)
    torch.testing.assert_close(found.maps, exact.sum(1), atol=1e-4, rtol=1e-4)
    occluded = attribute(model, x, 1, "occlusion").maps[:, ::8, ::8]
    patches = exact.sum(1).unfold(1, 8, 8).unfold(2, 8, 8).sum((-1, -2))
    torch.testing.assert_close(occluded, patches, atol=1e-3, rtol=1e-4)


@cache
def planted_square(family):
    """A classifier fitted to tell a checkered square from its absence, images with it, and its upper left corners."""
    from sklearn.linear_model import LogisticRegression

    backbone, rng = small(family), np.random.default_rng(0)
    plain = torch.from_numpy(rng.normal(0, 0.1, (160, 3, 64, 64))).float()
    planted, corners = plain.clone(), rng.integers(0, 3, (160, 2)) * 16 + 8
    square = torch.tensor([[2.0, -2.0], [-2.0, 2.0]]).repeat(8, 8)
    for image, (row, column) in zip(planted, corners, strict=True):
        image[:, row : row + 16, column : column + 16] = square
    with torch.no_grad():
        features = torch.cat([backbone.pooled(plain), backbone.pooled(planted)])
    fit = LogisticRegression(max_iter=500).fit(features, [0] * 160 + [1] * 160)
    model = pc.attach(backbone, "linear", 2).eval()
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor(np.stack([-fit.coef_[0], fit.coef_[0]]) / 2))
        model.head.bias.copy_(torch.tensor([-fit.intercept_[0], fit.intercept_[0]]) / 2)
    return model, planted[:12], corners[:12]


@pytest.mark.parametrize("family", MICRO)
@pytest.mark.parametrize("by", ["integrated_gradients", "gradcam", "occlusion"])
def test_a_planted_patch_lights_up(family, by):
    """A classifier that looks for the square must point at it."""
    model, planted, corners = planted_square(family)
    # Tokens of the last stage of a Swin are 4 x 4, and each has seen the whole image.
    maps = attribute(model, planted, 1, by, steps=16, layer=5 if by == "gradcam" else None).maps
    inside = torch.zeros_like(maps, dtype=torch.bool)
    for mask, (row, column) in zip(inside, corners, strict=True):
        mask[row : row + 16, column : column + 16] = True
    inner, outer = ((maps * m).sum((1, 2)) / m.sum((1, 2)) for m in (inside, ~inside))
    patches = torch.nn.functional.avg_pool2d(maps[:, None], 8)
    contrast = (inner - outer) / patches.std((1, 2, 3))  # Grad-CAM has no zero of its own
    assert contrast.median() > 0.5 and (contrast > 0).float().mean() > 0.7


def test_a_layer_whose_patches_reach_nothing_says_so():
    model, x = tuned("vit"), images(small("vit"))
    assert pc.attribute(model, x, 0, "gradcam").layer == small("vit").depth - 2
    with pytest.raises(errors.NotMeasurable, match="class token"):
        pc.attribute(model, x, 0, "gradcam", layer=-1)
    assert pc.attribute(tuned("swin"), images(small("swin")), 0, "gradcam").layer == small("swin").depth - 1


@pytest.mark.parametrize("family", BOTH)
def test_rollout_of_uniform_attention_is_uniform(family):
    model, x = copy.deepcopy(tuned(family)), images(small(family))  # the small backbone's weights are everybody's
    with torch.no_grad():
        for block in model.backbone.blocks:
            linear = model.backbone.site(block, "q").linear
            linear.weight.zero_(), linear.bias.zero_()
        for name, parameter in model.trunk.named_parameters():
            if "relative_position_bias" in name:
                parameter.zero_()
        for p in model.tuner.parameters():
            p.zero_()
    maps = pc.attribute(model, x, 0, "rollout").maps
    if family == "vit":
        assert np.ptp(maps.numpy()) < 1e-6  # a Swin's window gives tokens at its edge another number of roads
    assert (maps > 0).all()


def test_bad_input_is_a_sentence():
    model, x = tuned("vit"), images(small("vit"))
    with pytest.raises(errors.UnknownName, match="gradcam"):
        pc.attribute(model, x, by="grad_cam")
    with pytest.raises(errors.BadData, match="classes go from 0 to 2"):
        pc.attribute(model, x, 3)
    for target in ([0, 1, 2], "cat"):
        with pytest.raises(errors.BadData, match="no list of 2"):
            pc.attribute(model, x, target)
    with pytest.raises(errors.InvalidSetting, match="steps = 0"):
        pc.attribute(model, x, steps=0)
    for wrong in (x[..., :16], x[:0]):
        with pytest.raises(errors.BadData, match="takes images"):
            pc.attribute(model, wrong)
    with pytest.raises(errors.NotMeasurable, match="no layer 9"):
        pc.attribute(model, x, 0, "gradcam", layer=9)


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("method", ["lora", "vpt", "adapter", "ssf"])
def test_the_lens_ends_with_what_the_model_says(family, method):
    if (family, method) == ("swin", "vpt"):
        pytest.skip("VPT does not fit a Swin")
    model, x = tuned(family, method), images(small(family))
    logits = layer_lens(model, x)
    assert logits.shape == (small(family).depth + 1, 2, 3)
    with torch.no_grad():
        torch.testing.assert_close(logits[-1], model(x))
    by_patch = layer_lens(model, x, patches=True)
    rows, columns = small(family).blocks[-1].grid
    assert by_patch.shape == (small(family).depth + 1, 2, rows * columns, 3)


@pytest.mark.parametrize("family", BOTH)
def test_the_lens_of_a_side_method_reads_the_frozen_backbone(family):
    backbone = small(family)
    model, x = tuned(family, "last"), images(backbone)
    with torch.no_grad():
        torch.testing.assert_close(pc.layer_lens(model, x)[-1], model.head(backbone.pooled(x)))
    if not backbone.hierarchical:
        (start,) = backbone.taps(x, [f"{backbone.blocks[0].path}:in"])
        with torch.no_grad():
            torch.testing.assert_close(pc.layer_lens(model, x)[0], model.head(backbone.finish(start)))
    assert isinstance(model.head, nn.Linear)


def test_the_command_explains_a_test_image_of_a_saved_adapter(tmp_path):
    import json

    from typer.testing import CliRunner

    from peftcore.__main__ import app

    spec = pc.RunSpec(method={"name": "lora", "rank": 2, "projections": ["q"]}, task="digits")
    model = nudge(pc.attach(pc.load_backbone("vit_micro"), spec.method, 10))
    pc.save_adapter(tmp_path, model, spec)
    words = ["attribute", str(tmp_path), "--image", "3", "--target", "7", "--json"]
    done = CliRunner().invoke(app, [*words, "--steps", "8"], catch_exceptions=False)
    found = json.loads(done.stdout)
    x = pc.backbone.preprocess.prepare(pc.load_task("digits").test.images[3:4], model.backbone)
    expected = pc.attribute(model, x, 7, steps=8)
    assert found["target"] == "7" and found["delta"] == pytest.approx(float(expected.delta), abs=1e-4)
    np.testing.assert_allclose(found["map"], expected.maps[0], atol=1e-5)
    assert np.shape(found["patches"]) == model.backbone.grid
    done = CliRunner().invoke(app, [*words, "--by", "gradcam", "--layer", "5"], catch_exceptions=False)
    assert json.loads(done.stdout)["layer"] == 5
    done = CliRunner().invoke(app, ["lens", str(tmp_path), "--image", "3", "--json"], catch_exceptions=False)
    said = json.loads(done.stdout)
    np.testing.assert_allclose(said["probabilities"], pc.layer_lens(model, x)[:, 0].softmax(-1), atol=1e-5)
    assert said["layers"][0] == "input" and said["true"] == found["true"]
    for wrong in (["--target", "seven"], ["--image", "9999"], ["--layer", "9"]):
        with pytest.raises(errors.HeadroomError, match=wrong[1]):
            CliRunner().invoke(app, [*words, *wrong], catch_exceptions=False)
    assert CliRunner().invoke(app, [*words, "--by", "gradcam", "--layer", "0"]).exit_code == 2, "layers count from 1"
    for command in (words, ["lens", str(tmp_path)]):
        with pytest.raises(errors.BadData, match="cells has 6 classes and this classifier 10"):
            CliRunner().invoke(app, [*command, "--task", "cells"], catch_exceptions=False)


@pytest.mark.parametrize("family", BOTH)
def test_what_needs_the_grid_refuses_images_of_another_size(family):
    """A module that takes any size computes logits for it; patches and windows would be laid on the wrong grid."""
    any_size = {"dynamic_img_size": True} if family == "vit" else {"strict_img_size": False}
    backbone = pc.load_backbone(**((VIT if family == "vit" else SWIN) | any_size), pretrained=False)
    model = pc.attach(backbone, "lora", 3).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert model(x).shape == (2, 3) and layer_lens(model, x).shape == (len(backbone.blocks) + 1, 2, 3)
    asked = [lambda: attribute(model, x, by="gradcam"), lambda: attribute(model, x, by="rollout")]
    asked += [lambda: layer_lens(model, x, patches=True)]
    if family == "swin":
        asked += [lambda: pc.attention_maps(model, x, 0)]
    else:
        assert pc.attention_maps(model, x, 0).shape[-1] == backbone.prefix_tokens + 64
    for ask in asked:
        with pytest.raises(errors.BadData, match="64x64. Resize them"):
            ask()
