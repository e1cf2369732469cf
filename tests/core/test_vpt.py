"""VPT: the papers' recursion by hand, prompts that pooling never sees, and clear refusals."""

from __future__ import annotations

import pytest
import torch
from backbones import images, nudge, small
from laws import (
    attached,
    cannot_merge,
    comes_back,
    follows_from_the_seed,
    logits,
    on_meta_vit_b,
    trains_its_own_and_nothing_else,
)
from low_rank_toys import toy

import peftcore as pc
from peftcore import errors
from peftcore.probes.attention import attention_flow

DEPTHS = ("shallow", "deep")


def test_only_its_own_trains_and_it_comes_back_where_shallow():
    model = trains_its_own_and_nothing_else("vit", "vpt", depth="shallow", tokens=3)
    comes_back(model)
    cannot_merge(model)
    follows_from_the_seed("vit", "vpt", depth="shallow")


def test_counts_on_vit_b():
    assert on_meta_vit_b("vpt", depth="shallow", tokens=50) == 50 * 768
    assert on_meta_vit_b("vpt", depth="deep", tokens=50) == 12 * 50 * 768


def by_hand(timm_model, prompts, batch):
    """The papers' recursion: [c, P, E] through each block; fresh prompts where a set is given for it."""
    with torch.no_grad():
        x = timm_model._pos_embed(timm_model.patch_embed(batch))
        first = timm_model.num_prefix_tokens
        n = len(prompts[0])
        for i, block in enumerate(timm_model.blocks):
            if i < len(prompts):
                image = x[:, first + (n if i else 0) :]
                x = torch.cat((x[:, :first], prompts[i].expand(len(x), -1, -1), image), 1)
            x = block(x)
        x = torch.cat((x[:, :first], x[:, first + n :]), 1)
        return timm_model.forward_head(timm_model.norm(x), pre_logits=True)


POOLS = {
    "class": {},
    "registers": dict(reg_tokens=4),
    "average": dict(class_token=False, global_pool="avg"),
    "map": dict(class_token=False, global_pool="map"),
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_is_the_recursion_for_every_pooling(depth, pool):
    backbone = pc.load_backbone(
        "vit_tiny_patch16_224", pretrained=False, img_size=(32, 48), embed_dim=32, depth=3, num_heads=4, **POOLS[pool]
    )
    model = nudge(pc.attach(backbone, pc.make_method("vpt", depth=depth, tokens=3), 4), 0.5).eval()
    prompts = [model.adapter_state()[f"prompts.{i}"] for i in range(3 if depth == "deep" else 1)]
    for n in (1, 2):
        batch = images(backbone, n)
        with torch.no_grad():
            expected = model.head(by_hand(backbone.module, prompts, batch))
            assert torch.allclose(model(batch), expected, atol=1e-6)
            assert (expected - model.head(backbone.pooled(batch))).abs().max() > 1e-4


def test_rotary_positions_stay_with_the_image_tokens():
    """EVA: image tokens keep their angles, and prompts have none, like the class token."""
    backbone = toy("eva02")
    model = pc.attach(backbone, pc.make_method("vpt", tokens=5), 3, verify=False).double().eval()
    assert [b.attn.num_prefix_tokens for b in model.trunk.blocks] == [6, 6]
    assert [b.attn.num_prefix_tokens for b in backbone.module.blocks] == [1, 1]  # the one passed is not changed
    seen = {}
    attention = model.trunk.blocks[1].attn
    attention.register_forward_hook(
        lambda _, args, named, out: seen.update(x=args[0], y=out, **named), with_kwargs=True
    )
    with torch.no_grad():
        logits = model(images(backbone).double())
        # one softmax over prefix + prompts + rotated image tokens, spelled out
        x, B, N = seen["x"], *seen["x"].shape[:2]
        bias = torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
        q, k, v = torch.nn.functional.linear(x, attention.qkv.weight, bias).view(B, N, 3, 4, 8).permute(2, 0, 3, 1, 4)
        sin, cos = seen["rope"].tensor_split(2, -1)

        def rotate(t):
            turned = torch.stack((-t[..., 1::2], t[..., ::2]), -1).flatten(-2)
            return torch.cat((t[:, :, :6], t[:, :, 6:] * cos + turned[:, :, 6:] * sin), 2)

        weights = (rotate(q) @ rotate(k).transpose(-2, -1) / 8**0.5).softmax(-1)
        expected = attention.proj(attention.norm((weights @ v).transpose(1, 2).reshape(B, N, -1)))
    assert torch.allclose(seen["y"], expected, atol=1e-10)
    assert logits.shape == (2, 3)


def test_one_block_shallow_is_deep():
    shape = dict(img_size=32, embed_dim=32, depth=1, num_heads=4)
    backbone = pc.load_backbone("vit_tiny_patch16_224", pretrained=False, **shape)
    shallow, deep = (pc.attach(backbone, pc.make_method("vpt", depth=d), 4).eval() for d in DEPTHS)
    with torch.no_grad():
        assert torch.equal(shallow(images(backbone)), deep(images(backbone)))


def test_nothing_flows_through_a_prompt_that_a_block_does_not_hand_on():
    """Rollout by hand: before each block fresh prompts take the place of the old ones, and hold nothing of them."""
    model = nudge(attached("vit", "vpt", depth="deep", tokens=3)).eval()
    batch, flow = images(model.backbone), None
    for layer in range(model.backbone.depth):
        A = pc.attention_maps(model, batch, layer).mean(1)
        I = torch.eye(A.shape[-1])  # noqa: E741
        if flow is not None:
            flow = torch.cat([flow[:, :1], I[1:4].expand(len(A), -1, -1), flow[:, 4:]], 1)
        flow = (A + I) / 2 if flow is None else (A + I) / 2 @ flow
    torch.testing.assert_close(attention_flow(model, batch), flow)


def test_starts_within_xavier_bounds():
    prompts = attached("vit", "vpt", tokens=64).adapter_state()["prompts.0"]
    bound = (6 / (3 * 8 * 8 + 32)) ** 0.5
    assert 0.95 * bound < prompts.abs().max() <= bound


def test_dropout_acts_in_training_only():
    model = nudge(attached("vit", "vpt", dropout=0.5), 0.5)
    batch = images(model.backbone)
    with torch.no_grad():
        assert not torch.equal(model.train()(batch), model(batch))
    assert torch.equal(logits(model), logits(model))


def test_refusals_say_why():
    with pytest.raises(errors.DoesNotFit, match="windows"):
        attached("swin", "vpt")
    with pytest.raises(errors.DoesNotFit, match="relative positions"):
        pc.attach(toy("beit"), pc.make_method("vpt"), 3, verify=False)
    with pytest.raises(errors.InvalidSetting, match="tokens = 0"):
        pc.make_method("vpt", tokens=0)
    with pytest.raises(errors.InvalidSetting, match="shallow"):
        pc.make_method("vpt", depth="middle")
    assert small("vit").prefix_tokens == 1
