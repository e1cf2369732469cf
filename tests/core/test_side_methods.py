"""Side-Tuning and LST: the equations by hand, and no gradient through the backbone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from backbones import BOTH, images, nudge, small
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import (
    attached,
    logits,
    on_meta_vit_b,
    starts_as_the_probe,
)

import peftcore as pc
from peftcore import errors

NAMES = ("side_tuning", "lst")


@pytest.mark.parametrize("family", BOTH)
def test_lst_starts_as_the_linear_probe(family):
    starts_as_the_probe(family, "lst")
    assert not torch.equal(logits(attached(family, "lst", residual=False)), logits(attached(family, "linear")))


@pytest.mark.parametrize("family", BOTH)
def test_side_tuning_is_the_blend(family):
    model = nudge(attached(family, "side_tuning", alpha=0.8), 0.1).eval()
    image, base = model.features(images(model.backbone))
    with torch.no_grad():
        alpha = model.adapter_state()["alpha"].sigmoid()
        assert 0.7 < alpha < 0.9
        expected = model.head(alpha * base + (1 - alpha) * model.tuner.side(image))
        assert torch.allclose(logits(model), expected, atol=1e-6)
        model.tuner.alpha.fill_(30.0)  # all of the frozen feature: the linear probe
        assert torch.allclose(logits(model), model.head(base), atol=1e-6)
        model.tuner.alpha.fill_(-30.0)
        assert torch.allclose(logits(model), model.head(model.tuner.side(image)), atol=1e-6)
    assert torch.isclose(
        attached(family, "side_tuning", alpha=0.8).adapter_state()["alpha"].sigmoid(), torch.tensor(0.8)
    )


def test_side_encoder_reads_the_whole_image():
    """Every pixel reaches the side feature."""
    for size in ((32, 48), (48, 80)):
        backbone = pc.load_backbone(
            "vit_tiny_patch16_224", pretrained=False, img_size=size, embed_dim=32, depth=1, num_heads=4
        )
        side = pc.attach(backbone, pc.make_method("side_tuning"), 3).tuner.side
        image = images(backbone, 1).requires_grad_()
        side(image).square().sum().backward()
        reached = image.grad.abs().sum((0, 1)) > 0
        assert reached.float().mean() > 0.7 and reached[0, 0] and reached.any(0).sum() >= size[1] // 16 * 16


def test_lst_is_the_ladder():
    model = nudge(attached("vit", "lst", reduction=4), 0.2).eval()
    z = model.features(images(model.backbone))
    state = model.adapter_state()
    with torch.no_grad():
        h = F.linear(z[0], state["start.weight"], state["start.bias"])
        for i, rung in enumerate(model.tuner.rungs):
            mu = torch.sigmoid(state[f"rungs.{i}.gate"] / 0.1)
            down = F.linear(z[i + 1], state[f"rungs.{i}.down.weight"], state[f"rungs.{i}.down.bias"])
            h = rung.block(mu * down + (1 - mu) * h)
        assert len(z) == 6 and h.shape == (2, 25, 8)
        h = F.layer_norm(h, (8,), state["norm.weight"], state["norm.bias"])
        y = z[-1] + F.linear(h, state["up.weight"], state["up.bias"])
        assert torch.allclose(logits(model), model.head(model.backbone.finish(y)), atol=1e-5)


@given(gap=st.integers(1, 5), reduction=st.sampled_from([1, 3, 4, 16]), family=st.sampled_from(BOTH))
@settings(max_examples=10, deadline=None)
def test_lst_of_any_shape_starts_right_and_trains_everything(gap, reduction, family):
    gap = min(gap, small(family).depth)
    model = nudge(attached(family, "lst", gap=gap, reduction=reduction), 0.1)
    ends = [len(range(gap - 1, len(stage), gap)) + (len(stage) % gap > 0) for stage in model.backbone.stages]
    assert len(model.tuner.rungs) == sum(ends) and len(model.tuner.taps) == 1 + sum(ends)
    model(images(model.backbone, 1)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.tuner.parameters())


def test_counts_on_vit_b():
    d, w = 768, 96
    block = (
        4 * w + (3 * w * w + 3 * w) + (w * w + w) + (4 * w * w + 4 * w) + (4 * w * w + w)
    )  # norms, qkv, proj, fc1, fc2
    rung = (d * w + w) + 1 + block
    assert on_meta_vit_b("lst") == (d * w + w) + 12 * rung + 2 * w + (w * d + d)
    assert on_meta_vit_b("lst", gap=3) == (d * w + w) + 4 * rung + 2 * w + (w * d + d)
    block = (9 * 64 + 64) + 2 * 64 + (64 * 128 + 128) + (128 * 64 + 64)
    assert on_meta_vit_b("side_tuning") == (3 * 16 * 16 * 64 + 64) + 2 * block + 2 * 64 + (64 * d + d) + 1


def test_refusals_name_the_range():
    with pytest.raises(errors.DoesNotFit, match="choose 1 to 32"):
        attached("vit", "lst", reduction=33)
    with pytest.raises(errors.DoesNotFit, match="choose 1 to 5"):
        attached("vit", "lst", gap=6)
    with pytest.raises(errors.InvalidSetting, match="alpha"):
        pc.make_method("side_tuning", alpha=1)
