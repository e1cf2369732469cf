"""What a head does when it is switched off: its laws, and models without the head as oracle."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from backbones import BOTH, images, nudge, small, state_bytes

import peftcore as pc
from peftcore import errors
from peftcore.bench._deletion import grid_of, head_deletion
from peftcore.methods._scores import HeadScores
from peftcore.probes.attention import attention_flow
from peftcore.probes.effects import without

METHODS = [
    {"name": "lora", "rank": 3, "projections": ("q", "k", "v")},
    {"name": "bi_lora", "rank": 4, "projections": ("q", "v"), "dropout": 0},
    {"name": "heart_lora", "rank": 4, "dropout": 0},
]
LORA = METHODS[0]


def labels(n):
    return torch.arange(n) % 3


def tuned(family, method=LORA, std=0.1):
    return nudge(pc.attach(small(family), method, 3), std).eval()


def loss_of(model, x, y):
    with torch.no_grad():
        return F.cross_entropy(model(x), y).item()


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m["name"])
def test_an_effect_is_the_loss_of_the_model_whose_update_has_zeros_there(family, method):
    model, x, y = tuned(family, method), images(small(family), 5), labels(5)
    effects, whole = pc.head_effects(model, x, y), loss_of(model, x, y)
    assert effects.before[0] == pytest.approx(whole) and effects.images == 5
    for a in model.tuner:
        for head in range(a.block.heads):
            rows = slice(head * a.block.head_dim, (head + 1) * a.block.head_dim)
            plain, original = a.pair.weights, a.pair.weights()
            B = original[1].detach().clone()
            B[rows] = 0
            a.pair.weights = lambda A=original[0], B=B: (A, B)
            try:
                expected = loss_of(model, x, y) - whole
            finally:
                a.pair.weights = plain
            j = effects.projections.index(a.projection)
            assert effects.loss[a.layer, j, head] == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("of", ["head", "mean"])
def test_a_heads_output_is_replaced_where_the_projection_reads_it(family, of):
    model, x, y = tuned(family), images(small(family), 3), labels(3)
    effects, whole = pc.head_effects(model, x, y, of), loss_of(model, x, y)
    for layer, block in enumerate(model.backbone.blocks):
        seen = []
        linear = model.backbone.site(block, "proj").linear
        handle = linear.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        model(x)
        handle.remove()
        mean = seen[0].flatten(0, -2).mean(0)
        columns = slice(block.head_dim, 2 * block.head_dim)  # of head 1
        other = copy.deepcopy(model)
        proj = other.backbone.site(other.backbone.blocks[layer], "proj").linear
        with torch.no_grad():  # zero columns of the weight, and what the mean puts through them as a bias
            if of == "mean":
                proj.bias.add_(proj.weight[:, columns] @ mean[columns])
            proj.weight[:, columns] = 0
        assert effects.loss[layer, 0, 1] == pytest.approx(loss_of(other, x, y) - whole, abs=5e-6)
    assert effects.projections == ("output",)


@pytest.mark.parametrize("family", BOTH)
def test_without_any_update_the_backbone_is_frozen(family):
    backbone = small(family)
    model, x, y = tuned(family), images(backbone, 3), labels(3)
    everything = [(a.layer, a.projection, h) for a in model.tuner for h in range(a.block.heads)]
    losses, rights, count = without(model, x, y, [everything, []])
    with torch.no_grad():
        logits = model.head(backbone.pooled(x))
    assert losses[1] == pytest.approx(F.cross_entropy(logits, y).item(), abs=1e-6) and count == 3
    assert rights[1] == (logits.argmax(1) == y).float().mean() and losses[2] == losses[0]


@pytest.mark.parametrize("family", BOTH)
def test_taylor_predicts_the_effect_of_a_small_update(family):
    backbone = copy.deepcopy(small(family).clone())
    backbone.module.double()
    model = nudge(pc.attach(backbone, LORA, 3, verify=False).double(), 0.05).eval()
    with torch.no_grad():
        for a in model.tuner:
            a.pair.lora_B.weight.mul_(1e-2)
    x, y = images(backbone).double(), labels(2)
    signed = pc.head_scores(model, x, y, "taylor_signed").values
    effects = pc.head_effects(model, x, y).loss  # float32 of the logits: the largest effects only
    large = np.abs(signed) > np.nanquantile(np.abs(signed), 0.8)
    np.testing.assert_allclose(-effects[large], signed[large], rtol=0.1, atol=3e-7)


def test_a_head_that_is_off_has_no_effect_and_is_not_counted_among_those_to_delete():
    model, x, y = tuned("vit", METHODS[2]), images(small("vit"), 2), labels(2)
    for a in model.tuner:
        a.pair.switch_off([0, 2])
    effects = pc.head_effects(model, x, y)
    assert not effects.loss[:, :, [0, 2]].any() and effects.loss[:, :, [1, 3]].any()
    curve = head_deletion(model, x, y, pc.head_energy(model))
    assert curve.off.max() == 2 * small("vit").depth


@pytest.mark.parametrize("family", BOTH)
def test_signed_scores_are_lowest_where_a_head_is_worth_most(family):
    model, x, y = tuned(family), images(small(family), 3), labels(3)
    signed = pc.head_scores(model, x, y, "taylor_signed")
    turned = dataclasses.replace(signed, values=-signed.values, score="taylor")
    assert head_deletion(model, x, y, signed).equals(head_deletion(model, x, y, turned))


@pytest.mark.parametrize("family", BOTH)
def test_all_orders_begin_and_end_alike(family):
    model, x, y = tuned(family), images(small(family), 3), labels(3)
    scores = pc.head_energy(model)
    curve = head_deletion(model, x, y, scores, points=5, draws=2)
    assert set(curve.order) == {"least", "most", "random"} and len(curve) == 4 * 5
    assert curve[curve.off == 0].loss.nunique() == 1
    assert np.ptp(curve[curve.off == curve.off.max()].loss) < 1e-6
    total = np.nansum(scores.values, 1)
    weakest = np.unravel_index(np.nanargmin(np.where(np.isnan(scores.values[:, 0]), np.nan, total)), total.shape)
    one = head_deletion(model, x, y, scores, points=int(curve.off.max()) + 1, draws=0).query(
        "order == 'least' and off == 1"
    )
    by_hand = without(model, x, y, [[(weakest[0], p, weakest[1]) for p in scores.projections]])[0][1]
    assert one.loss.item() == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("method", ["last", "linear"])
def test_a_side_method_sees_frozen_heads_switched_off(method):
    """Its frozen features come from several calls of 16 images each."""
    model, x, y = tuned("vit", method), images(small("vit"), 18), labels(18)
    effects = pc.head_effects(model, x, y, "head")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.backbone.site(other.backbone.blocks[2], "proj").linear.weight[:, 8:16] = 0
    assert effects.loss[2, 0, 1] == pytest.approx(loss_of(other, x, y) - loss_of(model, x, y), abs=2e-6)
    with pytest.raises(errors.NotMeasurable):
        pc.head_effects(model, x, y)


def test_batches_give_what_one_batch_gives_and_the_model_stays_as_it_was():
    model, x, y = tuned("swin").train(), images(small("swin"), 4), labels(4)
    before = state_bytes(model)
    whole, parts = pc.head_effects(model, x, y), pc.head_effects(model, x.split(3), y.split(3))
    np.testing.assert_allclose(whole.loss, parts.loss, atol=1e-6)
    assert model.training and state_bytes(model) == before
    assert not any("forward" in vars(module) or module._forward_pre_hooks for module in model.trunk.modules())


def test_a_distilled_backbone_reads_two_tokens():
    backbone = pc.load_backbone("deit_tiny_distilled_patch16_224", pretrained=False, depth=2, img_size=32)
    model, x, y = nudge(pc.attach(backbone, LORA, 3), 0.1).eval(), images(backbone, 4), labels(4)
    assert pc.head_effects(model, x, y).before[0] == pytest.approx(loss_of(model, x, y), abs=1e-6)
    flow = attention_flow(model, x)  # (B, class, distillation and patches, the same)
    row = flow[:, :2].mean(1)[:, 2:].reshape(-1, 1, *backbone.grid)
    maps = F.interpolate(row, x.shape[2:], mode="bilinear")[:, 0]
    torch.testing.assert_close(pc.attribute(model, x, 0, "rollout").maps, maps)


def test_what_progress_raises_ends_the_measurement_and_leaves_the_model_whole():
    model, x, y = tuned("vit"), images(small("vit")), labels(2)
    shares = []

    def progress(share):
        shares.append(share)
        if share > 0.2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pc.head_effects(model, x, y, progress=progress)
    assert shares == sorted(shares) and shares[-1] < 0.3
    assert not any("forward" in vars(module) for module in model.trunk.modules())


def test_progress_goes_by_the_blocks_that_run():
    """Below the first block that is changed nothing runs: heads of the first layer take longest."""
    model, shares = tuned("vit"), [0.0]
    pc.head_effects(model, images(small("vit")), labels(2), progress=shares.append)
    steps = np.diff(shares)
    assert shares[-1] == pytest.approx(1) and (np.diff(steps) < 1e-12).all()
    depth = model.backbone.depth
    assert steps[0] / steps[-1] == pytest.approx((depth + 1) / 2)


def test_effects_are_scores_for_figures():
    effects = pc.head_effects(tuned("swin"), images(small("swin")), labels(2))
    scores = grid_of(effects, "accuracy")
    assert isinstance(scores, HeadScores) and scores.score == "accuracy_change"


def test_bad_input_is_a_sentence():
    model, x, y = tuned("vit"), images(small("vit")), labels(2)
    with pytest.raises(errors.UnknownName, match="update"):
        pc.head_effects(model, x, y, "updates")
    with pytest.raises(errors.BadData, match="at least one batch"):
        pc.head_effects(model, [], [])
    with pytest.raises(errors.BadData):
        pc.head_effects(model, x, [0, 7])


def test_the_command_reads_a_saved_adapter_and_the_task_it_was_trained_on(tmp_path):
    from typer.testing import CliRunner

    from peftcore.__main__ import app

    spec = pc.RunSpec(method={"name": "lora", "rank": 2, "projections": ["q"]}, task="digits")
    pc.save_adapter(tmp_path, nudge(pc.attach(pc.load_backbone("vit_micro"), spec.method, 10)), spec)
    done = CliRunner().invoke(app, ["effects", str(tmp_path), "--images", "2", "--json"])
    import json

    found = json.loads(done.stdout)
    assert found["images"] == 2 and np.shape(found["loss"]) == (8, 1, 8) and found["of"] == "update"
    done = CliRunner().invoke(app, ["effects", str(tmp_path), "--images", "2", "--order", "energy", "--json"])
    curve = json.loads(done.stdout)
    assert {row["order"] for row in curve} == {"least", "most", "random"} and curve[0]["off"] == 0
    with pytest.raises(errors.NotMeasurable, match="give a run of the store"):
        CliRunner().invoke(app, ["effects", str(tmp_path), "--order", "training"], catch_exceptions=False)
    with pytest.raises(errors.UnknownName, match="no run 77"):
        CliRunner().invoke(app, ["effects", "77"], catch_exceptions=False)
