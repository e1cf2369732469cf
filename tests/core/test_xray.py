"""X-ray of an adapter: spectra from small factors are those of dW; every kind of file is read or refused by name."""

from __future__ import annotations

import json
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_peft_folders import EXACT, FAMILIES, backbone, nudge, reloaded, trained
from typer.testing import CliRunner
from xray_files import hf_adapter

import peftcore as pc
from peftcore import errors
from peftcore.adapters import from_bytes, packing, to_bytes
from peftcore.bench import xray
from peftcore.bench._commands import app
from peftcore.bench._spectra import cosine, decompose, effective_rank, overlap

# Numbers


def pair(rank, d_in, d_out, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rank, d_in)), rng.normal(size=(d_out, rank))


@pytest.mark.parametrize("rank, d_in, d_out", [(1, 5, 7), (4, 32, 16), (8, 128, 384), (16, 8, 12), (32, 96, 96)])
def test_singular_values_are_torchs(rank, d_in, d_out):
    """Of the full dW; a rank above the widths too."""
    A, B = pair(rank, d_in, d_out, rank)
    found = decompose(A, B)
    exact = torch.linalg.svd(torch.from_numpy(B @ A)).S.numpy()
    count = len(found.values)
    np.testing.assert_allclose(found.values, exact[:count], rtol=1e-10)
    assert count <= min(rank, d_in, d_out) and np.allclose(exact[count:], 0, atol=1e-9)
    np.testing.assert_allclose(found.left @ np.diag(found.values) @ found.right.T, B @ A, atol=1e-10)
    for basis in (found.left, found.right):
        np.testing.assert_allclose(basis.T @ basis, np.eye(count), atol=1e-10)
    assert np.linalg.norm(found.values) == pytest.approx(np.linalg.norm(B @ A))


def test_an_update_of_zero_has_no_rank():
    A, B = pair(4, 16, 16)
    assert not decompose(A, 0 * B).values.any() and effective_rank(decompose(A, 0 * B).values) == 0


def test_halves_of_two_adapters_are_not_multiplied():
    with pytest.raises(errors.BadData, match=r"\(4, 8\) and \(8, 3\)"):
        decompose(np.ones((4, 8)), np.ones((8, 3)))


def test_what_is_not_finite_is_a_sentence():
    A, B = pair(4, 8, 8)
    with pytest.raises(errors.BadData, match="finite numbers"):
        decompose(A, B * np.inf)


@pytest.mark.parametrize("values, rank", [([1, 0, 0], 1), ([2, 2, 2, 2], 4), ([3, 3, 0], 2), ([], 0)])
def test_effective_rank_counts_equal_directions(values, rank):
    assert effective_rank(np.array(values)) == pytest.approx(rank)


def test_effective_rank_is_between_one_and_the_rank_and_knows_no_size():
    values = decompose(*pair(8, 64, 64)).values
    assert 1 < effective_rank(values) < 8 and effective_rank(values) == pytest.approx(effective_rank(9 * values))


def test_overlap_of_the_same_of_other_and_of_random_spaces():
    basis = np.eye(64)
    assert overlap(basis[:, :8], basis[:, :8], 8) == 1 and overlap(basis[:, :8], basis[:, 8:16], 8) == 0
    turned = basis[:, :8] @ np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    assert overlap(basis[:, :8], turned, 8) == pytest.approx(1)
    random = [overlap(*(decompose(*pair(4, 64, 64, seed)).left for seed in (n, n + 500)), 4) for n in range(200)]
    assert np.mean(random) == pytest.approx(4 / 64, rel=0.15)
    assert np.isnan(overlap(basis[:, :2], basis[:, :8], 4))


def test_cosine_is_that_of_the_full_updates():
    (A, B), (C, D) = pair(4, 24, 40, 1), pair(6, 24, 40, 2)
    one, two = B @ A, D @ C
    found, other = decompose(A, B), decompose(C, D)
    assert cosine(found, other) == pytest.approx((one * two).sum() / np.linalg.norm(one) / np.linalg.norm(two))
    assert cosine(found, decompose(A, -2 * B)) == pytest.approx(-1) and cosine(decompose(A, 0 * B), other) == 0


# Files

REFUSED = {"dora": "use_dora", "dora_ranks": "use_dora", "pissa": "pissa", "olora": "olora", "saved_mlp": "use_dora",
           "pissa_rslora": "pissa", "pissa_ranks": "pissa", "pissa_saved_norm": "pissa", "olora_mlp": "olora",
           "target_parameters": "target_parameters"}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", sorted(EXACT))
def test_a_peft_folder_is_right_or_refused_by_name(family, name, tmp_path):
    """Norms of dW by layer against what PEFT itself would add to the weights."""
    trained(family, tmp_path, **dict(EXACT[name]))
    if name in REFUSED:
        with pytest.raises(errors.BadAdapter, match=REFUSED[name]):
            xray.read(tmp_path)
        return
    found = xray.read(tmp_path, heads=None)
    norms = {update.path: 0.0 for update in found.updates}
    for update in found.updates:
        norms[update.path] += update.norm**2
    deltas = {
        path.removeprefix("base_model.model."): module.get_delta_weight("default").norm().item()
        for path, module in reloaded(family, tmp_path).named_modules()
        if hasattr(module, "get_delta_weight")
    }
    assert norms.keys() == deltas.keys()
    for path, norm in norms.items():
        assert norm**0.5 == pytest.approx(deltas[path], rel=1e-4), path
    used = len(found.others) - 2  # the classifier
    assert used >= 0 and ("bias" not in name or used > 0 or name == "bias_lora_only")


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_of_a_named_model_are_those_of_head_energy(family, tmp_path):
    trained(family, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": FAMILIES[family]}))
    found = xray.read(tmp_path)
    np.testing.assert_array_equal(found.scores.values, pc.head_energy(tmp_path, FAMILIES[family]).values)
    assert found.guessed is None and found.facts["backbone"] == FAMILIES[family]
    # Each layer's norm over q, k and v is that of its heads.
    of_heads = np.sqrt(np.nansum(found.scores.values**2, axis=2))
    np.testing.assert_allclose(found.table("norm"), of_heads, rtol=1e-5)


def test_an_adapter_of_transformers_vit(tmp_path):
    tensors = hf_adapter(tmp_path)
    found = xray.read(tmp_path)
    assert found.projections == ("q", "v", "proj", "fc1", "fc2") and found.facts["trained for"] == "10 classes"
    assert found.layers == tuple(f"vit.encoder.layer.{n}" for n in range(3)) and found.guessed == 2
    assert found.scores.values.shape == (3, 2, 2)
    path = "base_model.model.vit.encoder.layer.1.intermediate.dense"
    dW = 2 * tensors[f"{path}.lora_B.weight"] @ tensors[f"{path}.lora_A.weight"]
    assert found.at(1, "fc1").norm == pytest.approx(dW.norm().item(), rel=1e-5)
    assert xray.read(tmp_path, heads=8).scores.values.shape == (3, 2, 8)


def test_several_adapters_in_one_folder_are_named(tmp_path):
    hf_adapter(tmp_path / "cats")
    hf_adapter(tmp_path / "dogs")
    with pytest.raises(errors.BadAdapter, match=r"folders of adapters \(cats, dogs\)"):
        xray.read(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "bi_lora", "heart_lora", "serial_lora"])
def test_what_headroom_saved_needs_no_weights(family, method, tmp_path, monkeypatch):
    model = nudge(pc.attach(backbone(family), method, 5, verify=False)).eval()
    pc.save_adapter(tmp_path, model)
    exact = {path: (B @ A).norm().item() for path, (A, B) in model.method.as_lora(model).items()}
    if method != "serial_lora":  # whose dW is W B A
        monkeypatch.setattr("peftcore.adapters.load.load_backbone", None)
    for found in (xray.read(tmp_path), xray.read(tmp_path / "adapter.json"), xray.from_bytes(to_bytes(model))):
        norms = dict.fromkeys(exact, 0.0)
        for update in found.updates:
            norms[update.path] += update.norm**2
        for path, norm in norms.items():
            assert norm**0.5 == pytest.approx(exact[path], rel=1e-4)
        if method == "serial_lora":
            assert found.scores is None and "Head scores need" in found.no_scores
        else:
            np.testing.assert_allclose(found.scores.values, pc.head_energy(model).values, rtol=1e-5)
            assert found.projections == ("q", "v") and found.writer == "Headroom"


def test_a_method_without_low_rank_updates_is_refused_by_name(tmp_path):
    pc.save_adapter(tmp_path, pc.attach(backbone("vit"), "ssf", 5, verify=False))
    with pytest.raises(errors.NotMeasurable, match="This is a SSF adapter"):
        xray.read(tmp_path)


def test_no_pickle_is_opened(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "cifar-bit1-dim32.bin")
    (tmp_path / "other.bin").write_bytes(pickle.dumps({"a": 1}))
    torch.save({"a": torch.ones(2)}, tmp_path / "model.pt")
    for name in ("cifar-bit1-dim32.bin", "other.bin", "model.pt"):
        with pytest.raises(errors.BadAdapter, match="is a pickle.*save_file"):
            xray.read(tmp_path / name)


@pytest.mark.parametrize("blob", [b"", b"\0" * 100, b"{}"])
def test_a_damaged_file_is_a_sentence(blob, tmp_path):
    for name in ("adapter.safetensors", "cifar-bit1-dim32.bin", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes(blob)
        with pytest.raises(errors.HeadroomError):
            xray.read(tmp_path / name)


def test_the_command(tmp_path):
    hf_adapter(tmp_path)
    done = CliRunner().invoke(app, ["xray", str(tmp_path), "--json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and len(told["updates"]) == 15 and len(told["updates"][0]["singular values"]) == 4
    table = CliRunner().invoke(app, ["xray", str(tmp_path)]).stdout
    assert re.search(r"effective", table)


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64, "nan"])
def test_weights_that_are_not_finite_floats_are_refused_by_every_reader(kind, tmp_path):
    def spoilt(tensors):
        name = next(name for name in tensors if "lora_B" in name)
        return tensors | {name: tensors[name] * float("nan") if kind == "nan" else tensors[name].to(kind)}

    tensors = hf_adapter(tmp_path)
    save_file(spoilt(tensors), tmp_path / "adapter_model.safetensors")
    model = pc.attach(pc.load_backbone("vit_micro"), {"name": "lora", "rank": 4}, 5, verify=False)
    own, about = packing.unpack(to_bytes(model))
    blob = packing.pack(spoilt(own), about)
    for reads in (
        lambda: xray.read(tmp_path), lambda: pc.load_adapter(tmp_path, pc.load_backbone("vit_micro")),
        lambda: xray.from_bytes(blob), lambda: from_bytes(blob),
    ):  # fmt: skip
        with pytest.raises((errors.BadAdapter, errors.AdapterMismatch), match="finite numbers|needs .* torch.float32"):
            reads()
