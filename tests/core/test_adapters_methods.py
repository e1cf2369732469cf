"""Adapter and AdaptFormer: the papers' equations by hand, zero at the start, frozen backbone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from backbones import images, nudge, small
from laws import (
    attached,
    logits,
    on_meta_vit_b,
)
from low_rank_toys import toy

import peftcore as pc
from peftcore import errors

NAMES = ("adapter", "adaptformer")


@pytest.mark.parametrize("width", [1, 8, 16])
def test_counts_on_vit_b(width):
    bottleneck = 2 * 768 * width + width + 768
    assert on_meta_vit_b("adapter", bottleneck=width) == 24 * bottleneck
    assert on_meta_vit_b("adaptformer", bottleneck=width) == 12 * bottleneck
    assert on_meta_vit_b("adaptformer", bottleneck=width, layernorm="in") == 12 * (bottleneck + 2 * 768)


def bottleneck(state, path, x, activation):
    h = activation(F.linear(x, state[f"{path}.down.weight"], state[f"{path}.down.bias"]))
    return F.linear(h, state[f"{path}.up.weight"], state[f"{path}.up.bias"])


def by_hand(model, add_attention, add_mlp):
    """Logits of a plain ViT whose blocks are spelled out, with what a method adds to each branch."""
    timm_model, batch = small("vit").module, images(small("vit"))
    with torch.no_grad():
        x = timm_model._pos_embed(timm_model.patch_embed(batch))
        for i, block in enumerate(timm_model.blocks):
            h = block.attn(block.norm1(x))
            x = x + h + add_attention(f"blocks.{i}", x, h)
            h = block.mlp(block.norm2(x))
            x = x + h + add_mlp(f"blocks.{i}", x, h)
        return model.head(timm_model.forward_head(timm_model.norm(x), pre_logits=True))


def test_adapter_is_the_equation():
    model = nudge(attached("vit", "adapter", bottleneck=3), 0.3)
    state = model.adapter_state()
    expected = by_hand(
        model,
        lambda path, x, h: bottleneck(state, f"{path}.attn.adapter", h, F.gelu),
        lambda path, x, h: bottleneck(state, f"{path}.mlp.adapter", h, F.gelu),
    )
    assert torch.allclose(logits(model), expected, atol=1e-5)
    assert (expected - logits(attached("vit", "linear"))).abs().max() > 1e-2


@pytest.mark.parametrize("layernorm", ["none", "in"])
def test_adaptformer_is_the_equation(layernorm):
    model = nudge(attached("vit", "adaptformer", bottleneck=3, scale=0.5, layernorm=layernorm), 0.3)
    state = model.adapter_state()

    def beside(path, x, h):
        path = f"{path}.adapter"
        if layernorm == "in":
            x, path = F.layer_norm(x, (32,), state[f"{path}.0.weight"], state[f"{path}.0.bias"]), f"{path}.1"
        return 0.5 * bottleneck(state, path, x, F.relu)

    expected = by_hand(model, lambda path, x, h: 0, beside)
    assert torch.allclose(logits(model), expected, atol=1e-5)
    assert (expected - logits(attached("vit", "linear"))).abs().max() > 1e-2


def test_adaptformer_reads_the_residual_stream_where_the_norm_comes_last():
    """Swin V2: x + norm2(mlp(x)); the MLP reads the stream itself, and what is added passes no norm."""
    model = pc.attach(toy("swinv2"), pc.make_method("adaptformer"), 3, verify=False).double().eval()
    block, adapter = model.trunk.layers[0].blocks[1], model.tuner.get_submodule("layers.0.blocks.1.adapter")
    seen = {}
    torch.nn.init.normal_(adapter.up.weight, generator=torch.Generator().manual_seed(0))
    block.mlp.register_forward_hook(lambda _, args, out: seen.update(x=args[0], norm=block.norm2(out)))
    block.register_forward_hook(lambda _, args, out: seen.update(y=out))
    with torch.no_grad():
        model(images(model.backbone).double())
        expected = (seen["x"] + seen["norm"] + adapter(seen["x"])).view_as(seen["y"])
    assert torch.allclose(seen["y"], expected, atol=1e-10)


def test_a_forward_that_broke_off_leaves_nothing_behind():
    model = nudge(attached("vit", "adaptformer"), 0.3).eval()
    expected = logits(model)

    def stop(*_):
        raise KeyboardInterrupt

    handle = model.trunk.blocks[0].mlp.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        model(images(model.backbone, seed=9))
    handle.remove()
    assert torch.equal(logits(model), expected)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_only(name):
    model = nudge(attached("vit", name, dropout=0.5), 0.3)
    batch = images(model.backbone)
    with torch.no_grad():
        assert not torch.equal(model.train()(batch), model(batch))
        assert torch.equal(model.eval()(batch), model(batch))


@pytest.mark.parametrize("name", NAMES)
def test_a_bottleneck_above_the_width_is_refused(name):
    with pytest.raises(errors.DoesNotFit, match="choose 1 to 32"):
        attached("vit", name, bottleneck=33)
    with pytest.raises(errors.InvalidSetting, match="bottleneck"):
        pc.make_method(name, bottleneck=0)
