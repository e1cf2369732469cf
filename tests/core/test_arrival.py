"""Weights from files: however wrapped, the whole backbone comes from the file, or an error names what is missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from backbones import SWIN, VIT, images, small
from safetensors.torch import save_file
from torch import Tensor

import peftcore as pc
from peftcore import errors
from peftcore.backbone import embedded, weights
from peftcore.backbone.arrival import sha256
from peftcore.fetch import places

State = dict[str, Tensor]
SMALL = {"vit": VIT, "swin": SWIN}


def state(family: str = "vit", **head: Tensor) -> State:
    return {key: tensor.clone() for key, tensor in small(family).module.state_dict().items()} | head


def load(source: Path, family: str = "vit", **more: object) -> pc.Backbone:
    settings = SMALL[family] | more
    return pc.load_backbone(settings.pop("name"), weights=source, seed=9, **settings)


def saved(tmp_path: Path, data: object, name: str = "weights.pth") -> Path:
    (save_file if name.endswith(".safetensors") else torch.save)(data, tmp_path / name)
    return tmp_path / name


def below(prefix: str, values: State) -> State:
    return {prefix + key: value for key, value in values.items()}


def other(values: State) -> State:
    return {key: value + 1 for key, value in values.items()}


WRAPPINGS: dict[str, Callable[[State], object]] = {
    "nothing": lambda s: s,
    **{
        prefix: lambda s, p=prefix: below(p, s)
        for prefix in (
            *("module.", "model.", "backbone.", "encoder.", "_orig_mod.", "module.module.", "model.backbone.encoder."),
            *(
                "module._orig_mod.",
                "_orig_mod.module.model.",
                "net.",
                "image_encoder.trunk.",
                "visual.trunk.",
                "timm_model.",
            ),
            *("base_model.model.", "student.", "teacher.backbone.", "ema.module.", "model._orig_mod._orig_mod."),
        )
    },
    **{
        key: lambda s, k=key: {k: s, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
        for key in (
            "state_dict",
            "model",
            "model_ema",
            "state_dict_ema",
            "teacher",
            "student",
            "ema",
            "module",
            "whatever",
        )
    },
    "nested": lambda s: {"checkpoint": {"state_dict": {"model": below("module.", s)}}},
    "torch.compile of a block": lambda s: {k.replace("blocks.1.", "blocks.1._orig_mod."): v for k, v in s.items()},
    "fsdp": lambda s: {k.replace("blocks.", "_fsdp_wrapped_module.blocks."): v for k, v in s.items()},
    "lightning, with a loss": lambda s: {"state_dict": below("model.", s) | {"loss.weight": torch.ones(3)}},
    "the average beside the model": lambda s: {"model": other(s), "model_ema": s},
    "the average below a prefix": lambda s: other(s) | below("ema_model.", s),
    "teacher and student": lambda s: {"student": below("backbone.", other(s)), "teacher": below("backbone.", s)},
    "with a classifier": lambda s: s | {"head.weight": torch.ones(5, 32), "head.bias": torch.ones(5)},
    "MAE's decoder": lambda s: (
        s | {"decoder_blocks.0.norm1.weight": torch.ones(3), "decoder_pos_embed": torch.ones(1, 3)}
    ),
    "an optimizer's averages by name": lambda s: {"model": s, "optimizer": {"exp_avg": other(s)}},
    "parameters": lambda s: {k: torch.nn.Parameter(v) for k, v in s.items()},
    "fp64": lambda s: {k: v.double() for k, v in s.items()},
}


@pytest.mark.parametrize("how", WRAPPINGS)
@pytest.mark.parametrize("family", SMALL)
def test_wrapped_weights_are_unwrapped(tmp_path, how, family):
    loaded = load(saved(tmp_path, WRAPPINGS[how](state(family))), family)
    assert loaded.fingerprint == small(family).fingerprint and loaded.pretrained


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_half_precision_is_cast(tmp_path, dtype, name):
    half = {key: value.to(dtype) for key, value in state().items()}
    loaded = load(saved(tmp_path, half, name)).module.state_dict()
    assert all(torch.equal(loaded[key], half[key].float()) for key in half)


def drop(part: str) -> Callable[[State], State]:
    return lambda s: {k: v for k, v in s.items() if not k.startswith(part)}


def put(key: str, make: Callable[[Tensor], object]) -> Callable[[State], State]:
    return lambda s: s | {key: make(s.get(key))}


def resnet() -> State:
    import timm

    return timm.create_model("resnet18").state_dict()


REFUSED: dict[str, tuple[Callable[[State], object], str]] = {
    "a missing block": (drop("blocks.1."), r"12 of the backbone's 66 tensors are missing \(blocks\.1\.norm1\.weight, "),
    "a missing norm": (drop("norm."), r"2 of .* \(norm\.weight, norm\.bias\)"),
    "a missing token": (drop("cls_token"), r"\(cls_token\)"),
    "a missing bias": (drop("blocks.0.attn.qkv.bias"), r"1 of .*\(blocks\.0\.attn\.qkv\.bias\)"),
    "positions missing": (drop("pos_embed"), r"\(pos_embed\)"),
    "one more block": (
        put("blocks.5.norm1.weight", lambda _: torch.ones(32)),
        r"1 of its own are unknown .*blocks\.5\.norm1",
    ),
    "layer scale": (put("blocks.0.ls1.gamma", lambda _: torch.ones(32)), r"unknown .*blocks\.0\.ls1\.gamma"),
    "registers": (put("reg_token", lambda _: torch.ones(1, 4, 32)), r"unknown .*reg_token"),
    "a distillation token": (put("dist_token", lambda _: torch.ones(1, 1, 32)), r"unknown .*dist_token"),
    "a norm before the blocks": (put("norm_pre.weight", lambda _: torch.ones(32)), r"unknown .*norm_pre\.weight"),
    "another network": (lambda _: resnet(), r"66 of the backbone's 66 tensors are missing .* unknown .*conv1\.weight"),
    "a classifier alone": (
        lambda _: {"head.weight": torch.ones(5, 32), "head.bias": torch.ones(5)},
        r"66 of .*missing",
    ),
    "the optimizer alone": (lambda _: {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}, "no tensors by name"),
    "two models": (lambda s: {"a": s, "b": other(s)}, r"holds the backbone 2 times, under 'a\.' and 'b\.'"),
    "numbers alone": (lambda _: {"epoch": 3}, "no tensors by name"),
    "one tensor": (lambda _: torch.ones(3), "no tensors by name"),
    "a list": (lambda s: list(s.values()), "no tensors by name"),
    "a whole model": (lambda _: small("vit").module, "never run"),
    "arrays": (lambda s: {k: v.numpy() for k, v in s.items()}, "never run"),
    "PEFT's wrappers": (
        lambda s: {k.replace("attn.qkv.", "attn.qkv.base_layer."): v for k, v in s.items()},
        r"missing \(blocks\.0\.attn\.qkv\.weight",
    ),
    "half of it below a prefix": (
        lambda s: {("module." + k if "blocks.1." in k else k): v for k, v in s.items()},
        r"missing \(blocks\.1\..*unknown .*\(module\.blocks\.1",
    ),
    "NaN": (
        put("blocks.0.mlp.fc1.weight", lambda t: t * torch.nan),
        r"values of blocks\.0\.mlp\.fc1\.weight are not finite",
    ),
    "one infinite value": (put("norm.bias", lambda t: t.index_fill(0, torch.tensor(3), torch.inf)), r"norm\.bias"),
    "too large for fp32": (put("norm.bias", lambda t: t.double() + 1e300), r"norm\.bias are not finite"),
    "another width": (put("norm.bias", lambda _: torch.ones(48)), r"norm\.bias is \(48,\) in the file and \(32,\)"),
    "one value for all": (put("norm.bias", lambda _: torch.ones(1)), r"norm\.bias is \(1,\) in the file and \(32,\)"),
    "transposed": (put("blocks.0.mlp.fc1.weight", lambda t: t.mT), r"is \(32, 128\) in the file and \(128, 32\)"),
    "other patches": (put("patch_embed.proj.weight", lambda t: t[..., :4, :4]), r"\(32, 3, 4, 4\), .* \(32, 3, 8, 8\)"),
    "one channel": (
        put("patch_embed.proj.weight", lambda t: t[:, :1]),
        r"\(32, 1, 8, 8\) in the file and \(32, 3, 8, 8\)",
    ),
    "no grid of positions": (put("pos_embed", lambda t: t[:, :-3]), "does not hold weights"),
    "integers": (put("norm.bias", lambda t: t.to(torch.int8)), r"norm\.bias is quantised \(torch\.int8\)"),
    "fp8": (put("norm.bias", lambda t: t.to(torch.float8_e4m3fn)), r"quantised \(torch\.float8_e4m3fn\)"),
    "complex": (put("norm.bias", lambda t: t.to(torch.complex64)), "quantised"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_an_incomplete_backbone_is_refused(tmp_path, what):
    make, why = REFUSED[what]
    with pytest.raises(errors.WeightsUnavailable, match=why) as raised:
        load(saved(tmp_path, make(state())))
    assert "weights.pth" in str(raised.value) and len(str(raised.value)) < 700


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"<html>not found</html>", b"\x80\x04K\x03."])
@pytest.mark.parametrize("name", ["w.pth", "w.ckpt", "w.bin", "w.safetensors", "w.npz"])
def test_a_file_of_something_else_is_a_sentence(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(errors.WeightsUnavailable, match=f"{name}.* does not hold weights .*[a-z]{{3}}"):
            load(source)


def test_a_program_is_not_run(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "w.pt")
    with pytest.raises(errors.WeightsUnavailable, match="a program .* never run"):
        load(tmp_path / "w.pt")


SWIN_REFUSED = {
    "a deeper stage": (put("layers.0.blocks.2.norm1.weight", lambda _: torch.ones(16)), r"layers\.0\.blocks\.2\.norm1"),
    "a deeper stage's table": (
        put("layers.0.blocks.2.attn.relative_position_bias_table", lambda _: torch.ones(49, 2)),
        r"unknown .*layers\.0\.blocks\.2\.attn\.relative_position_bias_table",
    ),
    "one more stage": (put("layers.2.downsample.norm.weight", lambda _: torch.ones(3)), r"layers\.2\.downsample"),
    "a missing table": (drop("layers.1.blocks.0.attn.relative"), r"missing \(layers\.1\.blocks\.0\.attn\.relative"),
    "other heads": (
        put("layers.1.blocks.0.attn.relative_position_bias_table", lambda _: torch.ones(49, 3)),
        r"does not hold weights",
    ),
}


@pytest.mark.parametrize("what", SWIN_REFUSED)
def test_of_a_swin_too(tmp_path, what):
    make, why = SWIN_REFUSED[what]
    with pytest.raises(errors.WeightsUnavailable, match=why):
        load(saved(tmp_path, make(state("swin"))), "swin")


def test_a_refusal_leaves_timm_as_it_was(tmp_path):
    import timm

    with pytest.raises(errors.WeightsUnavailable):
        load(saved(tmp_path, {}))
    assert timm.create_model("vit_micro", pretrained=True, num_classes=7).head.out_features == 7


@pytest.mark.parametrize("family", SMALL)
def test_another_requested_size_is_resampled_and_reported(tmp_path, family):
    square = {"vit": (32, 32), "swin": (32, 32)}[family]
    settings = SMALL[family] | {"img_size": square}
    before = pc.load_backbone(settings.pop("name"), pretrained=False, **settings).module.state_dict()
    loaded = load(saved(tmp_path, before), family, img_size=(48, 48))
    after = loaded.module.state_dict()
    changed = [key for key in before if before[key].shape != after[key].shape]
    assert list(loaded.origin.resampled) == changed and (changed == ["pos_embed"]) == (family == "vit")
    assert all(torch.equal(before[key], after[key]) for key in before if key not in changed)
    assert ("resampled: pos_embed" in loaded.origin.sentence) == (family == "vit")


def test_grey_images_that_are_asked_for_give_what_they_gave_as_three_equal_channels(tmp_path):
    loaded, key = load(saved(tmp_path, state()), in_chans=1), "patch_embed.proj.weight"
    torch.testing.assert_close(loaded.module.state_dict()[key], state()[key].sum(1, keepdim=True))
    assert loaded.origin.resampled == [key]


def test_one_channel_in_file_and_backbone(tmp_path):
    grey = state() | {"patch_embed.proj.weight": state()["patch_embed.proj.weight"][:, :1].clone()}
    assert load(saved(tmp_path, grey), in_chans=1).origin.resampled == []


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


# ------------------------------------------------------------------------------------------------ shards, folders, .npz


def sharded(tmp_path: Path, kind: str, index: bool = True) -> list[Path]:
    values = list(state().items())
    stem, end = {"safetensors": ("model", ".safetensors"), "bin": ("pytorch_model", ".bin")}[kind]
    files = [f"{stem}-{i:05d}-of-00002{end}" for i in (1, 2)]
    halves = [dict(values[:20]), dict(values[20:])]
    for file, half in zip(files, halves, strict=True):
        saved(tmp_path, half, file)
    if index:
        where = {key: file for file, half in zip(files, halves, strict=True) for key in half}
        (tmp_path / f"{stem}{end}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return [tmp_path / file for file in files]


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


# --------------------------------------------------------------------------------------------------------- the record


def test_the_record_names_what_was_read(tmp_path):
    file = saved(tmp_path, {"state_dict": below("model.", state(**{"head.weight": torch.ones(5, 32)}))})
    origin = load(file).origin
    assert origin.file == file.name and origin.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert origin.left_over == ["head.weight"] and "state_dict.model." in origin.names
    again = weights.Origin(**json.loads(json.dumps(vars(origin))))  # as events and adapters keep it
    assert again.sentence == origin.sentence and "weights.pth (sha256 " in origin.sentence


def test_many_names_left_over_are_counted(tmp_path):
    decoder = {f"decoder.{i}.weight": torch.ones(1) for i in range(90)}
    assert load(saved(tmp_path, state() | decoder)).origin.left_over == ["decoder.* (90)"]


def test_random_weights_have_no_origin_and_a_clone_has_its_own():
    assert small("vit").origin is None
    embedded = pc.load_backbone("vit_micro")
    assert embedded.origin.file == "model.safetensors" and embedded.clone().origin == embedded.origin


def test_the_record_goes_into_runs_and_saved_adapters(tmp_path):
    events = pc.finetune(pc.RunSpec(backbone="vit_micro", method="linear", task="digits", epochs=1))
    kept = next(events).settings["weights"]
    events.close()
    backbone = pc.load_backbone("vit_micro")
    assert kept == vars(backbone.origin) and kept["sha256"] == sha256([embedded.weights("vit_micro")])
    pc.save_adapter(tmp_path, pc.attach(backbone, "lora", 3))
    assert json.loads((tmp_path / "adapter.json").read_text())["backbone"]["weights"] == kept
    assert pc.load_adapter(tmp_path).backbone.origin == backbone.origin
    pc.save_adapter(tmp_path / "random", pc.attach(small("vit"), "lora", 3))
    assert json.loads((tmp_path / "random" / "adapter.json").read_text())["backbone"]["weights"] is None


def hub_folder(tmp_path: Path, values: State, **about: object) -> str:
    """A folder like a repository of `hf-hub:`, with config.json and model.safetensors."""
    settings = {key: value for key, value in VIT.items() if key != "name"}
    config = {
        "architecture": VIT["name"],
        "num_classes": 0,
        "model_args": settings,
        "pretrained_cfg": {"num_classes": 0} | about,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    saved(tmp_path, values, "model.safetensors")
    return f"local-dir:{tmp_path}"


def test_weights_beside_their_configuration_are_proven_too(tmp_path):
    name = hub_folder(tmp_path, state())
    loaded = pc.load_backbone(name)
    assert loaded.fingerprint == small("vit").fingerprint and loaded.origin.file.endswith("model.safetensors")
    hub_folder(tmp_path, drop("blocks.1.")(state()))
    with pytest.raises(errors.WeightsUnavailable, match=r"missing \(blocks\.1"):
        pc.load_backbone(name)


def test_the_hubs_cache_is_proven_too(tmp_path, monkeypatch):
    """Also from several files, and where the file tried first is missing."""
    from huggingface_hub.errors import EntryNotFoundError
    from timm.models import _hub

    monkeypatch.setattr(places, "fetched", lambda _: None)
    hub_folder(tmp_path, state())
    (tmp_path / "model.safetensors").unlink()
    sharded(tmp_path, "bin")

    def download(repo: str, file: str, cache_dir: str | None = None) -> str:
        assert repo == "somebody/vit"
        if not (tmp_path / file).exists():
            raise EntryNotFoundError(f"no {file}")
        return str(tmp_path / file)

    monkeypatch.setattr(_hub, "download_from_hf", download)
    loaded = pc.load_backbone("hf-hub:somebody/vit")
    assert loaded.fingerprint == small("vit").fingerprint and loaded.origin.file.endswith(
        "pytorch_model.bin.index.json"
    )
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(errors.WeightsUnavailable, match="no pytorch_model-00002"):
        pc.load_backbone("hf-hub:somebody/vit")
