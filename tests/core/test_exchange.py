"""Exchange: Hugging Face PEFT folders both ways, PETL-ViT's released files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import petl_vit_writing
import pytest
import torch
from backbones import BOTH, images, nudge, small
from safetensors.torch import save_file

import peftcore as pc
from peftcore import errors
from peftcore.adapters.merged import plain_copy

RELEASED = Path(__file__).resolve().parents[3] / "shared" / "data" / "petl-vit-bi-lora"
EXPORTABLE = [
    {"name": "lora", "rank": 3, "projections": ("q", "v", "proj", "fc1")},
    {"name": "serial_lora", "rank": 3},
    {"name": "bi_lora", "rank": 3},
]


def edit(folder, **changes):
    """Changes settings in a PEFT folder."""
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return folder


def without_base(folder):
    return edit(folder, base_model_name_or_path=None)


def loaded_by_peft(model, folder):
    from peft import PeftModel

    return PeftModel.from_pretrained(plain_copy(model), str(folder)).eval()


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("settings", EXPORTABLE, ids=lambda s: s["name"])
def test_exported_and_loaded_by_hugging_face_peft(family, settings, tmp_path):
    model, x = nudge(pc.attach(small(family), pc.make_method(**settings), 3), 0.1).eval(), images(small(family))
    pc.export_peft(model, tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    torch.testing.assert_close(loaded_by_peft(model, tmp_path)(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", BOTH)
def test_exported_and_imported_again(family, tmp_path):
    model, x = nudge(pc.attach(small(family), pc.make_method("lora", rank=3), 3), 0.1).eval(), images(small(family))
    pc.export_peft(model, tmp_path)
    torch.testing.assert_close(pc.import_peft(tmp_path, small(family))(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("targets", ["qkv", r"blocks\..*\.(qkv|proj|fc1|fc2)"])
@pytest.mark.parametrize("rslora", [False, True])
def test_what_hugging_face_peft_trained_comes_in(targets, rslora, tmp_path):
    from peft import LoraConfig, get_peft_model

    backbone = small("vit")
    module = plain_copy(pc.attach(backbone, pc.make_method("linear"), 4))
    config = LoraConfig(
        r=3,
        lora_alpha=7,
        use_rslora=rslora,
        target_modules=targets if "*" in targets else [targets],
        modules_to_save=["head"],
        init_lora_weights=False,
    )
    theirs = get_peft_model(module, config).eval()
    theirs.save_pretrained(str(tmp_path))
    mine = pc.import_peft(tmp_path, backbone)
    torch.testing.assert_close(mine(images(backbone)), theirs(images(backbone)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", BOTH)
def test_head_energy_reads_all_formats_alike(family, tmp_path):
    model = nudge(pc.attach(small(family), pc.make_method("lora", projections=("q", "v")), 3), 0.1)
    pc.save_adapter(tmp_path / "own", model)
    own = pc.head_energy(model)
    np.testing.assert_allclose(pc.head_energy(tmp_path / "own").values, own.values)
    pc.export_peft(model, tmp_path / "peft")
    with pytest.raises(errors.InvalidSetting, match="backbone='NAME'.*or heads"):
        pc.head_energy(without_base(tmp_path / "peft"))
    foreign = pc.head_energy(tmp_path / "peft", backbone=small(family))
    counted = pc.head_energy(tmp_path / "peft", heads=small(family).heads)
    np.testing.assert_array_equal(foreign.values, counted.values)
    index = [foreign.projections.index(p) for p in own.projections]
    np.testing.assert_allclose(foreign.values[:, index], own.values, rtol=1e-4)
    assert foreign.layers == own.layers


@pytest.mark.parametrize(
    ("name", "shape"),
    [("qkv", (6,)), ("query", (6,)), ("qkv", (7, 3)), ("qkv", (6, 3, 1, 1)), ("query", (6, 3, 1, 1))],
)
def test_energy_of_what_is_no_pair_of_matrices_is_refused(name, shape, tmp_path):
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 3, "target_modules": [name]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    A, B = torch.zeros(3, 6, *(1,) * max(0, len(shape) - 2)), torch.zeros(shape)
    path = f"base_model.model.blocks.0.attn.{name}"
    save_file({f"{path}.lora_A.weight": A, f"{path}.lora_B.weight": B}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(errors.BadAdapter, match=rf"blocks\.0\.attn\.{name}"):
        pc.head_energy(tmp_path, heads=2)


def test_an_exported_adapter_has_the_heads_of_its_backbone(tmp_path):
    """128 wide with 8 heads, which cannot be guessed from the file's shapes."""
    backbone = pc.load_backbone("vit_micro", pretrained=False)
    model = nudge(pc.attach(backbone, pc.make_method("lora"), 3), 0.1)
    pc.export_peft(model, tmp_path)
    own, foreign = pc.head_energy(model), pc.head_energy(tmp_path)
    index = [foreign.projections.index(p) for p in own.projections]
    assert foreign.values.shape[-1] == 8
    np.testing.assert_allclose(foreign.values[:, index], own.values, rtol=1e-4)


def test_anything_but_lora_is_refused(tmp_path):
    with pytest.raises(errors.CannotExport, match="LAST is not a low-rank update of linear layers"):
        pc.export_peft(pc.attach(small("vit"), pc.make_method("last"), 3), tmp_path)
    with pytest.raises(errors.BadAdapter, match="holds no adapter_model"):
        pc.import_peft(tmp_path, small("vit"))
    model = pc.attach(small("vit"), pc.make_method("lora"), 3)
    pc.export_peft(model, tmp_path)
    with pytest.raises(errors.AdapterMismatch):
        pc.import_peft(tmp_path, small("swin"))
    edit(tmp_path, use_dora=True)
    with pytest.raises(errors.AdapterMismatch, match="lacks blocks.0.attn.qkv.lora_magnitude_vector"):
        pc.import_peft(tmp_path, small("vit"))
    edit(tmp_path, use_dora=False)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(errors.BadAdapter, match="damaged"):
        pc.import_peft(tmp_path, small("vit"))


@pytest.mark.skipif(not RELEASED.exists(), reason="the released PETL-ViT adapters are not here")
def test_energy_of_a_released_adapter():
    scores = pc.head_energy(RELEASED / "svhn-bit1-dim32.bin")
    assert scores.values.shape == (12, 2, 12) and scores.projections == ("q", "v") and (scores.values > 0).all()
    np.testing.assert_allclose(
        pc.head_energy(RELEASED / "svhn-bit1-dim32.bin", scale=1).values * 10, scores.values, rtol=1e-4
    )


def test_a_file_in_petl_vits_layout_is_loaded_as_any_adapter(tmp_path):
    """A file written here, and the same file under a name that says nothing."""
    backbone, x = small("vit"), images(small("vit"))
    model = nudge(pc.attach(backbone, pc.make_method("bi_lora", rank=4, scale=10), 3), 0.1).eval()
    file = tmp_path / "svhn-bit1-dim4.bin"
    file.write_bytes(petl_vit_writing.model_bytes(model))
    loaded = pc.load_adapter(file, backbone)
    assert loaded.method == model.method and not loaded.training
    torch.testing.assert_close(loaded(x), model(x), rtol=1e-4, atol=1e-4)
    other = file.rename(tmp_path / "mine.bin")
    with pytest.raises(errors.InvalidSetting, match="scale"):
        pc.load_adapter(other, backbone)
    again = pc.load_adapter(other, backbone, scale=10, bits=1, rank=4)
    assert torch.equal(again(x), loaded(x))
    with pytest.raises(errors.InvalidSetting, match="trained elsewhere.*backbone=load_backbone"):
        pc.load_adapter(other)
    with pytest.raises(errors.BadAdapter, match="of another model"):
        pc.load_adapter(other, small("swin"), scale=10, bits=1, rank=4)


def test_a_peft_folder_is_loaded_as_any_adapter(tmp_path):
    model, x = nudge(pc.attach(small("vit"), "lora", 3), 0.1).eval(), images(small("vit"))
    pc.export_peft(model, tmp_path)
    torch.testing.assert_close(pc.load_adapter(tmp_path, small("vit"))(x), model(x), rtol=1e-4, atol=1e-4)
    with pytest.raises(errors.InvalidSetting, match="give the one that it was trained on"):
        pc.load_adapter(tmp_path)


@pytest.mark.skipif(not RELEASED.exists(), reason="the released PETL-ViT adapters are not here")
def test_a_released_file_comes_in_as_a_model():
    file = RELEASED / "clevr_count-bit1-dim32.bin"
    model = pc.load_adapter(file, pc.load_backbone("vit_base_patch16_224", pretrained=False))
    assert model.head.out_features == 8 and model.method.scale == 1
    np.testing.assert_allclose(pc.head_energy(model).values, pc.head_energy(file).values, rtol=1e-4)


def test_a_layer_that_its_architecture_passes_by_holds_no_lora_of_peft(tmp_path):
    """timm's EVA multiplies with the weights of qkv itself: PEFT's layer there would never be called."""
    backbone = pc.load_backbone("eva02_tiny_patch14_224", pretrained=False, depth=1)
    with pytest.raises(errors.CannotExport, match=r"never calls that layer"):
        pc.export_peft(pc.attach(backbone, "serial_lora", 3), tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("base", "is_another"),
    [
        ("deit_tiny_patch16_224", True),
        ("timm/deit_tiny_patch16_224.fb_in1k", True),
        ("vit_micro", True),
        ("vit_tiny_patch16_224", False),
        ("timm/vit_tiny_patch16_224.augreg_in21k", False),
        ("google/vit-base-patch16-224", False),
        ("/home/me/my-vit", False),
        (None, False),
    ],
)
def test_a_folder_that_names_another_backbone_is_refused(tmp_path, base, is_another):
    """Every tensor fits, and would be added to weights on which it was not trained."""
    assert small("vit").name == "vit_tiny_patch16_224"
    pc.export_peft(nudge(pc.attach(small("vit"), "lora", 3), 0.1), tmp_path)
    edit(tmp_path, base_model_name_or_path=base)
    if not is_another:
        pc.load_adapter(tmp_path, small("vit"))
        return
    with pytest.raises(errors.AdapterMismatch, match=f"was trained on {base}, .*vit_tiny_patch16_224"):
        pc.load_adapter(tmp_path, small("vit"))
