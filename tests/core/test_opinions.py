"""Second opinions on heads: completeness of conductance, captum as oracle, and attentions whose traits are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from backbones import BOTH, images, nudge, small, state_bytes
from captum.attr import LayerConductance

import peftcore as pc
from peftcore import errors
from peftcore.bench._opinions import attention_traits, conductance, distance, entropy, head_conductance
from peftcore.probes.attribution import differentiable


def tuned(family, method="lora"):
    return nudge(pc.attach(small(family), method, 3), 0.1).eval()


@pytest.mark.parametrize("family", BOTH)
def test_conductance_sums_to_the_difference_of_outputs_where_all_runs_through_the_heads(family):
    """A linear readout of one layer's heads: nothing runs past them."""
    backbone = small(family).clone()
    layer, x = 1, images(backbone)
    reader, count = backbone.site(backbone.blocks[layer], "proj").linear, backbone.blocks[layer].heads
    seen = []
    reader.register_forward_pre_hook(lambda _, args: seen.append(args[0]))

    def readout(images):
        seen.clear()
        backbone.pooled(images)
        outputs = seen[-1].reshape(len(images), -1)
        weights = torch.linspace(-1, 1, outputs.shape[1])
        return torch.stack([outputs @ weights, outputs.sum(1)], 1)

    target = torch.tensor([0, 1])
    [found] = conductance(readout, [reader], [count], x, target, steps=3)
    with torch.no_grad():
        difference = (readout(x) - readout(0 * x)).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(found.sum(1), difference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "method"), [("vit", "lora"), ("swin", "lora"), ("vit", "last")])
def test_one_run_for_all_layers_gives_captums_numbers_for_each(family, method):
    model, x, y = tuned(family, method), images(small(family)), torch.tensor([2, 0])
    backbone = model.backbone
    readers = [backbone.site(block, "proj").linear for block in backbone.blocks]
    found = conductance(differentiable(model), readers, backbone.heads, x, y, steps=4)
    for layer in (0, backbone.depth - 1) if family == "vit" else (backbone.depth - 1,):  # captum knows no windows
        how = {"n_steps": 4, "method": "riemann_trapezoid", "attribute_to_layer_input": True}
        oracle = LayerConductance(differentiable(model), readers[layer]).attribute(x, target=y, **how)
        oracle = oracle.reshape(2, -1, backbone.heads[layer], backbone.blocks[layer].head_dim).sum((1, 3))
        torch.testing.assert_close(found[layer], oracle.detach(), rtol=1e-3, atol=1e-6)
        assert found[layer].abs().max() > 1e-6
    assert not any(reader._forward_pre_hooks for reader in readers)


def test_conductance_is_a_score_of_every_head_and_batches_do_not_matter():
    model, x, y = tuned("swin"), images(small("swin"), 3), torch.tensor([0, 1, 2])
    before, shares = state_bytes(model), []
    whole = head_conductance(model, x, y, steps=2, progress=shares.append)
    parts = head_conductance(model, x.split(2), y.split(2), steps=2)
    np.testing.assert_allclose(whole.values, parts.values, rtol=1e-4)
    assert whole.values.shape == (3, 1, 4) and np.isnan(whole.values[0, 0, 2:]).all() and shares[-1] == 1
    assert state_bytes(model) == before and all(p.grad is None for p in model.parameters())
    with pytest.raises(errors.BadData, match="none"):
        head_conductance(model, [], [])


def test_uniform_attention_looks_as_far_as_two_patches_are_apart_and_has_the_largest_entropy():
    grid, cell = (3, 5), (4.0, 8.0)
    places = [(4.0 * r, 8.0 * c) for r in range(3) for c in range(5)]
    mean = np.mean([math.dist(a, b) for a in places for b in places])
    uniform, itself = torch.full((1, 2, 15, 15), 1 / 15), torch.eye(15).expand(1, 2, 15, 15)
    torch.testing.assert_close(distance(uniform, grid, cell), torch.full((1, 2), float(mean)))
    torch.testing.assert_close(entropy(uniform), torch.full((1, 2), math.log(15)))
    assert not distance(itself, grid, cell).any() and not entropy(itself).any()
    # Each patch of a row looks at the next one, the last at the first.
    assert distance(itself.roll(1, -1), (1, 15))[0, 0] == pytest.approx((14 + 14) / 15)


@pytest.mark.parametrize("family", BOTH)
def test_traits_of_a_model_that_attends_uniformly(family):
    """With queries of zero, every token is alike: a ViT's patch looks everywhere, a Swin's in its window."""
    backbone = small(family).clone()
    with torch.no_grad():
        for block in backbone.blocks:
            site, table = backbone.site(block, "q"), backbone.part(block, "attn")
            site.linear.weight = torch.nn.Parameter(torch.zeros_like(site.linear.weight), requires_grad=False)
            site.linear.bias = torch.nn.Parameter(torch.zeros_like(site.linear.bias), requires_grad=False)
            if hasattr(table, "relative_position_bias_table"):
                zero = torch.zeros_like(table.relative_position_bias_table)
                table.relative_position_bias_table = torch.nn.Parameter(zero, requires_grad=False)
    far, sharp = attention_traits(backbone, images(backbone))
    block = backbone.blocks[0]
    rows, columns = block.grid if family == "vit" else (4, 4)
    sides = [size / count for size, count in zip(backbone.input_size[1:], block.grid, strict=True)]
    places = [(sides[0] * r, sides[1] * c) for r in range(rows) for c in range(columns)]
    mean = np.mean([math.dist(a, b) for a in places for b in places])
    np.testing.assert_allclose(far.values[0, 0, : block.heads], mean, rtol=1e-4)
    np.testing.assert_allclose(sharp.values[0, 0, : block.heads], math.log(rows * columns), rtol=1e-4)
    if family == "swin":  # a shifted window holds parts of the image that are no neighbours and do not see each other
        assert (sharp.values[1, 0, :2] < math.log(16)).all() and (far.values[1, 0, :2] < mean).all()
    assert far.projections == ("output",) and far.score == "distance" and sharp.score == "entropy"
