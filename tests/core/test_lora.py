"""LoRA: counts, start, frozen split, merge. Hugging Face PEFT with the same weights: test_oracles.py."""

from __future__ import annotations

import pytest
import torch
from backbones import BOTH, images, nudge, small
from hypothesis import given, settings
from hypothesis import strategies as st

import peftcore as pc
from peftcore import errors

LoRA = pc.make_method("lora").__class__


@pytest.mark.parametrize("projections, count", [(("q", "v"), 294_912), (("q", "k", "v", "proj"), 589_824)])
def test_parameter_counts(projections, count):
    backbone = pc.load_backbone("vit_base_patch16_224", pretrained=False, device="meta")
    assert pc.attach(backbone, LoRA(projections=projections), 10).parameter_counts()["method"] == count


@settings(max_examples=15, deadline=None)
@given(family=st.sampled_from(BOTH), rank=st.integers(1, 8),
       projections=st.sets(st.sampled_from(["q", "k", "v", "proj", "fc1", "fc2"]), min_size=1))  # fmt: skip
def test_starts_as_the_backbone_and_merges_exactly(family, rank, projections):
    backbone, x = small(family), images(small(family))
    model = pc.attach(backbone, LoRA(rank=rank, alpha=3, projections=tuple(sorted(projections))), 3).eval()
    assert torch.equal(model(x), pc.attach(backbone, pc.make_method("linear"), 3).eval()(x))
    nudge(model, 0.1)
    merged = pc.merge(model)
    torch.testing.assert_close(merged(x), model(x), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(merged.forward_features(x), backbone.module.forward_features(x))


@pytest.mark.parametrize("family", BOTH)
def test_frozen_split_and_names(family):
    backbone = small(family)
    model = nudge(pc.attach(backbone, LoRA(rank=2), 3))
    model(images(backbone)).sum().backward()
    names = dict(model.named_trainable())
    assert set(names) == set(model.adapter_state())
    assert all(n.startswith("head.") or ".attn.q.lora_" in n or ".attn.v.lora_" in n for n in names)
    assert all(p.grad is not None for p in names.values())
    assert all(p.grad is None for p in backbone.module.parameters())
    path, width = backbone.blocks[0].path, backbone.blocks[0].width
    assert names[f"{path}.attn.q.lora_A.weight"].shape == (2, width)
    assert names[f"{path}.attn.v.lora_B.weight"].shape == (width, 2)


def test_only_the_adapted_slice_moves():
    backbone, x = small("vit"), images(small("vit"))
    model = nudge(pc.attach(backbone, LoRA(projections=("v",)), 3), 0.2).eval()
    seen = {}
    for name, module in (("plain", backbone.clone().module), ("tuned", model.trunk)):
        module.blocks[0].attn.qkv.register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(name, out.clone())
        )
        module.forward_features(x)
    q, k, v = (seen["tuned"] - seen["plain"]).chunk(3, -1)
    assert q.abs().max() == 0 == k.abs().max() and v.abs().max() > 0


def test_plus_ratio_reaches_the_optimizer():
    from peftcore.train.recipe import make_optimizer

    spec = pc.RunSpec(method={"name": "lora", "lr_ratio": 16.0})
    model = pc.attach(small("vit"), spec.method, 3)
    ratios = {id(p): g["lr_ratio"] for g in make_optimizer(model, spec).param_groups for p in g["params"]}
    assert {ratios[id(p)] for n, p in model.named_trainable() if "lora_B" in n} == {16.0}
    assert {ratios[id(p)] for n, p in model.named_trainable() if "lora_B" not in n} == {1.0}


def test_an_architecture_that_never_calls_the_layer_is_refused():
    backbone = pc.load_backbone("eva02_tiny_patch14_224", pretrained=False, img_size=28, depth=2)
    with pytest.raises(errors.DoesNotFit, match="would train nothing"):
        pc.attach(backbone, LoRA(), 3)


def test_rank_above_the_width():
    with pytest.raises(errors.DoesNotFit, match="1 to 32"):
        pc.attach(small("vit"), LoRA(rank=33), 3)
