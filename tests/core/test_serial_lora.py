"""Serial LoRA, on every family: merged equals unmerged equals a plain LoRA, and nothing moves at the start."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from low_rank_toys import FAMILIES, attached, images, labels, merged_logits, toy
from timm.layers.attention import Attention

import peftcore as pc
from peftcore import errors


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_equals_unmerged(family):
    model = attached(family, "serial_lora", rank=3, scale=0.7)
    batch = images(model.backbone)
    with torch.no_grad():
        assert torch.allclose(merged_logits(model, batch), model(batch), atol=1e-10)
        assert not torch.allclose(model(batch), model.head(toy(family).pooled(batch)), atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_start_is_the_frozen_backbone_and_every_tensor_gets_a_gradient(family):
    model = pc.attach(toy(family), pc.make_method("serial_lora"), 5, verify=False).double().eval()
    batch = images(model.backbone)
    with torch.no_grad():
        assert torch.equal(model(batch), model.head(toy(family).pooled(batch)))
    nudged = attached(family, "serial_lora", rank=2).train()
    F.cross_entropy(nudged(batch), labels()).backward()
    assert all(p.grad is not None and p.grad.any() for p in nudged.trainable_parameters())


def test_a_gate_reads_the_input_too():
    backbone = toy("vit").clone()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for block in backbone.module.blocks:
            block.attn = Attention(32, num_heads=4, qkv_bias=True, gated=True).double().eval().requires_grad_(False)
    model = pc.attach(backbone, pc.make_method("serial_lora", rank=3), 5, verify=False).double().eval()
    for name, parameter in model.named_trainable():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    batch = images(backbone)
    with torch.no_grad():
        assert torch.allclose(merged_logits(model, batch), model(batch), atol=1e-10)
    assert "blocks.0.attn.gate" in model.method.as_lora(model)


@given(rank=st.integers(1, 8), scale=st.sampled_from([0.1, 1.0, 3.0]))
@settings(max_examples=8, deadline=None)
def test_equals_a_plain_lora_on_the_fused_qkv(rank, scale):
    """The same function as y = W x + B A x on qkv with lora_A = A and lora_B = s W B, hooked in by hand."""
    serial = attached("vit", "serial_lora", rank=rank, scale=scale)
    plain = toy("vit").clone()
    for path, (A, B) in serial.method.as_lora(serial).items():
        assert A.shape == (rank, 32) and B.shape == (96, rank)
        plain.module.get_submodule(path).register_forward_hook(lambda _, args, out, A=A, B=B: out + args[0] @ A.T @ B.T)
    batch = images(plain)
    with torch.no_grad():
        assert torch.allclose(serial.head(plain.pooled(batch)), serial(batch), atol=1e-10)


def test_count_on_vit_b16_is_a_quarter_of_lora():
    backbone = pc.load_backbone("vit_base_patch16_224", pretrained=False, device="meta")
    count = pc.attach(backbone, pc.make_method("serial_lora"), 10).parameter_counts()["method"]
    lora = pc.make_method("lora", projections=("q", "k", "v", "proj"))
    assert count == 147_456 and 4 * count == pc.attach(backbone, lora, 10).parameter_counts()["method"]


def test_names_and_state():
    model = attached("swin", "serial_lora", rank=2)
    state = model.adapter_state()
    assert [n for n in state if n.startswith("layers.1")] == [
        "layers.1.blocks.0.attn.serial.lora_A.weight",
        "layers.1.blocks.0.attn.serial.lora_B.weight",
    ]
    other = pc.attach(toy("swin"), model.method, 5, verify=False).double().eval()
    other.load_adapter_state(state)
    batch = images(model.backbone)
    with torch.no_grad():
        assert torch.equal(other(batch), model(batch))


def test_the_backbone_passed_is_not_changed():
    batch = images(toy("vit"))
    with torch.no_grad():
        before = toy("vit").pooled(batch)
        attached("vit", "serial_lora")
        assert torch.equal(toy("vit").pooled(batch), before)
    assert not toy("vit").module.blocks[0].attn._forward_pre_hooks


def test_rank_above_the_width_is_refused():
    with pytest.raises(errors.DoesNotFit, match="choose 1 to 16"):
        pc.attach(toy("swin"), pc.make_method("serial_lora", rank=17), 5)


def test_a_block_that_norms_after_attention_trains_on_any_batch():
    """There the projections read what no norm has made contiguous."""
    backbone = pc.load_backbone("vit_base_patch16_rpn_224", pretrained=False, depth=1, embed_dim=48, num_heads=3)
    model = pc.attach(backbone, "serial_lora", 3)
    model(torch.randn(2, 3, 224, 224)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.trainable_parameters())
