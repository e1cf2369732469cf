"""Bi-LoRA: the published codes, the straight-through gradient, the stored bytes, and the released adapters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import petl_vit_writing
import pytest
import torch
from against import written_again
from hypothesis import given, settings
from hypothesis import strategies as st
from low_rank_toys import added, attached, images, merged_logits, toy
from petl_vit_writing import packed_bytes

import peftcore as pc
from peftcore import errors
from peftcore.fetch import petl_vit
from peftcore.methods.bi_lora import codebook, quantise

RELEASED = sorted((Path(__file__).parents[3] / "shared/data/petl-vit-bi-lora").glob("*.bin"))
bits_of_codes = st.sampled_from([1, 2, 4, 8])


def a_weight(seed: int, rows: int = 24, columns: int = 16) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.02 + 0.003


def test_codes_are_the_published_ones():
    assert codebook(1)[0] == pytest.approx((-0.67449, 0.67449), abs=5e-6)
    assert codebook(2)[0] == pytest.approx((-1.26572, -0.377754, 0.377754, 1.26572), abs=5e-6)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_level_is_the_normal_median_of_its_bin(bits):
    levels, thresholds = (torch.tensor(c, dtype=torch.float64) for c in codebook(bits))
    edges = torch.special.ndtr(torch.tensor([-torch.inf, *thresholds, torch.inf], dtype=torch.float64))
    below = torch.special.ndtr(levels) - edges[:-1]
    assert torch.allclose(below, edges.diff() / 2, atol=1e-6)
    assert torch.allclose(thresholds, (levels[1:] + levels[:-1]) / 2)


@given(st.integers(0, 10**6), bits_of_codes)
@settings(max_examples=20, deadline=None)
def test_quantise_takes_the_nearest_code(seed, bits):
    weight = a_weight(seed).double()
    mean, std = weight.numpy().mean(), weight.numpy().std(ddof=1)  # NumPy as oracle
    codes = np.array(codebook(bits)[0])
    nearest = codes[np.abs((weight.numpy()[..., None] - mean) / (std + 1e-5) - codes).argmin(-1)]
    np.testing.assert_allclose(quantise(weight, bits).numpy(), nearest * std + mean, atol=1e-12)


@given(st.integers(0, 10**6), bits_of_codes)
@settings(max_examples=10, deadline=None)
def test_gradient_is_straight_through_with_mean_and_std_in_the_graph(seed, bits):
    """The gradient is autograd's of the same formula with Q(x) = x + constant, whose derivative is one."""
    weight = a_weight(seed, 6, 5).double().requires_grad_()
    g = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    (grad,) = torch.autograd.grad((quantise(weight, bits) * g).sum(), weight)
    x = (weight - weight.mean()) / (weight.std() + 1e-5)
    offset = ((quantise(weight, bits) - weight.mean()) / weight.std() - x).detach()
    (expected,) = torch.autograd.grad((((x + offset) * weight.std() + weight.mean()) * g).sum(), weight)
    assert torch.allclose(grad, expected, atol=1e-10)
    assert not torch.allclose(grad, g)  # not the identity: mean and std carry gradient


def test_a_constant_weight_has_no_nan():
    weight = torch.zeros(4, 3, requires_grad=True)
    used = quantise(weight, 1)
    used.sum().backward()
    assert torch.equal(used, torch.zeros(4, 3)) and torch.isfinite(weight.grad).all()


def test_start_is_the_authors():
    model = pc.attach(toy("vit"), pc.make_method("bi_lora"), 5, verify=False)
    pair = next(iter(model.tuner)).pair
    B = pair.lora_B.weight
    assert 0 < B.abs().max() <= 0.002 and 0.0005 < B.std() < 0.001  # a normal of 0.001 cut at two deviations
    assert pair.lora_A.weight.abs().max() <= 32**-0.5  # PyTorch's Linear default: uniform within 1 / sqrt(d)
    whole = pc.attach(toy("vit"), pc.make_method("bi_lora", bits=32), 5, verify=False)
    assert not next(iter(whole.tuner)).pair.lora_B.weight.any()


def test_dropout_acts_on_the_low_rank_vector():
    """With every low-rank entry dropped the delta is zero; with rank 1 it is all or nothing per token."""
    model = attached("vit", "bi_lora", rank=1, dropout=0.5)
    pair = next(iter(model.tuner)).pair.train()
    x = torch.randn(200, 32, dtype=torch.float64)
    delta, kept = added(pair, x), added(pair.eval(), x)
    dropped = (delta == 0).all(1)
    assert 40 < dropped.sum() < 160 and torch.allclose(delta[~dropped], 2 * kept[~dropped])


@pytest.mark.parametrize("family", ["vit", "swin"])
@pytest.mark.parametrize("bits", [1, 2, 32])
def test_merged_equals_unmerged(family, bits):
    model = attached(family, "bi_lora", rank=4, bits=bits, projections=("q", "v", "proj", "fc1"))
    batch = images(model.backbone)
    with torch.no_grad():
        assert torch.allclose(merged_logits(model, batch), model(batch), atol=1e-10)
        plain = model.head(toy(family).pooled(batch))
    assert not torch.allclose(model(batch), plain, atol=1e-3)


def test_counts_and_bytes_on_vit_b16():
    backbone = pc.load_backbone("vit_base_patch16_224", pretrained=False, device="meta")
    model = pc.attach(backbone, pc.make_method("bi_lora"), 10)
    assert model.parameter_counts()["method"] == 1_179_648
    assert packed_bytes(model.tuner) == 147_840 == 147_456 + 48 * 8
    two = pc.attach(backbone, pc.make_method("bi_lora", bits=2), 10)
    assert packed_bytes(two.tuner) == 2 * 147_456 + 48 * 8
    whole = pc.attach(backbone, pc.make_method("bi_lora", bits=32), 10)
    assert packed_bytes(whole.tuner) == 4 * 1_179_648


def test_memory_is_predicted_without_weights():
    """Nothing in the forward depends on values, so it also runs on tensors without data."""
    codebook.cache_clear()
    small = dict(backbone="vit_tiny_patch16_224", batch_size=2)
    bi = pc.predict_memory(pc.RunSpec(method={"name": "bi_lora", "rank": 8}, **small))
    lora = pc.predict_memory(pc.RunSpec(method={"name": "lora", "rank": 8}, **small))
    assert bi.components["trainable_weights"] == lora.components["trainable_weights"] and bi.peak > lora.peak


@pytest.mark.parametrize("bits", [3, 0, 16])
def test_other_bits_are_refused_in_a_sentence(bits):
    with pytest.raises(errors.InvalidSetting, match="bits.*1, 2, 4, 8 or 32"):
        pc.make_method("bi_lora", bits=bits)


def test_rank_above_the_width_is_refused():
    with pytest.raises(errors.DoesNotFit, match="choose 1 to 32"):
        pc.attach(toy("vit"), pc.make_method("bi_lora", rank=33), 5)


# the stored layout


@given(st.integers(0, 10**6), bits_of_codes, st.integers(2, 9), st.integers(2, 9))
@settings(max_examples=30, deadline=None)
def test_a_stored_matrix_comes_back(seed, bits, rows, columns):
    weight = a_weight(seed, rows, columns)
    packed = petl_vit_writing.packed(weight, bits)
    blob = petl_vit_writing.matrix_bytes(packed)
    back = petl_vit.Packed.from_bytes(blob + b"more", (rows, columns), bits)
    assert len(blob) == -(-rows * columns * bits // 8) + 8
    assert torch.equal(back.weight(), quantise(weight, bits)) and petl_vit_writing.matrix_bytes(back) == blob


def test_the_first_weight_is_in_the_lowest_bit():
    """A byte made by hand: weights 0 and 2 of eight are above the mean."""
    blob = bytes([0b00000101]) + np.array([0.5, 2.0], "<f4").tobytes()
    weight = petl_vit.Packed.from_bytes(blob, (2, 4), 1).weight()
    high, low = 0.5 + 2 * 0.67449, 0.5 - 2 * 0.67449
    assert torch.allclose(weight, torch.tensor([[high, low, high, low], [low, low, low, low]]), atol=1e-4)
    two = petl_vit.Packed.from_bytes(bytes([0b11100100]) + np.array([0, 1], "<f4").tobytes(), (1, 4), 2).weight()
    assert torch.allclose(two, torch.tensor([codebook(2)[0]]), atol=1e-5)


@given(st.integers(0, 10**6), bits_of_codes)
@settings(max_examples=10, deadline=None)
def test_stored_codes_become_weights_that_quantise_to_them(seed, bits):
    packed = petl_vit_writing.packed(a_weight(seed), bits)
    assert torch.allclose(quantise(packed.trainable(), bits), packed.weight(), rtol=1e-5, atol=1e-7)


def test_a_model_of_ours_leaves_and_comes_back(tmp_path):
    backbone = toy("vit", torch.float32)
    model = attached("vit", "bi_lora", dtype=torch.float32, rank=4, scale=10)
    file = tmp_path / "svhn-bit1-dim4.bin"
    file.write_bytes(petl_vit_writing.model_bytes(model))
    assert file.stat().st_size == packed_bytes(model.tuner) + 4 * (5 * 32 + 5)
    back = petl_vit.load(file, backbone)
    assert back.method == model.method
    batch = images(backbone).double()
    with torch.no_grad():
        assert torch.allclose(back.double().eval()(batch), model.double()(batch), atol=1e-4)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(errors.BadAdapter, match="damaged, or of another model"):
        petl_vit.read(file, depth=3, width=32)
    with pytest.raises(errors.InvalidSetting, match="scale=..."):
        petl_vit.read(tmp_path / "mine-bit1-dim4.bin")


@pytest.mark.skipif(not RELEASED, reason="the released adapters are not on this machine")
def test_released_files_decode_and_encode_to_the_same_bytes():
    assert {petl_vit.read(f).task for f in RELEASED} == set(petl_vit.SCALES)
    assert written_again(RELEASED) == 0
    for file in RELEASED[:4]:
        adapter = petl_vit.read(file)
        assert len(adapter.matrices) == 48 and adapter.head_weight.shape == (len(adapter.head_bias), 768)
        state = adapter.state()
        for name, matrix in list(adapter.matrices.items())[:8]:
            weight = matrix.weight()
            assert torch.allclose(quantise(state[name], 1), weight, rtol=1e-5, atol=1e-8)
            assert weight.unique().numel() == 2
