"""Weights by the names of other libraries compute here what they computed there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from arriving import State, below, load, other, saved, sharded, state
from backbones import SWIN, images, small
from torch import Tensor

import peftcore as pc
from peftcore import errors

# ----------------------------------------------------------------------------------------- other libraries' names


def _transformers(kind: str, config: str, **settings: object) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        import transformers

        torch.manual_seed(3)
        return getattr(transformers, kind)(getattr(transformers, config)(**settings)).eval()

    return make


def _torchvision(**settings: object) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        import torchvision.models as models

        torch.manual_seed(3)
        if "depths" in settings:
            return models.SwinTransformer([4, 4], stochastic_depth_prob=0.0, num_classes=5, **settings).eval()
        model = models.VisionTransformer(32, 16, 2, 2, 32, 64, num_classes=5, **settings)
        torch.nn.init.normal_(model.heads.head.weight)
        return model.eval()

    return make


_HF = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16)


_HF_VIT = _HF | dict(intermediate_size=64, layer_norm_eps=1e-6)  # timm's; transformers' is smaller by itself


_DINO = _HF | dict(image_size=28, patch_size=14)


_HF_SWIN = dict(image_size=64, embed_dim=16, depths=[2, 1], num_heads=[2, 4], window_size=4)


_OURS = dict(img_size=32, embed_dim=32, depth=2, num_heads=2)


_OUR_SWIN = SWIN | dict(img_size=64)


FOREIGN: dict[str, tuple[Callable[[], torch.nn.Module], dict[str, object]]] = {
    "transformers ViT": (
        _transformers("ViTModel", "ViTConfig", **_HF_VIT),
        _OURS | dict(name="vit_tiny_patch16_224", mlp_ratio=2),
    ),
    "transformers ViT, classifier": (
        _transformers("ViTForImageClassification", "ViTConfig", **_HF_VIT),
        _OURS | dict(name="vit_tiny_patch16_224", mlp_ratio=2),
    ),
    "transformers ViTMAE": (
        _transformers("ViTMAEModel", "ViTMAEConfig", mask_ratio=0.0, **_HF_VIT),
        _OURS | dict(name="vit_tiny_patch16_224", mlp_ratio=2),
    ),
    "transformers DeiT": (
        _transformers("DeiTForImageClassificationWithTeacher", "DeiTConfig", **_HF_VIT),
        _OURS | dict(name="deit_tiny_distilled_patch16_224", mlp_ratio=2),
    ),
    "transformers DINOv2": (
        _transformers("Dinov2Model", "Dinov2Config", **_DINO),
        _OURS | dict(name="vit_small_patch14_dinov2", img_size=28),
    ),
    "transformers DINOv2, gated": (
        _transformers("Dinov2Model", "Dinov2Config", use_swiglu_ffn=True, **_DINO),
        _OURS | dict(name="vit_giant_patch14_dinov2", img_size=28, mlp_ratio=5.5),
    ),
    "transformers DINOv2, registers": (
        _transformers("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", **_DINO),
        _OURS | dict(name="vit_small_patch14_reg4_dinov2", img_size=28),
    ),
    "transformers Swin": (_transformers("SwinForImageClassification", "SwinConfig", **_HF_SWIN), _OUR_SWIN),
    "torchvision ViT": (_torchvision(), _OURS | dict(name="vit_tiny_patch16_224", mlp_ratio=2)),
    "torchvision Swin": (_torchvision(embed_dim=16, depths=[2, 1], num_heads=[2, 4], window_size=[4, 4]), _OUR_SWIN),
}  # fmt: skip


def _theirs(model: torch.nn.Module, kind: str, x: Tensor) -> Tensor:
    """The pooled features that the other library computes."""
    if kind == "torchvision ViT":
        model.heads = torch.nn.Identity()
        return model(x)
    if kind == "torchvision Swin":
        model.head = torch.nn.Identity()
        return model(x)
    base = getattr(model, getattr(model, "base_model_prefix", ""), model)
    out = base(x, noise=torch.arange(4.0).expand(len(x), 4)) if "MAE" in kind else base(x)
    if "DeiT" in kind:
        return out.last_hidden_state[:, :2].mean(1)
    return out.pooler_output if "Swin" in kind else out.last_hidden_state[:, 0]


def _written(model: torch.nn.Module, tmp_path: Path, how: str) -> Iterator[Path]:
    if how == "its own file" and hasattr(model, "save_pretrained"):
        model.save_pretrained(tmp_path / "own")  # the names that the library gave before its version 5
        return tmp_path / "own" / "model.safetensors"
    return saved(tmp_path, {"state_dict": below("model.", model.state_dict())})


@pytest.mark.parametrize("how", ["its own file", "its modules, wrapped"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_other_libraries_names_compute_what_they_computed_there(tmp_path, kind, how):
    make, ours = FOREIGN[kind][0], dict(FOREIGN[kind][1])
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():  # biases, norms, positions: nothing stays zero or one
            parameter.add_(torch.randn(parameter.shape) * 0.05)
        loaded = pc.load_backbone(ours.pop("name"), weights=_written(model, tmp_path, how), **ours)
        x = images(loaded)
        torch.testing.assert_close(loaded.pooled(x), _theirs(model, kind, x), rtol=1e-4, atol=1e-5)
    assert f"names of {kind.split()[0]}" in loaded.origin.names


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        ("transformers ViT", {"num_attention_heads": 4}, "4 attention heads, and the backbone has 2"),
        ("transformers ViT", {"hidden_act": "relu"}, "the activation 'relu'"),
        ("transformers ViT", {"layer_norm_eps": 0.1}, "layer_norm_eps = 0.1"),
        ("transformers Swin", {"num_heads": [4, 4]}, r"\[4, 4\] attention heads, and the backbone has \[2, 4\]"),
        ("transformers Swin", {"hidden_act": "silu"}, "the activation 'silu'"),
    ],
)
def test_a_configuration_beside_the_file_that_contradicts_the_backbone_is_refused(tmp_path, kind, settings, says):
    """Every tensor fits, and would compute something else."""
    model, ours = FOREIGN[kind][0](), dict(FOREIGN[kind][1])
    file = _written(model, tmp_path, "its own file")
    config = json.loads((file.parent / "config.json").read_text())
    (file.parent / "config.json").write_text(json.dumps(config | settings))
    with pytest.raises(errors.WeightsUnavailable, match=says):
        pc.load_backbone(ours.pop("name"), weights=file, **ours)


@pytest.mark.parametrize(
    "kind, config, settings",
    [
        ("BeitModel", "BeitConfig", _HF_VIT),
        ("Swinv2Model", "Swinv2Config", _HF_SWIN),
        ("CLIPVisionModel", "CLIPVisionConfig", _HF_VIT),
        ("SiglipVisionModel", "SiglipVisionConfig", _HF_VIT),
        ("DINOv3ViTModel", "DINOv3ViTConfig", _HF_VIT),
        ("ViTModel", "ViTConfig", _HF_VIT | dict(num_hidden_layers=3)),
        ("YolosModel", "YolosConfig", _HF_VIT | dict(image_size=[32, 32], num_detection_tokens=2)),
        ("BertModel", "BertConfig", dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)),
    ],
)
def test_transformers_names_that_no_backbone_of_ours_has_are_refused_by_name(tmp_path, kind, config, settings):
    file = saved(tmp_path, _transformers(kind, config, **settings)().state_dict())
    with pytest.raises(errors.WeightsUnavailable, match="names of transformers read as timm's"):
        pc.load_backbone("vit_tiny_patch16_224", weights=file, mlp_ratio=2, **_OURS)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_one_set_of_weights(tmp_path, kind, index):
    files = sharded(tmp_path, kind, index)
    for source in (tmp_path, *tmp_path.iterdir()):
        loaded = load(source)
        assert loaded.fingerprint == small("vit").fingerprint
        assert loaded.origin.sha256 == hashlib.sha256(files[0].read_bytes() + files[1].read_bytes()).hexdigest()
    files[1].unlink()
    for source in (tmp_path, *tmp_path.iterdir()):
        with pytest.raises(errors.WeightsUnavailable, match=rf"1 of them are not beside it: {files[1].name}"):
            load(source)


@pytest.mark.parametrize(
    "text", ["[]", "{}", "no json", '{"weight_map": {}}', '{"weight_map": {"a": 3}}', '{"weight_map": []}']
)
def test_an_invalid_index_is_an_error(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(errors.WeightsUnavailable, match="index.json"):
        load(tmp_path)


def test_an_index_names_no_file_elsewhere(tmp_path):
    (tmp_path / "inside").mkdir()
    file = saved(tmp_path, state(), "model.safetensors")
    index = tmp_path / "inside" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: f"../{file.name}" for key in state()}}))
    with pytest.raises(errors.WeightsUnavailable, match="not beside it: model.safetensors"):
        load(index)


def test_a_folder_gives_its_usual_file_or_its_only_one(tmp_path):
    saved(tmp_path, other(state()), "a.pth"), saved(tmp_path, other(state()), "b.safetensors")
    with pytest.raises(errors.WeightsUnavailable, match="holds 2 weight files"):
        load(tmp_path)
    saved(tmp_path, state(), "model.safetensors"), saved(tmp_path, other(state()), "pytorch_model.bin")
    assert load(tmp_path).fingerprint == small("vit").fingerprint


def googles(values: State, heads: int, top: str = "") -> dict[str, np.ndarray]:
    """A ViT's weights under the names and in the layout of Google's .npz files (AugReg)."""
    width, made = values["cls_token"].shape[-1], {}

    def linear(name: str, key: str) -> None:
        made[f"{name}/kernel"], made[f"{name}/bias"] = values[f"{key}.weight"].numpy().T, values[f"{key}.bias"].numpy()

    def norm(name: str, key: str) -> None:
        made[f"{name}/scale"], made[f"{name}/bias"] = values[f"{key}.weight"].numpy(), values[f"{key}.bias"].numpy()

    made["cls"] = values["cls_token"].numpy()
    made["embedding/kernel"] = values["patch_embed.proj.weight"].numpy().transpose(2, 3, 1, 0)
    made["embedding/bias"] = values["patch_embed.proj.bias"].numpy()
    made["Transformer/posembed_input/pos_embedding"] = values["pos_embed"].numpy()
    norm("Transformer/encoder_norm", "norm")
    for i in range(1 + max(int(key.split(".")[1]) for key in values if key.startswith("blocks."))):
        here, there = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        norm(f"{here}/LayerNorm_0", f"{there}.norm1"), norm(f"{here}/LayerNorm_2", f"{there}.norm2")
        (
            linear(f"{here}/MlpBlock_3/Dense_0", f"{there}.mlp.fc1"),
            linear(f"{here}/MlpBlock_3/Dense_1", f"{there}.mlp.fc2"),
        )
        attention = f"{here}/MultiHeadDotProductAttention_1"
        for part, name in enumerate(("query", "key", "value")):
            rows = slice(part * width, (part + 1) * width)
            weight = values[f"{there}.attn.qkv.weight"][rows].numpy()
            made[f"{attention}/{name}/kernel"] = weight.T.reshape(width, heads, -1)
            made[f"{attention}/{name}/bias"] = values[f"{there}.attn.qkv.bias"][rows].numpy().reshape(heads, -1)
        made[f"{attention}/out/kernel"] = values[f"{there}.attn.proj.weight"].numpy().T.reshape(heads, -1, width)
        made[f"{attention}/out/bias"] = values[f"{there}.attn.proj.bias"].numpy()
    made["head/kernel"], made["head/bias"] = np.ones((width, 5), np.float32), np.ones(5, np.float32)
    return {top + key: np.ascontiguousarray(value) for key, value in made.items()}


@pytest.mark.parametrize("top", ["", "opt/target/"])
def test_googles_own_files_arrive(tmp_path, top):
    np.savez(tmp_path / "w.npz", **googles(state(), 4, top))
    loaded = load(tmp_path / "w.npz")
    assert loaded.fingerprint == small("vit").fingerprint
    assert loaded.origin.left_over == ["head.kernel", "head.bias"] and "Google" in loaded.origin.sentence


NPZ_REFUSED = {
    "a block too few": (lambda a: {k: v for k, v in a.items() if "block_4" not in k}, "4 blocks and the backbone 5"),
    "a block too many": (lambda a: a | {"Transformer/encoderblock_5/LayerNorm_0/scale": np.ones(32)}, "6 blocks"),
    "a missing array": (
        lambda a: {k: v for k, v in a.items() if "block_2/LayerNorm_2/s" not in k},
        "block_2/LayerNorm_2/scale",
    ),
    "NaN": (lambda a: a | {"Transformer/encoder_norm/bias": np.full(32, np.nan, np.float32)}, r"norm\.bias"),
    "other patches": (
        lambda a: a | {"embedding/kernel": a["embedding/kernel"][:4, :4]},
        r"patches are \(4, 4\), the backbone.s \(8, 8\)",
    ),
    "another width": (
        lambda a: a | {"Transformer/encoder_norm/bias": np.ones(48, np.float32)},
        "does not hold weights",
    ),
    "one value for all": (
        lambda a: a | {"Transformer/encoder_norm/bias": np.ones(1, np.float32)},
        "does not hold weights",
    ),
    "no ViT": (lambda _: {"a": np.ones(3)}, "does not hold weights"),
    "objects": (lambda a: a | {"cls": np.array([{}], dtype=object)}, "does not hold weights"),
}  # fmt: skip


@pytest.mark.parametrize("what", NPZ_REFUSED)
def test_an_npz_that_is_not_the_whole_backbone_is_refused(tmp_path, what):
    make, why = NPZ_REFUSED[what]
    np.savez(tmp_path / "w.npz", **make(googles(state(), 4)))
    with pytest.raises(errors.WeightsUnavailable, match=why):
        load(tmp_path / "w.npz")


def test_an_npz_is_for_plain_vits(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    with pytest.raises(errors.WeightsUnavailable, match="plain ViTs"):
        load(tmp_path / "w.npz", "swin")
