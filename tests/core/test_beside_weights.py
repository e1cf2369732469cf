"""Files beside weights: what they say of the model is proven, and what they say of its images is taken."""

from __future__ import annotations

import json
from pathlib import Path

import arriving
import pytest
import timm
import torch
from arriving import saved, small, state
from safetensors.torch import save_file

import peftcore as pc
from peftcore import errors

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
SMALL = {
    "vit_tiny_patch16_224": {"depth": 2, "img_size": 32},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1), "embed_dim": 32, "num_heads": (2, 4), "img_size": 56},
}


def folder(path: Path, name: str, config: object = None, processor: object = None, **changes: object) -> Path:
    """The weights of a small model of this name in the usual file, and what stands beside them."""
    path.mkdir(exist_ok=True)
    saved(path, timm.create_model(name, num_classes=0, **SMALL[name] | changes).state_dict(), "model.safetensors")
    for file, said in (("config.json", config), ("preprocessor_config.json", processor)):
        if said is not None:
            (path / file).write_text(said if isinstance(said, str) else json.dumps(said))
    return path


def load(path: Path, name: str):
    return pc.load_backbone(name, weights=path, **SMALL[name])


@pytest.mark.parametrize("name", SMALL)
def test_timms_config_says_how_images_are_normalised(tmp_path, name):
    about = IMAGENET | {"interpolation": "bilinear", "crop_pct": 0.8}
    path = folder(tmp_path, name, {"architecture": name, "model_args": SMALL[name], "pretrained_cfg": about})
    loaded = load(path, name)
    assert [*loaded.mean] == about["mean"] and [*loaded.std] == about["std"]
    assert (loaded.interpolation, loaded.crop_pct) == ("bilinear", 0.8)


@pytest.mark.parametrize("name", SMALL)
def test_transformers_processor_says_how_images_are_normalised(tmp_path, name):
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 2}
    loaded = load(folder(tmp_path, name, processor=said), name)
    assert (loaded.mean, loaded.std, loaded.interpolation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear")
    loaded = load(folder(tmp_path, name, processor=said | {"do_normalize": False}), name)
    assert (loaded.mean, loaded.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    "config",
    ["", "[]", "{}", '"text"', {"architecture": 3}, {"architecture": "no_such_model"}, {"pretrained_cfg": 4},
     {"pretrained_cfg": {"mean": "half", "std": [], "crop_pct": "most", "interpolation": 7}},
     {"layer_norm_eps": None}, {"layer_norm_eps": "small"}, {"vision_config": 5}, {"hidden_act": 1}],
)  # fmt: skip
def test_a_config_that_says_nothing_of_use_changes_nothing(tmp_path, config):
    name = "vit_tiny_patch16_224"
    loaded = load(folder(tmp_path, name, config, config), name)
    assert loaded.mean == (0.5, 0.5, 0.5) and loaded.interpolation == "bicubic"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architecture": "vit_tiny_patch16_224", "model_args": {"num_heads": 6}}, "num_heads 6.* num_heads 3"),
        ({"architecture": "vit_tiny_patch16_224", "model_args": {"act_layer": "relu"}}, "ReLU.*GELU"),
        ({"architecture": "vit_tiny_patch16_224", "model_args": {"global_pool": "avg"}}, "global_pool"),
        ({"architecture": "vit_small_patch16_224"}, "vit_small_patch16_224: .*num_heads 6"),
        ({"num_attention_heads": 6}, "6 attention heads"),
    ],
)
def test_a_config_of_a_model_that_computes_something_else_is_refused(tmp_path, config, says):
    name = "vit_tiny_patch16_224"
    with pytest.raises(errors.WeightsUnavailable, match=says):
        load(folder(tmp_path, name, config), name)


def test_another_name_of_the_same_computation_is_taken_with_its_normalisation(tmp_path):
    config = {"architecture": "deit_tiny_patch16_224", "pretrained_cfg": IMAGENET}
    loaded = load(folder(tmp_path, "vit_tiny_patch16_224", config), "vit_tiny_patch16_224")
    assert [*loaded.mean] == IMAGENET["mean"]


def test_a_config_beside_several_models_is_none_of_theirs(tmp_path):
    name = "vit_tiny_patch16_224"
    path = folder(tmp_path, name, {"architecture": name, "model_args": {"num_heads": 6}, "pretrained_cfg": IMAGENET})
    (path / "model.safetensors").rename(path / "one.safetensors")
    (path / "other.safetensors").write_bytes(b"x")
    assert load(path / "one.safetensors", name).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("form", ["safetensors", "torch", "torch of before"])
@pytest.mark.parametrize("name", ["abcdef", "model.safetensors", "model.pth", "model.ckpt"])
def test_a_file_is_read_by_its_content_whatever_its_ending(tmp_path, form, name):
    """A blob of the hub's cache has no ending, and a download may have a wrong one."""
    values, file = state(), tmp_path / name
    if form == "safetensors":
        save_file(values, file)
    else:
        torch.save(values, file, _use_new_zipfile_serialization=form == "torch")
    assert arriving.load(file).fingerprint == small("vit").fingerprint
