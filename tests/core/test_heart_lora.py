"""Heart-LoRA: scores (finite differences also in test_oracles.py), the choice of heads, what remains after the cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from low_rank_toys import FAMILIES, added, attached, images, labels, merged_logits, toy
from petl_vit_writing import packed_bytes

import peftcore as pc
from peftcore import errors
from peftcore.events import from_dict
from peftcore.methods._headwise import QuantisedHeadwisePair
from peftcore.methods._scores import SCORES, HeadScores
from peftcore.task import Split, Task

BASES = ("lora", "bi_lora")
BOTH = ("vit", "swin")


def heart(family: str, size: float = 0.3, **options) -> pc.TunedModel:
    return attached(family, "heart_lora", size, **{"rank": 4, "dropout": 0.0, **options})


def loss(model: pc.TunedModel) -> torch.Tensor:
    return F.cross_entropy(model(images(model.backbone)), labels())


# Scores


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("base", BASES)
def test_with_B_zero_every_score_is_zero(family, base):
    model = heart(family, base=base)
    with torch.no_grad():
        for adapted in model.tuner:
            adapted.pair.lora_B.weight.zero_()
    for score in SCORES:
        values = pc.head_scores(model, images(model.backbone), labels(), score).values
        there = ~np.isnan(values)
        assert there.sum() == 2 * sum(model.backbone.heads) and not values[there].any()


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("base", BASES)
def test_signed_scores_sum_to_the_slope_along_the_update(family, base):
    """sum over heads of <dL/dB_h, B_h> = <dL/dB, B> = d L(t dW) / dt at t = 1, here by central differences."""
    model, step = heart(family, base=base), 1e-5
    values = pc.head_scores(model, images(model.backbone), labels(), "taylor_signed").values
    for adapted in model.tuner:
        pair, sides = adapted.pair, []
        with torch.no_grad():
            for t in (1 + step, 1 - step):
                pair.scale = t
                sides.append(loss(model).item())
        pair.scale = 1.0
        projection = ("q", "v").index(adapted.projection)
        slope = (sides[0] - sides[1]) / (2 * step)
        assert np.nansum(values[adapted.layer, projection]) == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_the_five_scores_are_their_formulas():
    model = heart("vit", base="lora")
    steps = [(images(model.backbone, seed=s), labels()) for s in (1, 2)]
    products = []
    for x, y in steps:
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        products.append(torch.stack([(a.pair.lora_B.weight.grad * a.pair.lora_B.weight).detach() for a in model.tuner]))
    model.zero_grad()
    per_head = torch.stack(products).reshape(2, 3, 2, 4, -1)  # steps, layers, projections, heads, entries
    inner = per_head.sum(-1)
    expected = {
        "taylor": inner.abs().mean(0),
        "taylor_signed": inner.mean(0),
        "taylor_abs": per_head.abs().sum(-1).mean(0),
        "taylor_squared": inner.square().mean(0),
        "energy": torch.stack([a.pair.delta().reshape(4, -1).norm(dim=1) for a in model.tuner]).reshape(3, 2, 4),
    }
    assert expected.keys() == {*SCORES}
    for score, values in expected.items():
        found = pc.head_scores(model, *zip(*steps, strict=True), score).values
        np.testing.assert_allclose(found, values.detach().numpy(), rtol=1e-5, atol=1e-8)


# The choice of heads


def a_table(heads: list[int], seed: int, score: str = "taylor") -> HeadScores:
    values = np.random.default_rng(seed).normal(size=(len(heads), 2, max(heads)))
    for layer, count in enumerate(heads):
        values[layer, :, count:] = np.nan
    return HeadScores(values, ("q", "v"), tuple(f"blocks.{i}" for i in range(len(heads))), score)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 5), st.data())
@settings(max_examples=25, deadline=None)
def test_global_and_layer_scope(seed, heads, depth, data):
    n_off = data.draw(st.integers(0, heads - 1))
    scores = a_table([heads] * depth, seed)
    by_head = scores.values.sum((0, 1))
    one = pc.make_method("heart_lora", n_off=n_off).choose_off(scores, [heads] * depth, [range(depth)])
    assert all(off == sorted(np.argsort(by_head)[:n_off].tolist()) for off in one) and len(one) == depth
    method = pc.make_method("heart_lora", n_off=n_off, scope="layer")
    for layer, off in enumerate(method.choose_off(scores, [heads] * depth, [range(depth)])):
        rows = scores.values[layer].sum(0)
        assert len(off) == n_off and (not off or max(rows[off]) <= min(np.delete(rows, off)))


def test_signed_scores_spare_the_heads_that_lower_the_loss():
    values = np.array([[[-3.0, 2.0, 0.0, -1.0]]])
    scores = HeadScores(values, ("q",), ("blocks.0",), "taylor_signed")
    assert pc.make_method("heart_lora", n_off=2).choose_off(scores, [4], [[0]]) == [[1, 2]]


def test_on_swin_a_percentage_goes_in_each_stage():
    heads, stages = [3, 3, 6, 6, 12, 24], [[0, 1], [2, 3], [4], [5]]
    method = pc.make_method("heart_lora", percent_off=50)
    scores = a_table(heads, 0)
    off = method.choose_off(scores, heads, stages)
    assert [len(o) for o in off] == list(method.counts_off(heads)) == [2, 2, 3, 3, 6, 12]
    assert off[0] == off[1] and off[2] == off[3]
    assert off[0] == sorted(np.argsort(scores.values[:2, :, :3].sum((0, 1)))[:2].tolist())
    assert pc.make_method("heart_lora", percent_off=99).counts_off([2, 12]) == (1, 11)  # one head always stays
    assert pc.make_method("heart_lora").counts_off([12]) == (5,)


def test_the_user_overrules_the_scores():
    method = pc.make_method("heart_lora", off=[[3, 1], [], [0]])
    assert method.choose_off(a_table([4] * 3, 0), [4] * 3, [range(3)]) == [[1, 3], [], [0]]
    assert method.counts_off([4] * 3) == (2, 0, 1)
    everywhere = pc.make_method("heart_lora", off=[[2]])
    assert everywhere.choose_off(a_table([4] * 3, 0), [4] * 3, [range(3)]) == [[2]] * 3


# What is left of a head


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("base", BASES)
def test_heads_that_are_off_add_exactly_nothing(family, base):
    model = heart(family, base=base)
    for adapted in model.tuner:
        pair, kept, dim = adapted.pair, adapted.pair.lora_B.weight.detach().clone(), adapted.block.head_dim
        pair.switch_off([1])
        dW = pair.delta().detach().unflatten(0, (-1, dim))  # (heads, head_dim, d)
        assert not dW[1].any() and all(dW[h].any() for h in range(adapted.block.heads) if h != 1)
        rows = torch.arange(len(kept)).reshape(-1, dim) != torch.arange(dim, 2 * dim)
        assert torch.equal(pair.lora_B.weight, kept[rows.flatten()])
        out = added(pair, torch.randn(5, adapted.site.linear.in_features, dtype=torch.float64))
        assert not out[:, dim : 2 * dim].any()
    loss(model).backward()
    assert all(p.grad.any() for p in model.trainable_parameters())  # and what is off is no parameter at all
    scores = pc.head_scores(model, images(model.backbone), labels())
    there = ~np.isnan(scores.values)
    assert not scores.values[~scores.mask & there].any() and scores.values[scores.mask & there].all()
    assert not scores.mask[:, :, 1].any() and scores.mask[:, :, 0].all()


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("base", BASES)
def test_merged_equals_unmerged_after_the_cut(family, base):
    model = heart(family, base=base)
    for adapted in model.tuner:
        adapted.pair.switch_off([0])
    batch = images(model.backbone)
    with torch.no_grad():
        assert torch.allclose(merged_logits(model, batch), model(batch), atol=1e-10)


def test_state_holds_kept_rows_and_the_mask_and_comes_back():
    model = heart("vit")
    for adapted in model.tuner:
        adapted.pair.switch_off([0, 2] if adapted.layer else [3])
    state = model.adapter_state()
    assert state["blocks.1.attn.q.lora_B.weight"].shape == (16, 4)
    assert state["blocks.1.attn.q.heads_on"].tolist() == [False, True, False, True]
    assert state["blocks.0.attn.v.lora_B.weight"].shape == (24, 4)
    other = heart("vit", size=0.1)
    other.load_adapter_state(state)
    batch = images(model.backbone)
    with torch.no_grad():
        assert torch.equal(other(batch), model(batch))
    assert all(torch.equal(t, other.adapter_state()[name]) for name, t in state.items())
    whole = heart("vit")
    other.load_adapter_state(whole.adapter_state())  # and back to all heads
    with torch.no_grad():
        assert torch.equal(other(batch), whole(batch))
    state["blocks.1.attn.q.lora_B.weight"] = state["blocks.1.attn.q.lora_B.weight"][1:]
    with pytest.raises(errors.AdapterMismatch, match="needs \\(16, 4\\)"):
        other.load_adapter_state(state)


def test_bytes_on_vit_b16():
    """Rank 32, 1 bit, 5 of 12 heads off, q and v in 12 blocks: 0.1406 MiB (1 - 5/24) of codes = 0.111 MiB."""
    backbone = pc.load_backbone("vit_base_patch16_224", pretrained=False, device="meta")
    model = pc.attach(backbone, pc.make_method("heart_lora", n_off=5), 10)
    assert packed_bytes(model.tuner) == 147_840 and model.parameter_counts()["method"] == 1_179_648
    pair = QuantisedHeadwisePair(12, 768, 768, 32, 1.0, 0.1, 1)
    pair.switch_off(range(5))
    for adapted in model.tuner:
        object.__setattr__(adapted, "pair", pair)  # every pair alike
    assert packed_bytes(model.tuner) == 116_736 + 48 * 8
    assert round(116_736 / 2**20, 3) == round(0.1406 * (1 - 5 / 24), 3) == 0.111


# Training


def test_after_the_cut_training_is_that_of_a_lora_whose_rows_are_held_at_zero():
    """Also AdamW's moments, against an oracle that keeps full matrices and zeroes what is off after every step."""
    ours, plain = heart("vit", base="lora", n_off=1), attached("vit", "lora", rank=4, alpha=4)
    plain.load_adapter_state({n: t for n, t in ours.adapter_state().items() if not n.endswith("heads_on")})
    optimizers = [torch.optim.AdamW(m.trainable_parameters(), lr=1e-2, weight_decay=0.1) for m in (ours, plain)]
    coach = ours.method.coach(ours, optimizers[0], epochs=3, per_epoch=2)
    held: dict[str, torch.Tensor] = {}
    for step in range(6):
        for model, optimizer in zip((ours, plain), optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(images(model.backbone, seed=step)), labels()).backward()
            if model is ours:
                coach.after_backward()
            for name, rows in held.items() if model is plain else ():
                model.tuner.get_parameter(name).grad[rows] = 0
            optimizer.step()
            with torch.no_grad():
                for name, rows in held.items() if model is plain else ():
                    model.tuner.get_parameter(name)[rows] = 0
        if step == 2:
            optimizers[0].zero_grad()
            off, _ = coach.cut()
            assert all(len(o) == 1 for o in off)
            for adapted in plain.tuner:
                first = off[adapted.layer][0] * 8
                held[f"{adapted.site.path}.lora_B.weight"] = slice(first, first + 8)
                with torch.no_grad():
                    adapted.pair.lora_B.weight[first : first + 8] = 0
    for mine, theirs in zip(ours.tuner, plain.tuner, strict=True):
        assert mine.pair.lora_B.weight.shape == (24, 4)
        for a, b in zip(mine.pair.weights(), theirs.pair.weights(), strict=True):
            assert torch.allclose(a, b, atol=1e-12)


def a_task(*_) -> Task:
    noise = np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3)).astype(np.uint8)
    split = Split(noise, np.arange(40) % 2)
    return Task("digits", "", "", "natural", ("a", "b"), split, split, split, "")


def finetune(monkeypatch, family="vit", resume=None, **options):
    """A run of 3 epochs of 4 steps on noise: its events and its model."""
    monkeypatch.setattr("peftcore.train.loop.load_task", a_task)
    method = {"name": "heart_lora", "rank": 4, **options}
    spec = pc.RunSpec(method=method, task="digits", pretrained=False, epochs=3, batch_size=10)
    run, events = pc.finetune(spec, resume=resume, backbone=fresh(family)), []
    while True:
        try:
            events.append(next(run))
        except StopIteration as end:
            return events, end.value


def fresh(family: str) -> pc.Backbone:
    name, architecture = FAMILIES[family]
    backbone = pc.load_backbone(name, pretrained=False, **architecture)
    for number, parameter in enumerate(backbone.module.parameters()):
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(number))
    return backbone


@pytest.mark.parametrize(
    "family, cut_at, options",
    [
        ("vit", 8, dict(warmup_epochs=2, n_off=1)),
        ("swin", 6, dict(warmup_share=0.5, percent_off=50, base="lora", scope="layer", after_cut="restart")),
        ("vit", 6, dict(warmup_share=0.5, score="energy", off=[[0], [1, 2], [3]])),
    ],
)
def test_a_run_cuts_once_and_resumes_bit_for_bit(monkeypatch, family, cut_at, options):
    events, model = finetune(monkeypatch, family, **options)
    (cut,) = [e for e in events if e.kind == "heads_cut"]
    scores = [e for e in events if e.kind == "scores"]
    assert cut.step == cut_at == scores[-1].step and len(scores) >= 2 and from_dict(cut.to_dict()) == cut
    assert cut.overruled == ("off" in options) and cut.off == options.get("off", cut.off)
    assert cut.parameters == model.parameter_counts() != events[0].parameters
    mask, state = HeadScores.from_dict(cut.scores).mask, model.adapter_state()
    for adapted in model.tuner:
        off, path = cut.off[adapted.layer], adapted.site.path
        heads, dim = adapted.block.heads, adapted.block.head_dim
        assert len(off) == model.method.counts_off(model.backbone.heads)[adapted.layer] > 0
        assert np.flatnonzero(~mask[adapted.layer, 0, :heads]).tolist() == off
        assert np.flatnonzero(~state[f"{path}.heads_on"]).tolist() == off
        assert len(state[f"{path}.lora_B.weight"]) == dim * (heads - len(off))
    for checkpoint in [e for e in events if e.kind == "checkpoint"]:  # after 4 and 8 steps
        resumed, again = finetune(monkeypatch, family, checkpoint.blob, **options)
        assert all(torch.equal(t, again.adapter_state()[name]) for name, t in state.items())
        assert [e for e in resumed if e.kind == "heads_cut"] == ([cut] if checkpoint.step < cut_at else [])
    back = pc.adapters.from_bytes(events[-1].blob, fresh(family))
    assert all(torch.equal(t, back.adapter_state()[name]) for name, t in state.items())


def test_restart_begins_again_with_the_first_weights_and_no_moments():
    model = heart("vit", size=0.0, base="bi_lora", n_off=1, after_cut="restart")
    first = model.adapter_state()
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=0.1)
    coach = model.method.coach(model, optimizer, epochs=2, per_epoch=2)
    loss(model).backward()
    coach.after_backward()
    optimizer.step()
    optimizer.zero_grad()
    assert not torch.equal(model.adapter_state()["head.weight"], first["head.weight"])
    off, _ = coach.cut()
    left = [r for r in range(32) if r // 8 not in off[0]]
    state = model.adapter_state()
    assert torch.equal(state["blocks.0.attn.q.lora_B.weight"], first["blocks.0.attn.q.lora_B.weight"][left])
    assert torch.equal(state["head.weight"], first["head.weight"]) and not optimizer.state


# Bad settings


def test_a_warmup_that_leaves_nothing_is_refused_before_the_launch():
    with pytest.raises(errors.InvalidSetting, match="fewer than 10"):
        pc.RunSpec(method={"name": "heart_lora", "warmup_epochs": 10}, epochs=10)
    assert pc.RunSpec(method={"name": "heart_lora", "warmup_epochs": 9}, epochs=10).method.cut_step(10, 7) == 63
    assert pc.make_method("heart_lora").cut_step(100, 16) == 160  # the paper's 10 of 100 epochs
    assert pc.make_method("heart_lora", warmup_share=0.9).cut_step(1, 3) == 2  # a step always follows
    with pytest.raises(errors.InvalidSetting, match="at least 2 steps"):
        pc.make_method("heart_lora").cut_step(1, 1)


@pytest.mark.parametrize(
    "family, options, sentence",
    [
        ("vit", dict(n_off=4), "choose 0 to 3"),
        ("swin", dict(n_off=2, rank=4), "choose 0 to 1, or percent_off"),
        ("vit", dict(off=[[0], [1]]), "off lists heads for 2 blocks"),
        ("vit", dict(off=[[4]]), "name heads 0 to 3"),
        ("vit", dict(off=[[-1]]), "name heads 0 to 3"),
        ("vit", dict(off=[[0, 1, 2, 3]]), "leave at least one on"),
        ("vit", dict(rank=33), "choose 1 to 32"),
    ],
)
def test_settings_that_do_not_fit(family, options, sentence):
    with pytest.raises(errors.DoesNotFit, match=sentence):
        pc.attach(toy(family), pc.make_method("heart_lora", **options), 5)


@pytest.mark.parametrize(
    "options", [dict(score="grad"), dict(percent_off=100), dict(projections=["proj"]), dict(bits=3)]
)
def test_values_out_of_range(options):
    with pytest.raises(errors.InvalidSetting, match=f"{next(iter(options))}.*must be"):
        pc.make_method("heart_lora", **options)


def test_a_state_without_the_methods_own_is_loaded_as_torch_does():
    model = pc.attach(pc.load_backbone("vit_micro", pretrained=False, depth=2), {"name": "heart_lora", "rank": 4}, 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert set(model.load_state_dict({}, strict=False).missing_keys) == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
