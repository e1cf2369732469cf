"""Adapters as files: round trips, merges that timm reads, and a clear error for every kind of damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from backbones import BOTH, images, nudge, small

import peftcore as pc
from peftcore import adapters, errors
from peftcore.adapters import packing
from peftcore.bench import xray


def model_of(family, method):
    try:
        return nudge(pc.attach(small(family), pc.make_method(method), 3)).eval()
    except errors.DoesNotFit as why:
        pytest.skip(str(why))


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("method", pc.methods())
def test_saved_and_loaded_is_the_same_model(family, method, tmp_path):
    model, x = model_of(family, method), images(small(family))
    pc.save_adapter(tmp_path / "a", model, classes=["a", "b", "c"])
    assert sorted(f.name for f in (tmp_path / "a").iterdir()) == ["adapter.json", "adapter.safetensors"]
    for loaded in (
        pc.load_adapter(tmp_path / "a"),
        pc.load_adapter(tmp_path / "a", small(family)),
        adapters.from_bytes(adapters.to_bytes(model)),
    ):
        assert torch.equal(loaded(x), model(x)) and loaded.method == model.method


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("method", pc.methods())
def test_a_merged_model_is_plain_timm_and_computes_the_same(family, method, tmp_path):
    model, backbone = model_of(family, method), small(family)
    if not model.method.card.mergeable:
        with pytest.raises(errors.CannotMerge, match="Save it as an adapter"):
            pc.merge(model)
        return
    x = images(backbone)
    torch.testing.assert_close(pc.merge(model)(x), model(x), rtol=1e-4, atol=1e-4)
    path = adapters.save_merged(model, tmp_path / "merged.safetensors")
    again = timm.create_model(backbone.name, num_classes=3, checkpoint_path=str(path), **dict(backbone.options)).eval()
    torch.testing.assert_close(again(x), model(x), rtol=1e-4, atol=1e-4)


def test_another_backbone_is_a_clear_error(tmp_path):
    pc.save_adapter(tmp_path, model_of("vit", "lora"))
    other = pc.load_backbone(small("vit").name, pretrained=False, seed=5, **dict(small("vit").options))
    with pytest.raises(errors.AdapterMismatch, match="fingerprint"):
        pc.load_adapter(tmp_path, other)
    with pytest.raises(errors.AdapterMismatch, match="images of 32 x 48 pixels in 3 channels, and the swin_tiny"):
        pc.load_adapter(tmp_path, small("swin"))


def _edit(folder, **changes):
    about = json.loads((folder / "adapter.json").read_text())
    (folder / "adapter.json").write_text(json.dumps(about | changes))


@pytest.mark.parametrize(
    "damage, words",
    [
        (
            lambda d: (d / "adapter.safetensors").write_bytes((d / "adapter.safetensors").read_bytes()[:-9]),
            "truncated or altered",
        ),
        (lambda d: (d / "adapter.safetensors").write_bytes(b"\x80\x04pickle"), "truncated or altered"),
        (lambda d: (d / "adapter.safetensors").unlink(), "has no adapter.safetensors"),
        (lambda d: (d / "adapter.json").unlink(), "has no adapter.json"),
        (lambda d: (d / "adapter.json").write_text("{"), "cannot be read"),
        (lambda d: _edit(d, format=99), "newer Headroom"),
        (lambda d: _edit(d, format=None), "names no format"),
        (lambda d: (d / "adapter.json").write_text("[" * 100_000), "cannot be read"),
        (lambda d: _edit(d, num_classes=10**12), "damaged"),
        (lambda d: _edit(d, num_classes=None), "damaged"),
        (lambda d: _edit(d, method=None), "damaged"),
        (lambda d: _edit(d, method="lora"), "damaged"),
        (lambda d: _edit(d, method={"name": ["lora"]}), "damaged"),
        (lambda d: _edit(d, spec="x"), "damaged"),
        (lambda d: _edit(d, backbone={"name": "x", "fingerprint": None, "input_size": 64}), "damaged"),
        (lambda d: _edit(d, method={"rank": 8}), "incomplete"),
        (lambda d: _edit(d, backbone={"name": "x", "fingerprint": "y"}), "incomplete"),
    ],
)
def test_damage_is_named(tmp_path, damage, words):
    pc.save_adapter(tmp_path, model_of("vit", "lora"))
    damage(tmp_path)
    with pytest.raises(errors.BadAdapter, match=words):
        pc.load_adapter(tmp_path, small("vit"))


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about["backbone"].update(options={"device": "meta"}),
        lambda about: about["backbone"].update(options={"checkpoint_path": "x"}),
        lambda about: about["backbone"].update(options={"pretrained_cfg_overlay": {"file": "x"}}),
        lambda about: about["backbone"].update(options=[]),
        lambda about: about.update(num_classes=10**12),
    ],
)
def test_a_description_that_no_backbone_follows_from_is_damaged(change):
    """Where none is given, what a file says is taken for arguments of `load_backbone`: those of its architecture."""
    tensors, about = packing.unpack(
        adapters.to_bytes(pc.attach(pc.load_backbone("vit_micro"), pc.make_method("lora"), 3))
    )
    change(about)
    for read in (adapters.from_bytes, xray.from_bytes):
        with pytest.raises(errors.BadAdapter, match="damaged"):
            read(packing.pack(tensors, about))
    with pytest.raises(errors.BadAdapter, match="damaged"):
        adapters.from_bytes(packing.pack(tensors, about | {"spec": {"weights": 5}}))


@pytest.mark.parametrize("name", ["model", "model.pth", "model.v2", "model.safetensors"])
def test_a_merged_file_has_the_suffix_by_which_timm_reads_it(tmp_path, name):
    path = pc.save_merged(model_of("vit", "lora"), tmp_path / name)
    assert path.name == f"{name.removesuffix('.safetensors')}.safetensors" and list(tmp_path.iterdir()) == [path]


def test_classes_are_one_name_for_each_output(tmp_path):
    model = model_of("vit", "linear")
    pc.save_adapter(tmp_path, model, classes=np.array(["a", "b", "c"]))
    assert json.loads((tmp_path / "adapter.json").read_text())["classes"] == ["a", "b", "c"]
    for wrong in (["a", "b"], [], "abc"):
        with pytest.raises(errors.InvalidSetting, match="classifier needs a list of 3"):
            pc.save_adapter(tmp_path, model, classes=wrong)


@pytest.mark.parametrize("save", [pc.save_adapter, lambda folder, model: pc.save_merged(model, folder / "m")])
def test_what_is_not_written_to_its_end_leaves_the_older_file(tmp_path, monkeypatch, save):
    """The disk is full at the last of the files."""
    save(tmp_path, model_of("vit", "lora"))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    written = []

    def fills_the_disk(path, content):
        written.append(path)
        if len(written) == len(before):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fills_the_disk)
    monkeypatch.setattr("safetensors.torch.save_file", lambda state, path: fills_the_disk(path, state))
    with pytest.raises(errors.BadAdapter, match="No space left"):
        save(tmp_path, model_of("vit", "bi_lora"))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_state_of_another_model_changes_nothing():
    model = model_of("vit", "lora")
    before = model.adapter_state()
    for wrong in ({}, {**before, "x": torch.zeros(1)}, {n: t[..., :1] for n, t in before.items()}):
        with pytest.raises(errors.AdapterMismatch):
            model.load_adapter_state(wrong)
    assert all(torch.equal(t, before[n]) for n, t in model.adapter_state().items())


def test_numbers_of_a_petl_vit_file_are_refused_for_other_adapters(tmp_path):
    with pytest.raises(errors.InvalidSetting, match="scale is a number of PETL-ViT"):
        pc.load_adapter(tmp_path, small("vit"), scale=7.0)
