"""Head scores and attention maps: their laws, and finite differences as oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from backbones import BOTH, SWIN, images, nudge, small

import peftcore as pc
from peftcore import errors
from peftcore.methods._scores import SCORES, HeadScores
from peftcore.probes.attention import attention_padding

QKV = {"name": "lora", "rank": 3, "projections": ("q", "k", "v")}


def labels(n):
    return torch.arange(n) % 3


def tuned(family, std=0.05):
    return nudge(pc.attach(small(family), pc.make_method(**QKV), 3), std).eval()


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("score", SCORES)
def test_with_b_zero_every_score_is_zero(family, score):
    model = pc.attach(small(family), pc.make_method(**QKV), 3)
    scores = pc.head_scores(model, images(small(family)), labels(2), score)
    assert np.nanmax(np.abs(scores.values)) == 0
    assert scores.values.shape == (small(family).depth, 3, max(small(family).heads))


def test_heads_that_a_swin_stage_lacks_are_nan():
    values = pc.head_scores(tuned("swin"), images(small("swin")), labels(2)).values
    assert np.isnan(values[0, :, 2:]).all() and not np.isnan(values[2]).any() and not np.isnan(values[0, :, :2]).any()


@pytest.mark.parametrize("family", BOTH)
def test_signed_scores_sum_to_the_whole_product(family):
    model, x, y = tuned(family), images(small(family)), labels(2)
    signed = pc.head_scores(model, x, y, "taylor_signed").values
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()
    for a in model.tuner:
        B = a.pair.lora_B.weight
        j = ("q", "k", "v").index(a.projection)
        assert np.nansum(signed[a.layer, j]) == pytest.approx((B.grad * B).sum().item(), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("family", BOTH)
def test_the_score_predicts_what_removing_a_head_does(family):
    """L - L(dW_h = 0) over <dL/dB_h, B_h> tends to 1 as the delta shrinks; by finite differences in float64."""
    backbone = small(family).clone()
    import copy

    backbone = copy.deepcopy(backbone)
    backbone.module.double()
    x, y = images(backbone).double(), labels(2)
    model = nudge(pc.attach(backbone, pc.make_method(**QKV), 3, verify=False).double(), 0.05).eval()
    with torch.no_grad():
        for a in model.tuner:
            a.pair.lora_B.weight.mul_(1e-3)
        whole = F.cross_entropy(model(x), y).item()
    signed = pc.head_scores(model, x, y, "taylor_signed").values
    ratios = []
    for a in list(model.tuner)[:: max(1, len(model.tuner.adapted) // 4)]:
        rows = a.block.head_dim
        B = a.pair.lora_B.weight
        for head in range(a.block.heads):
            kept = B.detach()[head * rows : (head + 1) * rows].clone()
            with torch.no_grad():
                B[head * rows : (head + 1) * rows] = 0
                change = whole - F.cross_entropy(model(x), y).item()
                B[head * rows : (head + 1) * rows] = kept
            ratios.append(change / signed[a.layer, ("q", "k", "v").index(a.projection), head])
    np.testing.assert_allclose(np.median(ratios), 1, atol=0.01)
    assert np.mean(np.abs(np.array(ratios) - 1) < 0.1) > 0.8


def test_scores_relate_and_weights_stay():
    model, x, y = tuned("vit"), images(small("vit"), 4), labels(4)
    before = {n: t.clone() for n, t in model.adapter_state().items()}
    one, signed, absolute, squared = (
        pc.head_scores(model, x, y, s).values for s in ("taylor", "taylor_signed", "taylor_abs", "taylor_squared")
    )
    np.testing.assert_allclose(one, np.abs(signed))
    np.testing.assert_allclose(squared, signed**2, rtol=1e-5)
    assert (absolute >= one - 1e-12).all()
    steps = pc.head_scores(model, [x[:2], x[2:]], [y[:2], y[2:]]).values
    parts = [pc.head_scores(model, x[i : i + 2], y[i : i + 2]).values for i in (0, 2)]
    np.testing.assert_allclose(steps, np.mean(parts, 0), rtol=1e-5)
    assert all(torch.equal(t, before[n]) for n, t in model.adapter_state().items())
    assert all(p.grad is None for p in model.trainable_parameters())


@pytest.mark.parametrize("family", BOTH)
def test_energy_is_the_norm_of_each_heads_rows(family):
    model = tuned(family)
    values = pc.head_energy(model).values
    for a in model.tuner:
        dW = a.pair.scale * a.pair.lora_B.weight @ a.pair.lora_A.weight
        expected = [w.norm().item() for w in dW.split(a.block.head_dim)]
        got = values[a.layer, ("q", "k", "v").index(a.projection), : a.block.heads]
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_scores_survive_json():
    scores = pc.head_scores(tuned("swin"), images(small("swin")), labels(2))
    again = HeadScores.from_dict(scores.to_dict())
    np.testing.assert_array_equal(again.values, scores.values)
    assert again.layers == scores.layers and again.projections == scores.projections


def test_a_model_without_heads_to_score_is_refused():
    with pytest.raises(errors.NotMeasurable, match="low-rank updates on q, k or v"):
        pc.head_scores(pc.attach(small("vit"), pc.make_method("last"), 3), images(small("vit")), labels(2))
    with pytest.raises(errors.UnknownName, match="taylor"):
        pc.head_scores(tuned("vit"), images(small("vit")), labels(2), "tailor")


@pytest.mark.parametrize(
    "given",
    [
        [0, 1, 2, 0],
        (0, 1, 2, 0),
        np.array([0, 1, 2, 0], dtype=np.uint8),
        torch.tensor([0, 1, 2, 0], dtype=torch.int32),
        torch.tensor([0, 1, 2, 0], dtype=torch.int16),
    ],
    ids=lambda given: type(given).__name__,
)
def test_labels_may_be_whole_numbers_of_any_kind(given):
    model, x = tuned("vit"), images(small("vit"), 4)
    expected = pc.head_scores(model, x, labels(4)).values
    np.testing.assert_array_equal(pc.head_scores(model, x, given).values, expected)
    np.testing.assert_array_equal(pc.head_scores(model, x.double().numpy(), given).values, expected)
    np.testing.assert_array_equal(pc.head_scores(model, [x], [given]).values, expected)


@pytest.mark.parametrize(
    "wrong",
    [
        [0, 1, 2],
        [0, 1, 2, 3],
        [0, 1, 2, -1],
        [0.0, 1.0, 2.0, 0.0],
        [[0], [1], [2], [0]],
        [[0], [1, 2], [2], [0]],
        ["a", "b", "c", "d"],
        torch.ones(4, 3),
        torch.tensor([0, 1, float("nan"), 0]),
        None,
        3,
    ],
    ids=str,
)
def test_wrong_labels_are_a_sentence(wrong):
    model, x = tuned("vit"), images(small("vit"), 4)
    for given in ((x, wrong), ([x], [wrong]), ([x, x], [[0, 1, 2, 0], wrong]), ([x], wrong)):
        with pytest.raises(errors.BadData, match="whole number from 0 to 2 as its label"):
            pc.head_scores(model, *given)
    with pytest.raises(errors.BadData, match="whole number from 0 to 2 as its label"):
        pc.head_scores(model, [x, x], [[0, 1, 2, 0]])
    with pytest.raises(errors.BadData, match="give at least one batch"):
        pc.head_scores(model, x[:0], [])
    assert not any(a.pair.collect for a in model.tuner) and all(p.grad is None for p in model.trainable_parameters())


@pytest.mark.parametrize("family", BOTH)
def test_attention_rows_sum_to_one_and_explain_the_output(family):
    backbone, x = small(family), images(small(family))
    fused = [getattr(m, "fused_attn", None) for m in backbone.module.modules()]
    for layer, block in enumerate(backbone.blocks):
        maps = pc.attention_maps(backbone, x, layer)
        n = block.grid[0] * block.grid[1] + backbone.prefix_tokens
        assert maps.shape == (2, block.heads, n, n)
        torch.testing.assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]))
    assert [getattr(m, "fused_attn", None) for m in backbone.module.modules()] == fused and (
        family == "swin" or any(fused)
    )


@pytest.mark.parametrize("size", [(40, 40), (36, 52), (32, 32)])
def test_rows_sum_to_one_with_padding_whose_share_is_reported(size):
    """A Swin whose windows do not divide its grid pads them; padding is attended to, but is not a token."""
    settings = SWIN | {"img_size": size}
    backbone = pc.load_backbone(settings.pop("name"), pretrained=False, **settings)
    x = images(backbone)
    for layer, block in enumerate(backbone.blocks):
        module = backbone.module.get_submodule(block.path)
        padded = any(side % w for side, w in zip(block.grid, module.window_size, strict=True))
        maps, padding = pc.attention_maps(backbone, x, layer), attention_padding(backbone, x, layer)
        torch.testing.assert_close(maps.sum(-1), torch.ones_like(padding))
        assert maps.shape[-1] == block.grid[0] * block.grid[1] and padding.shape == maps.shape[:3]
        assert padding.max() < (1 if padded else 1e-5)
        assert not padded or any(module.shift_size) or padding.max() > 0.1  # a shift may keep the padding apart


class _Sums(torch.nn.Module):
    """An attention that gives each of 25 tokens a weight of 0.1."""

    def __init__(self):
        super().__init__()
        self.attn_drop = torch.nn.Identity()

    def forward(self, x, **_):
        self.attn_drop(x.new_full((len(x), 4, 25, 25), 0.1))
        return x


def test_an_attention_that_is_not_an_average_is_refused():
    backbone = small("vit").clone()
    backbone.module.blocks[1].attn = _Sums()
    with pytest.raises(errors.NotMeasurable, match="sum to 2.5 to 2.5, not to 1"):
        pc.attention_maps(backbone, images(backbone), 1)


def test_attention_times_values_is_what_the_block_computes():
    backbone, x = small("vit"), images(small("vit"))
    maps, attention, seen = pc.attention_maps(backbone, x, 2), backbone.module.blocks[2].attn, {}
    handles = [
        attention.qkv.register_forward_hook(lambda _, __, out: seen.__setitem__("v", out.chunk(3, -1)[2])),
        attention.proj.register_forward_pre_hook(lambda _, args: seen.__setitem__("mixed", args[0])),
    ]
    backbone.pooled(x)
    for handle in handles:
        handle.remove()
    v = seen["v"].unflatten(-1, (4, -1)).transpose(1, 2)
    torch.testing.assert_close((maps @ v).transpose(1, 2).flatten(2), seen["mixed"], rtol=1e-4, atol=1e-5)


def test_swin_windows_land_where_their_tokens_are():
    """A token of a shifted window attends only to its neighbours, never farther than a window."""
    backbone = small("swin")
    plain, shifted = (pc.attention_maps(backbone, images(backbone), layer)[0, 0] for layer in (0, 1))
    same = torch.arange(64).view(8, 8).unflatten(0, (2, 4)).unflatten(2, (2, 4)).permute(0, 2, 1, 3).reshape(4, 16)
    window = torch.empty(64, dtype=torch.long)
    for i, tokens in enumerate(same):
        window[tokens] = i
    assert (plain[window[:, None] != window[None]] == 0).all() and (plain[window[:, None] == window[None]] > 0).all()
    assert (shifted[window[:, None] != window[None]] > 0).any()


@pytest.mark.parametrize("family", BOTH)
def test_side_attention_is_what_each_module_weighs_with(family):
    backbone, x = small(family), images(small(family))
    model = nudge(pc.attach(backbone, pc.make_method("last", rank=4, gap=1, stack=2, heads=2), 3), 0.3).eval()
    inputs, outputs = [], []
    modules = [m for group in model.tuner.side for m in group]
    handles = [m.norm.register_forward_pre_hook(lambda _, args: inputs.append(args[0].clone())) for m in modules]
    handles += [m.up.register_forward_hook(lambda _, __, out: outputs.append(out)) for m in modules]
    maps = pc.side_attention(model, x)
    for handle in handles:
        handle.remove()
    assert len(maps) == len(modules)
    for m, a, given, out in zip(modules, maps, inputs, outputs, strict=True):
        torch.testing.assert_close(a.sum(-1), torch.ones_like(a[..., 0]))
        assert a.shape == (2, given.shape[1], given.shape[1])
        n = m.norm(given)
        q, k, v = (f(n).unflatten(-1, (2, 2)).transpose(1, 2) for f in (m.q, m.k, m.v))
        weights = (q @ k.mT / 2**0.5).softmax(-1)
        torch.testing.assert_close(weights.mean(1), a)
        torch.testing.assert_close(m.up((weights @ v).transpose(1, 2).flatten(2)), out, rtol=1e-4, atol=1e-5)


def test_probes_that_have_nothing_to_show_say_so():
    with pytest.raises(errors.NotMeasurable, match="layers 0 to 4"):
        pc.attention_maps(small("vit"), images(small("vit")), 5)
    with pytest.raises(errors.NotMeasurable, match="train LAST"):
        pc.side_attention(tuned("vit"), images(small("vit")))


def test_maps_of_a_shared_backbone_from_many_threads():
    """A probe leaves no hook and no changed flag on a Backbone that others use at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    backbone = small("vit")
    inputs = [images(backbone, seed=i) for i in range(4)]
    alone = [pc.attention_maps(backbone, x, 1) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            together = list(pool.map(lambda x: pc.attention_maps(backbone, x, 1), inputs))
            assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("method", ["lora", "bi_lora", "heart_lora"])
def test_head_scores_are_the_same_with_checkpoints_and_of_a_frozen_model(family, method):
    model = pc.attach(small.__wrapped__(family), {"name": method, "rank": 4}, 3)  # its own, which keeps its checkpoints
    nudge(model)
    x, y = images(model.backbone, 2), torch.tensor([0, 1])
    known = pc.head_scores(model, x, y).values
    model.trunk.set_grad_checkpointing(True)
    np.testing.assert_allclose(pc.head_scores(model, x, y).values, known, rtol=1e-5)
    model.requires_grad_(False)
    np.testing.assert_allclose(pc.head_scores(model, x, y).values, known, rtol=1e-5)
