"""Folders that Hugging Face PEFT wrote: they compute here what PEFT computes, or a setting is refused by name."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import re
import shutil

import numpy as np
import pytest
import timm
import torch
from backbones import images, nudge
from safetensors.torch import load_file, save_file

import peftcore as pc
from peftcore import errors
from peftcore.bench import xray

FAMILIES = {"vit": "vit_micro", "swin": "swin_micro"}
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

# name -> settings of LoraConfig beside rank 4, alpha 6, qkv and the classifier.
EXACT = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "float_alpha": {"lora_alpha": 2.5},
    "dropout": {"lora_dropout": 0.2},
    "every_linear": {"target_modules": "all-linear"},
    "regex": {"target_modules": r".*blocks\.\d+\.(attn\.proj|mlp\.fc[12])"},
    "patch_embedding": {"target_modules": ["proj"]},
    "excluded": {"target_modules": ["qkv", "fc1"], "exclude_modules": r".*blocks\.1\.attn\.qkv"},
    "some_layers": {"layers_to_transform": [0, 1], "layers_pattern": "blocks"},
    "alpha_first_match": {"alpha_pattern": {r"blocks.0.attn.qkv": 64, "qkv": 8}},
    "alpha_general_first": {"alpha_pattern": {"qkv": 8, r"blocks.0.attn.qkv": 64}},
    "alpha_regex": {"alpha_pattern": {r"blocks\.[01]\.attn\.qkv": 3, "kv": 99}},
    "rank_pattern": {"target_modules": ["qkv", "fc2"], "rank_pattern": {"fc2": 2}, "alpha_pattern": {"fc2": 11}},
    "rank_first_match": {"rank_pattern": {r"blocks.1.attn.qkv": 2, "qkv": 3}, "use_rslora": True},
    "dora": {"use_dora": True},
    "dora_ranks": {"use_dora": True, "rank_pattern": {r"blocks.0.attn.qkv": 2}},
    "bias_all": {"bias": "all"},
    "bias_lora_only": {"bias": "lora_only"},
    "lora_bias": {"lora_bias": True},
    "fan_in_fan_out": {"fan_in_fan_out": True},
    "saved_norm": {"save": ["norm"]},
    "saved_norm1": {"save": ["norm1", "norm2"]},
    "saved_patch_embed": {"save": ["patch_embed"]},
    "saved_patch_embed_bias_all": {"save": ["patch_embed"], "bias": "all"},
    "saved_mlp": {"save": ["fc1"], "use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "pissa_rslora": {"init_lora_weights": "pissa", "use_rslora": True},
    "pissa_ranks": {"init_lora_weights": "pissa", "rank_pattern": {r"blocks.0.attn.qkv": 2}},
    "pissa_saved_norm": {"init_lora_weights": "pissa", "save": ["norm"], "bias": "lora_only"},
    "olora": {"init_lora_weights": "olora"},
    "olora_mlp": {"init_lora_weights": "olora", "target_modules": ["fc1", "attn.proj"], "lora_alpha": 9},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "mica": {"init_lora_weights": "mica"},
    "random_start": {"init_lora_weights": False},
    "target_parameters": {"target_modules": [], "target_parameters": ["attn.qkv.weight"]},
}


@functools.cache
def backbone(family):
    return pc.load_backbone(FAMILIES[family])


@functools.cache
def _timms_own(family, classes):
    return timm.create_model(FAMILIES[family], pretrained=True, num_classes=classes).eval()


def timms_own(family, classes):
    """timm's own model; a copy takes less time than making it anew."""
    return copy.deepcopy(_timms_own(family, classes))


def images_of(backbone):
    return images(backbone, 3)


def trained(family, folder, config=None, classes=6, **settings):
    """A PEFT model with every trainable tensor moved, saved to `folder`."""
    from peft import LoraConfig, get_peft_model

    module = timms_own(family, classes)
    save = [module.pretrained_cfg["classifier"].partition(".")[0], *settings.pop("save", [])]
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["qkv"], "modules_to_save": save, **settings}
    torch.manual_seed(0)
    theirs = get_peft_model(module, (config or LoraConfig)(**settings)).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.03)
    theirs.save_pretrained(str(folder), save_embedding_layers=False)
    return theirs


def reloaded(family, folder, classes=6):
    """What PEFT itself makes of a folder: it sorts patterns by name as it saves them, and the first match counts."""
    from peft import PeftModel

    return PeftModel.from_pretrained(timms_own(family, classes), str(folder)).eval()


def compare(ours, theirs, x=None, tolerance=1e-5):
    x = images_of(ours.backbone) if x is None else x
    with torch.no_grad():
        mine, reference = ours(x), theirs(x)
    difference = (mine - reference).abs().max() / reference.abs().max()
    assert difference < tolerance, f"logits differ by {difference:.1e} of the largest"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("settings", EXACT.values(), ids=EXACT)
def test_a_folder_computes_what_peft_computes(family, settings, tmp_path):
    trained(family, tmp_path, **dict(settings))
    ours = pc.load_adapter(tmp_path, backbone(family))
    compare(ours, reloaded(family, tmp_path))
    assert not ours.training


TUNERS = {
    "vera": ("VeraConfig", {"r": 4}),
    "ia3": ("IA3Config", {"feedforward_modules": []}),
    "oft": ("OFTConfig", {"r": 4, "oft_block_size": 0}),
    "ln_tuning": ("LNTuningConfig", {"target_modules": ["norm1"]}),
    "loha": ("LoHaConfig", {"r": 4}),
    "vblora": ("VBLoRAConfig", {"r": 4, "num_vectors": 8, "vector_length": 32, "topk": 2}),
    "shira": ("ShiraConfig", {"r": 4}),  # keeps whole numbers: where its values go
    "frod": ("FrodConfig", {}),  # and how large its matrix is
}


@pytest.mark.parametrize("name", TUNERS)
def test_other_tuners_come_in_as_peft_has_them(name, tmp_path):
    import peft

    config, settings = TUNERS[name]
    trained("vit", tmp_path, lambda **ours: getattr(peft, config)(**{**without(ours, "r", "lora_alpha"), **settings}))
    ours = pc.load_adapter(tmp_path, backbone("vit"))
    compare(ours, reloaded("vit", tmp_path))
    assert ours.method.tuner == name
    compare(pc.merge(ours), ours, images_of(ours.backbone), 1e-4)


def without(settings, *names):
    return {name: value for name, value in settings.items() if name not in names}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "name", ["plain", "dora", "bias_all", "saved_patch_embed_bias_all", "pissa_ranks", "lora_bias"]
)
def test_what_came_in_is_saved_merged_and_exported_again(family, name, tmp_path):
    trained(family, tmp_path, **dict(EXACT[name]))
    model = pc.load_adapter(tmp_path, backbone(family))
    x, again = images_of(model.backbone), pc.adapters.from_bytes(pc.adapters.to_bytes(model), backbone(family))
    assert torch.equal(again(x), model(x))
    torch.testing.assert_close(pc.merge(model)(x), model(x), rtol=1e-4, atol=1e-5)
    pc.export_peft(model, tmp_path / "again")
    compare(pc.load_adapter(tmp_path / "again", backbone(family)), model)
    compare(model, reloaded(family, tmp_path / "again"))


OURS = [("q",), ("k", "v"), ("q", "v", "proj"), ("q", "k", "v", "proj", "fc1", "fc2"), ("fc2",), ("v", "fc1")]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("projections", OURS, ids="-".join)
@pytest.mark.parametrize("moved", [True, False], ids=["trained", "untrained"])
def test_our_own_exports_come_back(family, projections, moved, tmp_path):
    model = pc.attach(backbone(family), {"name": "lora", "rank": 3, "projections": projections}, 5, verify=False).eval()
    pc.export_peft(nudge(model) if moved else model, tmp_path)
    back = pc.load_adapter(tmp_path, backbone(family))
    compare(back, model)
    compare(model, reloaded(family, tmp_path, classes=5))
    if moved:
        assert back.method.projections == projections and back.method.rank == 3


def test_a_distilled_deit_keeps_its_one_classifier_twice(tmp_path):
    deit = pc.load_backbone("deit_tiny_distilled_patch16_224", pretrained=False, depth=2)
    model = nudge(pc.attach(deit, "lora", 3)).eval()
    pc.export_peft(model, tmp_path)
    compare(pc.load_adapter(tmp_path, deit), model)
    rewrite(tmp_path, lambda t: {**t, "base_model.model.head_dist.weight": t["base_model.model.head.weight"] + 1})
    with pytest.raises(errors.AdapterMismatch, match="not hold one classifier"):
        pc.load_adapter(tmp_path, deit)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn])
def test_numbers_are_made_float32_before_they_are_multiplied(dtype, tmp_path):
    trained("vit", tmp_path, lora_alpha=12, use_rslora=True)
    rewrite(tmp_path, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    compare(pc.load_adapter(tmp_path, backbone("vit")), reloaded("vit", tmp_path))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    trained("vit", folder)
    return folder


@pytest.fixture
def folder(plain, tmp_path):
    """A plain LoRA that the test may change."""
    return shutil.copytree(plain, tmp_path / "lora")


def edit(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))


def rewrite(folder, change):
    tensors = change(load_file(folder / WEIGHTS))
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / WEIGHTS)


@pytest.mark.parametrize(
    "setting, words",
    [
        ({"r": "8"}, "sets r = '8'"),
        ({"r": None}, "sets r = None"),
        ({"r": 0}, "cannot be attached|rank"),
        ({"r": 3}, r"lora_A.weight is \(4, 128\)"),
        ({"lora_alpha": True}, "sets lora_alpha = True"),
        ({"lora_alpha": float("nan")}, "sets lora_alpha = nan"),
        ({"lora_dropout": "a"}, "sets lora_dropout"),
        ({"use_rslora": "false"}, "sets use_rslora = 'false'"),
        ({"rank_pattern": [1]}, "sets rank_pattern"),
        ({"alpha_pattern": {"qkv": "8"}}, "sets alpha_pattern"),
        ({"alpha_pattern": {"(": 8}}, "unterminated subpattern"),
        ({"target_modules": None}, "target_modules"),
        ({"target_modules": 5}, "cannot be attached"),
        ({"target_modules": "("}, "unterminated subpattern"),
        ({"target_modules": ["query"]}, "No modules were targeted"),
        ({"target_modules": ["qkv", "fc1"]}, "lacks blocks.0.mlp.fc1.lora_A.weight"),
        ({"exclude_modules": ["blocks.0.attn.qkv"]}, "also holds blocks.0.attn.qkv.lora_A.weight"),
        ({"layers_to_transform": [0], "layers_pattern": "blocks"}, "also holds blocks.1"),
        ({"peft_type": "BANANA"}, "peft_type that PEFT has"),
        ({"peft_type": None}, "peft_type that PEFT has"),
        ({"bias": "all"}, "lacks blocks.0.attn.proj.bias"),
        ({"use_dora": True}, "lacks .*lora_magnitude_vector"),
        ({"lora_bias": True}, "lacks .*lora_B.bias"),
        ({"modules_to_save": ["head", "norm"]}, "lacks norm.bias"),
        ({"trainable_token_indices": [1]}, "embed_tokens"),
        ({"layer_replication": [[0, 2]]}, "layers attribute"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4.*path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "corda"}, "corda"),
        ({"init_lora_weights": "lora_ga"}, "lora_ga"),
        ({"init_lora_weights": "pissa", "use_dora": True}, "pissa.*use_dora"),
        ({"kasa_config": {}}, "rewrites the frozen weights"),
        ({"setting_of_tomorrow": 3}, "setting_of_tomorrow = 3"),
    ],
    ids=str,
)
def test_a_setting_that_does_not_fit_is_named(folder, setting, words):
    edit(folder, **setting)
    with pytest.raises(errors.HeadroomError, match=words):
        pc.load_adapter(folder, backbone("vit"))


def test_a_setting_of_tomorrow_that_is_off_does_no_harm(folder):
    edit(folder, setting_of_tomorrow=False, another=None, third=[])
    compare(pc.load_adapter(folder, backbone("vit")), reloaded("vit", folder))


@pytest.mark.parametrize("text", ["[]", "3", "null", "", "{", '"LORA"', "{}", "[" * 100_000])
def test_a_configuration_that_is_not_an_object_is_an_error(folder, text):
    (folder / CONFIG).write_text(text)
    with pytest.raises(errors.BadAdapter, match="PEFT"):
        pc.load_adapter(folder, backbone("vit"))
    with pytest.raises(errors.BadAdapter, match="PEFT"):
        pc.head_energy(folder, heads=8)


A, B = "base_model.model.blocks.1.attn.qkv.lora_A.weight", "base_model.model.blocks.1.attn.qkv.lora_B.weight"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: without(t, B), "lacks blocks.1.attn.qkv.lora_B.weight"),
        (lambda t: without(t, A, B), "lacks blocks.1.attn.qkv.lora_A.weight"),
        (lambda t: {**t, "base_model.model.norm.weight": torch.ones(128)}, "also holds norm.weight"),
        (lambda t: {**t, "base_model.model.head.lora_A.weight": torch.ones(4, 128)}, "also holds head.lora_A"),
        (lambda t: without(t, "base_model.model.head.weight"), r"not hold one classifier.*modules_to_save=\['head'\]"),
        (lambda t: without(t, "base_model.model.head.bias"), "not hold one classifier"),
        (lambda t: {**t, "base_model.model.head.bias": torch.tensor(1.0)}, "not hold one classifier"),
        (lambda t: {**t, "base_model.model.head.weight": torch.tensor(1.0)}, "not hold one classifier"),
        (lambda t: {**t, A: t[A] * float("nan")}, "finite numbers in .*blocks.1.attn.qkv.lora_A"),
        (lambda t: {**t, A: t[A].to(torch.int8)}, "finite numbers in .*blocks.1.attn.qkv.lora_A"),
        (lambda t: {**t, A: t[A][:, :64]}, r"\(4, 64\)"),
        (lambda t: {**named(t, "cats"), **named(t, "birds")}, r"mixes adapters \(birds, cats\)"),
    ],
)
def test_a_tensor_that_has_no_place_is_named(folder, change, words):
    rewrite(folder, change)
    with pytest.raises(errors.HeadroomError, match=words):
        pc.load_adapter(folder, backbone("vit"))


@pytest.mark.parametrize(
    ("change", "rank"),
    [(lambda t: without(t, A), 4), (lambda t: without(t, B), 4), (lambda t: {**t, A: torch.tensor(1.0)}, 4),
     (lambda t: {**t, A: t[A][:0], B: t[B][:, :0]}, 0)],
    ids=["no A", "no B", "a number", "rank 0"],
)  # fmt: skip
def test_half_a_pair_or_none_has_no_numbers(folder, change, rank):
    rewrite(folder, change)
    edit(folder, rank_pattern={"blocks.1.attn.qkv": rank})
    for read in (lambda: pc.head_energy(folder, heads=8), lambda: xray.read(folder)):
        with pytest.raises(errors.BadAdapter, match="no lora_A and lora_B of rank . for blocks.1.attn.qkv"):
            read()


def test_the_x_ray_of_a_classifier_without_a_shape(folder):
    rewrite(folder, lambda t: {**t, "base_model.model.head.weight": torch.tensor(1.0)})
    assert xray.read(folder).facts["trained for"].startswith("not said")


def named(tensors, adapter):
    """Keys as in the state of a whole model, with the adapter's name."""
    keys = {name: re.sub(r"(lora_[AB])", rf"\1.{adapter}", name) for name in tensors}
    return {keys[n].replace("head.", f"head.modules_to_save.{adapter}."): tensor for n, tensor in tensors.items()}


@pytest.mark.parametrize("adapter", ["birds", "default"])
def test_an_adapters_own_name_inside_the_file_is_understood(folder, plain, adapter):
    rewrite(folder, lambda tensors: named(tensors, adapter))
    compare(pc.load_adapter(folder, backbone("vit")), reloaded("vit", plain))


def test_folders_of_several_adapters_are_named(plain, tmp_path):
    for name in ("birds", "cats"):
        shutil.copytree(plain, tmp_path / name)
    for read in (pc.load_adapter, pc.head_energy):
        with pytest.raises(errors.BadAdapter, match=r"\(birds, cats\); give one: .*birds'"):
            read(tmp_path, backbone("vit"))
    compare(pc.load_adapter(tmp_path / "birds", backbone("vit")), reloaded("vit", plain))
    compare(pc.load_adapter(tmp_path / "birds" / WEIGHTS, backbone("vit")), reloaded("vit", plain))


def test_no_pickle_is_opened(folder, tmp_path):
    """Neither the new format of torch.save nor the old one nor pickle's, under any name."""
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(tensors, folder / "adapter_model.bin")
    torch.save(tensors, tmp_path / "old-bit1-dim4.bin", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.bin").write_bytes(pickle.dumps({"a": 1}))
    for source in (folder, folder / "adapter_model.bin", tmp_path / "old-bit1-dim4.bin", tmp_path / "plain.bin"):
        for read in (pc.load_adapter, pc.head_energy):
            with pytest.raises(errors.BadAdapter, match="is a pickle.*save_file"):
                read(source, backbone("vit"))


# head scores from files


def by_hand(folder, heads, scale):
    tensors = load_file(folder / WEIGHTS)
    paths = sorted((n.removesuffix(".lora_A.weight") for n in tensors if n.endswith("qkv.lora_A.weight")), key=numbers)
    values = np.full((len(paths), 3, max(heads)), np.nan)
    for layer, path in enumerate(paths):
        dW = scale * tensors[f"{path}.lora_B.weight"].float() @ tensors[f"{path}.lora_A.weight"].float()
        for projection, rows in enumerate(dW.chunk(3)):
            values[layer, projection, : heads[layer]] = rows.reshape(heads[layer], -1).norm(dim=1)
    return values


def numbers(path):
    return [int(n) for n in re.findall(r"\d+", path)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "targets", [["qkv"], ["qkv", "fc1", "fc2"], "all-linear", ["qkv", "proj", "head", "reduction"]]
)
def test_blocks_are_what_has_q_k_and_v(family, targets, tmp_path):
    """Neither an MLP, nor the patch embedding, nor patch merging is a block; Swin's blocks differ in heads."""
    trained(family, tmp_path, target_modules=targets)
    whole, heads = backbone(family), backbone(family).heads
    for how in ({"backbone": whole}, {"backbone": FAMILIES[family]}, {"heads": list(heads)}):
        scores = pc.head_energy(tmp_path, **how)
        np.testing.assert_allclose(scores.values, by_hand(tmp_path, heads, 6 / 4), rtol=1e-4)
        assert scores.layers == tuple(block.path for block in whole.blocks) and scores.projections == ("q", "k", "v")
    with pytest.raises(errors.InvalidSetting, match="backbone='NAME'.*heads=12"):
        pc.head_energy(tmp_path)
    edit(tmp_path, base_model_name_or_path=f"timm/{FAMILIES[family]}")
    np.testing.assert_array_equal(pc.head_energy(tmp_path).values, scores.values)


def test_blocks_that_are_not_adapted_have_rows_without_numbers(tmp_path):
    trained("vit", tmp_path, layers_to_transform=[2, 5], layers_pattern="blocks")
    scores = pc.head_energy(tmp_path, "vit_micro")
    assert scores.layers == tuple(f"blocks.{i}" for i in range(8))
    assert [layer for layer in range(8) if not np.isnan(scores.values[layer]).any()] == [2, 5]


@pytest.mark.parametrize("names", ["encoder.layer.{}.attention.attention.{}", "layers.{}.attention.{}"])
def test_an_adapter_of_transformers_vit_has_separate_queries_keys_and_values(folder, names):
    old = "encoder" in names
    tensors = {}
    for layer in range(8):
        for leaf in ("query", "value") if old else ("q_proj", "v_proj"):
            path = "base_model.model.vit." + names.format(layer, leaf)
            tensors |= {f"{path}.lora_A.weight": torch.randn(4, 128), f"{path}.lora_B.weight": torch.randn(128, 4)}
        path = f"base_model.model.vit.encoder.layer.{layer}.attention.output.dense"
        tensors |= {f"{path}.lora_A.weight": torch.randn(4, 128), f"{path}.lora_B.weight": torch.randn(128, 4)}
    rewrite(folder, lambda _: tensors)
    scores = pc.head_energy(folder, heads=8)
    assert scores.values.shape == (8, 2, 8) and scores.projections == ("q", "v") and not np.isnan(scores.values).any()
    np.testing.assert_array_equal(scores.values, pc.head_energy(folder, backbone="vit_micro").values)
    with pytest.raises(errors.HeadroomError, match="No modules were targeted|not hold one classifier"):
        pc.load_adapter(folder, backbone("vit"))


@pytest.mark.parametrize(
    "given, words",
    [
        ({"heads": 7}, "128 rows.*7 heads"),
        ({"heads": [8, 8]}, r"heads = \[8, 8\] does not fit"),
        ({"heads": 0}, "heads = 0 does not fit"),
        ({"heads": "eight"}, "does not fit"),
        ({"backbone": "vit_base_patch16_224"}, "give the backbone that it was trained on"),
        ({"backbone": "swin_micro"}, "give the backbone that it was trained on|Give the backbone"),
        ({"heads": 8, "scale": 3.0}, "scale is a number of PETL-ViT"),
    ],
    ids=str,
)
def test_heads_that_do_not_fit_are_a_sentence(folder, given, words):
    with pytest.raises(errors.InvalidSetting, match=words):
        pc.head_energy(folder, **given)


def test_one_number_of_heads_is_refused_where_blocks_differ_in_width(tmp_path):
    trained("swin", tmp_path)
    with pytest.raises(errors.InvalidSetting, match="heads = 4 does not fit"):
        pc.head_energy(tmp_path, heads=4)


@pytest.mark.parametrize("name", ["dora", "pissa"])
def test_energy_of_anything_but_a_product_of_two_matrices_is_refused(name, tmp_path):
    trained("vit", tmp_path, **EXACT[name])
    with pytest.raises(errors.BadAdapter, match="not a plain LoRA .*(use_dora|pissa)"):
        pc.head_energy(tmp_path, heads=8)


@pytest.mark.parametrize("name", ["saved_patch_embed", "saved_norm1", "target_parameters", "dora", "patch_embedding"])
def test_a_plain_copy_has_the_weights_below_every_wrapper(name, tmp_path):
    """Nested wrappers and saved modules too: no part of a copy is left uninitialised."""
    trained("swin", tmp_path, **dict(EXACT[name]))
    copied = pc.adapters.plain_copy(pc.load_adapter(tmp_path, backbone("swin"))).state_dict()
    for weight, tensor in backbone("swin").module.state_dict().items():
        assert torch.equal(copied[weight], tensor), weight
