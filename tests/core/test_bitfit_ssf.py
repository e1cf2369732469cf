"""BitFit and SSF: exactly what the papers say trains, and both merge into a plain timm model."""

from __future__ import annotations

import pytest
import torch
from backbones import BOTH, images, nudge
from laws import (
    attached,
    logits,
    on_meta_vit_b,
    starts_as_the_probe,
)
from low_rank_toys import toy

import peftcore as pc
from peftcore import errors


@pytest.mark.parametrize("family", BOTH)
def test_start(family):
    starts_as_the_probe(family, "bitfit")
    starts_as_the_probe(family, "ssf", init_std=0)


def test_counts_on_vit_b():
    assert on_meta_vit_b("bitfit") == 12 * 11 * 768 + 2 * 768  # 3 + 1 + 4 + 1 linear and 2 norms a block; patches; norm
    assert on_meta_vit_b("ssf") == 2 * on_meta_vit_b("bitfit") == 205_824  # a scale and a shift where there is a bias


def test_bitfit_trains_every_bias_and_only_biases():
    for family in ("vit", "swin", "eva02", "beit", "swinv2"):
        backbone = toy(family)
        model = pc.attach(backbone, pc.make_method("bitfit"), 3, verify=False)
        names = set(model.tuner.state_dict())
        every = [name for name, _ in backbone.module.named_parameters()]
        assert names == {name for name in every if name.split(".")[-1] in ("bias", "q_bias", "v_bias")}
    assert {"blocks.0.attn.q_bias", "blocks.0.attn.v_bias"} <= set(
        pc.attach(toy("beit"), pc.make_method("bitfit"), 3, verify=False).adapter_state()
    )


def test_ssf_is_scale_and_shift_after_the_operation():
    model = nudge(attached("vit", "ssf"), 0.3).eval()
    norm, seen = model.trunk.blocks[1].norm2, {}
    norm.register_forward_hook(lambda _, args, out: seen.update(x=args[0], y=out))
    logits(model)
    state = model.adapter_state()
    frozen = torch.nn.functional.layer_norm(seen["x"], (32,), norm.weight, norm.bias, norm.eps)
    expected = frozen * state["blocks.1.norm2.scale"] + state["blocks.1.norm2.shift"]
    assert torch.allclose(seen["y"], expected, atol=1e-6)


@pytest.mark.parametrize("family", ["vit", "swin", "eva02", "eva_split", "beit", "swinv2"])
def test_ssf_merges_in_every_family(family):
    model = pc.attach(toy(family), pc.make_method("ssf", init_std=0.3), 4, verify=False).double().eval()
    plain = toy(family).clone().module
    for module in plain.modules():  # own copies of the frozen weights
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(parameter.detach().clone())
    model.method.merge(model, plain)
    batch = images(toy(family)).double()
    with torch.no_grad():
        pooled = plain.forward_head(plain.forward_features(batch), pre_logits=True)
        assert torch.allclose(model.head(pooled), model(batch), atol=1e-10)
        assert not torch.allclose(pooled, toy(family).pooled(batch), atol=1e-2)


def test_ssf_is_not_merged_where_a_layer_undoes_what_is_folded_in():
    """A hybrid's convolutions standardise their weights in every forward."""
    hybrid = pc.load_backbone("vit_tiny_r_s16_p8_224", pretrained=False, depth=1)
    with pytest.raises(errors.CannotMerge, match="would not compute what the model does"):
        pc.merge(pc.attach(hybrid, "ssf", 3))


def test_ssf_leaves_out_layers_that_are_never_called():
    names = pc.attach(toy("beit"), pc.make_method("ssf"), 3, verify=False).adapter_state()
    assert not any("qkv" in name for name in names) and "blocks.0.attn.proj.scale" in names
    assert "blocks.0.attn.qkv.scale" in pc.attach(toy("vit"), pc.make_method("ssf"), 3, verify=False).adapter_state()
    assert "layers.1.downsample.reduction.shift" not in attached("swin", "ssf").adapter_state()  # it has no bias


def test_bad_settings_name_the_range():
    with pytest.raises(errors.InvalidSetting, match="init_std"):
        pc.make_method("ssf", init_std=-1)
    with pytest.raises(errors.UnknownName, match="init_std"):
        pc.make_method("ssf", init_sdt=1)
