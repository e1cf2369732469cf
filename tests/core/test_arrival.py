"""Weights from files: however wrapped, the whole backbone comes from the file, or an error names what is missing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from arriving import SMALL, State, below, load, other, saved, sharded, state
from backbones import VIT, small
from torch import Tensor

import peftcore as pc
from peftcore import errors
from peftcore.backbone import embedded, weights
from peftcore.fetch import places
from peftcore.fetch.weight_files import sha256

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


def test_what_another_naming_moves_is_not_called_resampled(tmp_path):
    """Swin's first files keep the step between two stages at the end of the one before."""
    stages = {"depths": (1, 1, 1), "num_heads": (1, 2, 4)}
    settings = {**SMALL["swin"], **stages}
    before = pc.load_backbone(settings.pop("name"), pretrained=False, **settings).module.state_dict()
    official = {}
    for name, tensor in before.items():
        found = re.fullmatch(r"layers\.(\d+)\.downsample\.(.+)", name)
        official[f"layers.{int(found[1]) - 1}.downsample.{found[2]}" if found else name] = tensor
    assert official.keys() != before.keys()
    assert not load(saved(tmp_path, official), "swin", **stages).origin.resampled


def test_grey_images_that_are_asked_for_give_what_they_gave_as_three_equal_channels(tmp_path):
    loaded, key = load(saved(tmp_path, state()), in_chans=1), "patch_embed.proj.weight"
    torch.testing.assert_close(loaded.module.state_dict()[key], state()[key].sum(1, keepdim=True))
    assert loaded.origin.resampled == [key]


def test_one_channel_in_file_and_backbone(tmp_path):
    grey = state() | {"patch_embed.proj.weight": state()["patch_embed.proj.weight"][:, :1].clone()}
    assert load(saved(tmp_path, grey), in_chans=1).origin.resampled == []


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
