"""Models that are unlike the usual ones: a counter without dimensions, heads of two halves, images of another size,
another type of numbers."""

from __future__ import annotations

import pytest
import torch

import peftcore as pc
from peftcore import errors
from peftcore.bench._opinions import attention_traits

TINY = "vit_tiny_patch16_224"


def nudged(backbone, method: str = "lora", **settings):
    """A model whose update is not zero."""
    torch.manual_seed(0)
    model = pc.attach(backbone, pc.make_method(method, **settings), 3)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def hybrid():
    """A ResNet before the blocks, whose BatchNorms count their batches in a tensor without dimensions."""
    return pc.load_backbone("vit_small_resnet26d_224", img_size=64, depth=2, pretrained=False)


@pytest.mark.parametrize("method", ["lora", "full", "last"])
def test_a_hybrid_with_counters_is_fingerprinted_and_saved(tmp_path, hybrid, method):
    model = nudged(hybrid, method)
    x = torch.randn(2, *hybrid.input_size)
    back = pc.load_adapter(pc.save_adapter(tmp_path, model), hybrid)
    torch.testing.assert_close(back(x), model(x), rtol=0, atol=0)


@pytest.fixture(scope="module")
def differential():
    backbone = pc.load_backbone(TINY, img_size=64, depth=2, num_heads=3, attn_layer="diff", pretrained=False)
    assert backbone.heads == (3, 3) and [block.head_dim for block in backbone.blocks] == [64, 64]
    return backbone


def test_a_head_of_differential_attention_is_both_its_halves(differential):
    """Against the loss of the model whose update has zeros in the head's rows."""
    model = nudged(differential, projections=("q", "v"))
    x, y = torch.randn(4, *differential.input_size), torch.tensor([0, 1, 2, 0])
    found = pc.head_effects(model, x, y)
    with torch.no_grad():
        before = torch.nn.functional.cross_entropy(model(x), y)
        for adapted in model.tuner:
            weights, (A, B) = adapted.pair.weights, adapted.pair.weights()
            for head in range(3):
                less = B.clone()
                less[head * 64 : head * 64 + 64] = 0
                adapted.pair.weights = lambda A=A, less=less: (A, less)
                effect = torch.nn.functional.cross_entropy(model(x), y) - before
                adapted.pair.weights = weights
                column = found.projections.index(adapted.projection)
                assert found.loss[adapted.layer, column, head] == pytest.approx(effect.item(), abs=1e-5)


def test_maps_of_halves_are_not_taken_for_those_of_heads(differential):
    with pytest.raises(errors.NotMeasurable, match="3 heads, and 6 maps"):
        pc.attention_maps(differential, torch.randn(1, *differential.input_size), 0)


@pytest.mark.parametrize("size", [(128, 128), (32, 32), (64, 128)])
def test_what_needs_the_grid_refuses_images_of_another_size(size):
    backbone = pc.load_backbone(TINY, img_size=64, depth=2, dynamic_img_size=True, pretrained=False)
    model, x = nudged(backbone), torch.randn(1, 3, *size)
    with pytest.raises(errors.BadData, match="takes images"):
        attention_traits(backbone, x)
    for by in ("occlusion", "gradcam", "rollout"):
        with pytest.raises(errors.BadData, match="takes images"):
            pc.attribute(model, x, by=by)
    assert pc.attribute(model, x, by="integrated_gradients", steps=2).maps.shape[-2:] == size


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", ["lora", "last", "side_tuning", "linear"])
def test_images_are_of_the_type_of_the_model(method, dtype):
    backbone = pc.load_backbone(TINY, img_size=64, depth=2, pretrained=False)
    model, x = nudged(backbone, method), torch.randn(2, 3, 64, 64)
    model = model.to(dtype)
    assert model(x).dtype == dtype
    torch.testing.assert_close(model(x), model(x.to(dtype)))
    assert pc.layer_lens(model, x) is not None and pc.attribute(model, x, by="occlusion").maps.isfinite().all()
    assert pc.attention_maps(model, x, 0).isfinite().all()


def test_ssf_scales_the_channels_of_images_that_a_norm_makes():
    backbone = pc.load_backbone("vitamin_small_224", depth=1, img_size=64, pretrained=False)
    x = torch.randn(2, *backbone.input_size)
    assert nudged(backbone, "ssf")(x).isfinite().all()
