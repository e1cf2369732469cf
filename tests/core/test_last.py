"""LAST: its laws, on ViT and on Swin, and the paper's recursion as a second derivation."""

from __future__ import annotations

import math

import pytest
import torch
from against import lean_backward
from backbones import BOTH, images, nudge, small
from hypothesis import given, settings
from hypothesis import strategies as st

import peftcore as pc
from peftcore import errors
from peftcore.bench._measure import measure_step
from peftcore.methods import last

LAST = pc.make_method("last").__class__


def test_parameter_count_of_the_paper():
    backbone = pc.load_backbone("vit_base_patch16_224", pretrained=False, device="meta")
    assert pc.attach(backbone, LAST(), 100).parameter_counts() == {
        "backbone": 85_798_656,
        "method": 617_472,
        "head": 76_900,
    }


@settings(max_examples=20, deadline=None)
@given(
    family=st.sampled_from(BOTH),
    gap=st.integers(1, 3),
    stack=st.integers(1, 3),
    rank=st.sampled_from([1, 4, 8]),
    heads=st.sampled_from([1, 2]),
    n=st.integers(1, 2),
    qk_norm=st.booleans(),
    dropout=st.sampled_from([0, 0.5]),
)
def test_at_the_start_the_logits_are_a_linear_probes_to_the_bit(family, gap, stack, rank, heads, n, qk_norm, dropout):
    if rank % heads:
        return
    backbone = small(family)
    method = LAST(rank=rank, gap=gap, stack=stack, heads=heads, qk_norm=qk_norm, dropout=dropout)
    model = pc.attach(backbone, method, 3, verify=False)
    probe = pc.attach(backbone, pc.make_method("linear"), 3).eval()
    x = images(backbone, n)
    assert torch.equal(model.train()(x), probe(x))
    assert torch.equal(model.eval()(x), probe(x))
    assert sum(p.numel() for p in model.tuner.parameters()) == sum(
        stack * (4 * backbone.blocks[e].width * rank + 3 * backbone.blocks[e].width)
        for ends in model.tuner.groups
        for e in ends
    )


@pytest.mark.parametrize("correct, qk_norm", [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("gap, stack", [(1, 1), (2, 2), (3, 1)])
def test_equals_the_recursion_of_the_paper(gap, stack, correct, qk_norm):
    """u_0 = z_0, u_i = F_i(u_{i-1} + z_i), y = u_m - sum_{i<m} z_i, written as printed, in float64."""
    backbone = small("vit")
    method = LAST(rank=4, gap=gap, stack=stack, bias_correction=correct, qk_norm=qk_norm)
    model = nudge(pc.attach(backbone, method, 3), 0.2).double().eval()
    x = images(backbone).double()
    z = model.features(x)
    u = z[0]
    for i, modules in enumerate(model.tuner.side, start=1):
        u = u + z[i]
        for m in modules:
            n = torch.nn.functional.layer_norm(u, u.shape[-1:], m.norm.weight, m.norm.bias)
            q, k, v = n @ m.q.weight.T, n @ m.k.weight.T, n @ m.v.weight.T
            if qk_norm:  # to length sqrt(r) = 2
                q, k = (2 * x / x.square().sum(-1, keepdim=True).sqrt() for x in (q, k))
            u = u + (q @ k.mT / 4**0.5).softmax(-1) @ v @ m.up.weight.T + m.up.bias
    y = u - sum(z[:-1]) if correct else u
    expected = model.head(backbone.clone().module.double().forward_head(_norm(model, y), pre_logits=True))
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)


def _norm(model, y):
    return model.trunk.norm(y)


@pytest.mark.parametrize("family", BOTH)
def test_nothing_of_the_backbone_is_kept_or_trained(family):
    backbone, x = small(family), images(small(family))
    model = nudge(pc.attach(backbone, LAST(gap=1), 3))
    features = model.features(x)
    assert not any(f.requires_grad for f in features)
    assert len(features) == len(model.tuner.taps)
    model.from_features(features).sum().backward()
    assert all(p.grad is None for p in backbone.module.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.trainable_parameters())
    assert model.train().trunk.training is False


@pytest.mark.parametrize("family", BOTH)
def test_cached_features_give_the_same_logits(family):
    backbone, x = small(family), images(small(family), 4)
    model = nudge(pc.attach(backbone, LAST(), 3)).eval()
    assert torch.equal(model.from_features(model.features(x)), model(x))


def test_without_correction_y_carries_the_sum_of_all_z():
    backbone, x = small("vit"), images(small("vit"))
    model = pc.attach(backbone, LAST(gap=2, bias_correction=False), 3).eval()
    assert torch.equal(model(x), model.head(backbone.finish(_running_sum(model.features(x)))))


def _running_sum(z):
    total = z[0]
    for more in z[1:]:
        total = total + more
    return total


def test_names():
    state = pc.attach(small("vit"), LAST(gap=2, stack=2, rank=4), 3).adapter_state()
    assert {n for n in state if n.startswith("side.2.1.")} == {
        f"side.2.1.{n}"
        for n in ("norm.weight", "norm.bias", "q.weight", "k.weight", "v.weight", "up.weight", "up.bias")
    }
    assert state["side.0.0.q.weight"].shape == (4, 32) and state["side.0.0.up.weight"].shape == (32, 4)
    assert not any(n.startswith("side.3") for n in state)  # depth 5, gap 2: groups of 2, 2, 1


@pytest.mark.parametrize("bad, words", [(dict(rank=64), "1 to 32"), (dict(gap=9), "1 to 5")])
def test_impossible_settings_name_the_range(bad, words):
    with pytest.raises(errors.DoesNotFit, match=words):
        pc.attach(small("vit"), LAST(**bad), 3)


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("gap, stack", [(1, 2), (2, 1), (3, 3)])
@pytest.mark.parametrize("more", [{}, {"qk_norm": True}, {"qk_norm": True, "heads": 2}], ids=str)
def test_gradients_of_the_lean_backward_are_autograds(family, gap, stack, more):
    errors_by_part = lean_backward(family, torch.float64, gap, stack, **more)
    assert max(errors_by_part.values()) < 1e-12, errors_by_part


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("heads", [1, 2])
def test_with_qk_norm_no_weights_make_the_attention_one_hot(family, heads):
    """Logits within +-sqrt(r / h): two weights of a row differ by a factor of at most exp(2 sqrt(r / h)), however large
    A_q and A_k, where q and k of the plain equation put a whole row on one token."""
    largest = {}
    for qk_norm in (True, False):
        model = nudge(pc.attach(small(family), LAST(rank=8, heads=heads, qk_norm=qk_norm), 3), 100.0)
        maps = pc.side_attention(model, images(model.backbone))
        largest[qk_norm] = max(float((m.amax(-1) / m.amin(-1)).max()) for m in maps)
    assert largest[True] <= math.exp(2 * (8 / heads) ** 0.5) < largest[False]


@pytest.mark.parametrize("heads", [1, 4])
def test_the_ledger_predicts_qk_norm(heads):
    method = {"name": "last", "rank": 8, "heads": heads, "qk_norm": True}
    spec = pc.RunSpec(backbone="vit_micro", method=method, batch_size=8, pretrained=False, cache_features=False)
    model = pc.attach(pc.load_backbone("vit_micro", pretrained=False), method, 10).train()
    optimizer = torch.optim.AdamW(model.trainable_parameters())
    batch, labels = images(model.backbone, 8), torch.arange(8)
    measure_step(model, batch, labels, optimizer)  # the first step makes AdamW's moments
    found, predicted = measure_step(model, batch, labels, optimizer), pc.predict_memory(spec, num_classes=10)
    assert found.peak == pytest.approx(predicted.peak, rel=1e-3)
    assert found.components == pytest.approx(predicted.components, rel=1e-3)


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("crowd", [0, last.CROWD])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_networks_abreast_are_what_each_is_alone(family, shared, crowd, qk_norm, monkeypatch):
    """Pooled features and gradients of K networks in one call, on shared features or one set each; and in K calls."""
    monkeypatch.setattr(last, "CROWD", crowd)
    backbone = small(family)
    method = LAST(rank=4, heads=2, gap=2, qk_norm=qk_norm)
    models = [nudge(pc.attach(backbone, method, 3, seed=k), 0.3, seed=k) for k in range(3)]
    features = [m.features(images(backbone, 2, seed=0 if shared else k)) for k, m in enumerate(models)]
    together = tuple(z[0][None] if shared else torch.stack(z) for z in zip(*features, strict=True))
    pooled = models[0].tuner.abreast([m.tuner for m in models], together)
    (pooled.square().sum()).backward()
    for k, model in enumerate(models):
        found = [p.grad.clone() for p in model.tuner.parameters()]
        model.zero_grad()
        alone = model.tuner(features[k])
        assert torch.equal(pooled[k], alone)
        alone.square().sum().backward()
        for a, p in zip(found, model.tuner.parameters(), strict=True):
            assert (a - p.grad).norm() <= 1e-6 * p.grad.norm()


def test_a_step_keeps_little_beside_the_features():
    """Kept for backward: per module what enters and leaves its attention, (B, N, 4r) and two numbers per token, its
    folded weights, and the final norm's input; with plain autograd three times that."""
    backbone, x = small("vit"), images(small("vit"), 8)
    kept = {}
    for dropout in (0.0, 1e-12):
        model = pc.attach(backbone, LAST(rank=4, gap=1, dropout=dropout), 3).train()
        report = measure_step(model, x, torch.arange(8) % 3, torch.optim.AdamW(model.trainable_parameters()))
        kept[dropout] = report.kept
    tokens, width, rank, modules = 8 * 25, 32, 4, 10
    low_rank = modules * tokens * (4 * rank + 2)
    folded = 3 * modules * 3 * rank * width
    assert kept[0.0] <= 4 * (low_rank + folded + 3 * tokens * width)
    assert kept[1e-12] > 3 * kept[0.0]


def test_dropout_acts_only_in_training():
    backbone, x = small("vit"), images(small("vit"))
    model = nudge(pc.attach(backbone, LAST(dropout=0.5), 3), 0.3)
    assert torch.equal(model.eval()(x), model(x))
    assert not torch.equal(model.train()(x), model(x))
