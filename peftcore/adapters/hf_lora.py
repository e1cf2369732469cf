"""What was trained elsewhere comes in, what was trained here leaves: Hugging Face PEFT LoRA folders, PETL-ViT files.

Both ways are exact: the same function, tested. What has no exact counterpart is refused with a sentence.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peftcore import errors
from peftcore.adapters.save import plain_copy
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.methods import make_method
from peftcore.methods._scores import HeadScores, table
from peftcore.model import TunedModel, attach

CONFIG, _WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
# How Linear layers of vision transformers are called in timm and in transformers.
_NAMES = {
    "qkv": ("q", "k", "v"),
    **dict.fromkeys(("q", "q_proj", "query"), ("q",)),
    **dict.fromkeys(("k", "k_proj", "key"), ("k",)),
    **dict.fromkeys(("v", "v_proj", "value"), ("v",)),
    "proj": ("proj",),
    "fc1": ("fc1",),
    "fc2": ("fc2",),
}
_KEY = re.compile(r"(?:base_model\.model\.)?(?P<path>.+)\.lora_(?P<which>[AB])(?:\.default)?\.weight")


def export_peft(model: TunedModel, folder: str | Path) -> Path:
    """A Hugging Face PEFT LoRA folder that computes what `model` computes, written by PEFT itself.

    Load it with `PeftModel.from_pretrained(timm.create_model(NAME, num_classes=...), folder)`.

    Raises:
        CannotExport: the method is no exact LoRA on linear layers.
    """
    updates = model.method.as_lora(model)
    if updates is None:
        raise errors.CannotExport(
            f"{model.method.card.title} is no low-rank update of linear layers, so Hugging Face PEFT's LoRA cannot hold it; "
            "lora, bi_lora, heart_lora and serial_lora can be exported."
        )
    from peft import LoraConfig, get_peft_model

    module = plain_copy(model)
    classifier = module.pretrained_cfg["classifier"]
    ranks = {path: A.shape[0] for path, (A, _) in updates.items()}
    common = max(ranks.values(), key=list(ranks.values()).count)
    config = LoraConfig(  # the scale is folded into B, so alpha equals the rank everywhere
        r=common,
        lora_alpha=common,
        lora_dropout=getattr(model.method, "dropout", 0.0),
        target_modules=list(updates),
        rank_pattern={path: rank for path, rank in ranks.items() if rank != common},
        alpha_pattern={path: rank for path, rank in ranks.items() if rank != common},
        modules_to_save=[classifier],
        base_model_name_or_path=model.backbone.name,
    )
    wrapped = get_peft_model(module, config)
    wrapped.peft_config["default"].base_model_name_or_path = model.backbone.name  # PEFT took it for a hub name
    with torch.no_grad():
        for path, (A, B) in updates.items():
            layer = module.get_submodule(path)
            layer.lora_A["default"].weight.copy_(A)
            layer.lora_B["default"].weight.copy_(B)
    try:
        wrapped.save_pretrained(str(folder))
    except OSError as error:
        raise errors.CannotExport(f"{str(folder)!r} cannot be written: {error.strerror}.") from error
    return Path(folder)


def import_peft(folder: str | Path, backbone: Backbone) -> TunedModel:
    """A Hugging Face PEFT LoRA for a timm model, as a TunedModel on `backbone` that computes the same.

    PEFT's A on a fused qkv is shared by q, k and v; here each gets its copy.

    Raises:
        BadAdapter: no LoRA folder, damaged, or of a variant that is no plain LoRA.
        AdapterMismatch: layers or shapes that `backbone` does not have, or no saved classifier.
    """
    config, tensors = read_peft(Path(folder))
    pairs = _pairs(tensors)
    paths = {path.rpartition(".")[2] for path in pairs}
    unknown = sorted(p for p in paths if p not in _NAMES)
    if unknown or not pairs:
        raise errors.AdapterMismatch(
            f"{str(folder)!r} adapts {', '.join(unknown) or 'nothing'}; Headroom reads {', '.join(_NAMES)}."
        )
    ranks = {A.shape[0] for A, _ in pairs.values()}
    if len(ranks) > 1:
        raise errors.AdapterMismatch(
            f"{str(folder)!r} has ranks {sorted(ranks)}; Headroom's LoRA has one rank for all layers."
        )
    heads = {k: v for k, v in tensors.items() if ".lora_" not in k and k.rpartition(".")[2] in ("weight", "bias")}
    weight = next((v for k, v in heads.items() if k.endswith("weight")), None)
    if weight is None or weight.shape[1] != backbone.width:
        raise errors.AdapterMismatch(
            f"{str(folder)!r} holds no classifier for width {backbone.width}; save it with modules_to_save=['head']."
        )
    projections = tuple(p for p in ("q", "k", "v", "proj", "fc1", "fc2") if any(p in _NAMES[n] for n in paths))
    rank = ranks.pop()
    # B comes with its scale folded in, since patterns may give every layer a scale of its own.
    method = make_method(
        "lora", rank=rank, alpha=rank, projections=projections, dropout=config.get("lora_dropout") or 0.0
    )
    model = attach(backbone, method, weight.shape[0], verify=False)
    state = {
        "head.weight": weight,
        "head.bias": next((v for k, v in heads.items() if k.endswith("bias")), torch.zeros(len(weight))),
    }
    used = set()
    for adapted in model.tuner:
        block, projection = adapted.block, adapted.projection
        path = next(
            (p for p in pairs if p.startswith(f"{block.path}.") and projection in _NAMES[p.rpartition(".")[2]]), None
        )
        if path is None:
            raise errors.AdapterMismatch(
                f"{str(folder)!r} does not adapt {projection} of {block.path}; this backbone has it."
            )
        used.add(path)
        A, B = pairs[path]
        rows = adapted.site.rows if path.endswith("qkv") else slice(None)
        if (A.shape[1], B.shape[0]) != (adapted.site.linear.in_features, adapted.site.linear.out_features):
            raise errors.AdapterMismatch(
                f"{path} has shape {tuple(B.shape)} x {tuple(A.shape)}; {backbone.name} is of another width."
            )
        state[f"{adapted.site.path}.lora_A.weight"] = A
        state[f"{adapted.site.path}.lora_B.weight"] = _scale(config, path, rank) * B[rows]
    if left := sorted(pairs.keys() - used):
        raise errors.AdapterMismatch(
            f"{str(folder)!r} also adapts {left[0]}, which Headroom's LoRA does not; it would be lost."
        )
    model.load_adapter_state(state)
    return model.eval()


def read_peft(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of a PEFT LoRA folder, or of its weights file with the configuration beside it.

    Raises:
        BadAdapter: missing, damaged, or no plain LoRA.
    """
    folder = source if source.is_dir() else source.parent
    file = source if source.is_file() else next((folder / w for w in _WEIGHTS if (folder / w).exists()), None)
    if file is None:
        raise errors.BadAdapter(f"{str(source)!r} holds no {' or '.join(_WEIGHTS)}.")
    try:
        config = json.loads((folder / CONFIG).read_text())
        tensors = _load(file)
    except FileNotFoundError:
        raise errors.BadAdapter(f"{str(folder)!r} has no {CONFIG}; give a Hugging Face PEFT adapter folder.") from None
    except Exception as error:  # safetensors, pickle and JSON each have their own
        raise errors.BadAdapter(
            f"{str(source)!r} is damaged or no PEFT adapter: {str(error).splitlines()[0]}."
        ) from error
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("bias", "none") != "none":
        kind = (
            "DoRA" if config.get("use_dora") else f"{config.get('peft_type')} with bias={config.get('bias', 'none')!r}"
        )
        raise errors.BadAdapter(f"{str(source)!r} is {kind}; only plain LoRA can be read.")
    return config, tensors


def _load(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _pairs(tensors: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Module path -> (A, B)."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if match := _KEY.fullmatch(key):
            found.setdefault(match["path"], {})[match["which"]] = tensor
    return {path: (p["A"], p["B"]) for path, p in found.items() if len(p) == 2}


def _scale(config: dict[str, Any], path: str, rank: int) -> float:
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.search(rf"(^|\.){pattern}$", path):
            alpha = value
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def foreign_energy(source: Path, scale: float | None = None) -> HeadScores:
    """||dW_h||_F from a PEFT LoRA folder or file, or a PETL-ViT .bin file (ViT-B/16; `scale` was searched per task).

    Heads of a PEFT adapter: those of the base model that its configuration names where that is a timm model; else
    64 wide each, as in every standard ViT [ours].

    Raises:
        BadAdapter: neither of both. NotMeasurable: no update on q, k or v.
    """
    if source.is_file() and source.suffix == ".bin" and not (source.parent / CONFIG).exists():
        return _petl_energy(source, scale)
    config, tensors = read_peft(source)
    pairs = _pairs(tensors)
    updates: dict[tuple[int, str], tuple[str, Tensor]] = {}
    order = sorted({_block_path(p) for p in pairs}, key=lambda p: [int(n) for n in re.findall(r"\d+", p)])
    for path, (A, B) in pairs.items():
        names = _NAMES.get(path.rpartition(".")[2], ())
        parts = (_scale(config, path, A.shape[0]) * (B @ A)).chunk(len(names) or 1)
        for name, dW in zip(names, parts, strict=False):
            updates[order.index(_block_path(path)), name] = (_block_path(path), dW)
    heads = _heads_of(config.get("base_model_name_or_path"))
    return _energy_table({k: v for k, v in updates.items() if k[1] in ("q", "k", "v")}, heads, source)


def _petl_energy(source: Path, scale: float | None) -> HeadScores:
    from peftcore.adapters.petl_vit import read

    file = read(source, scale)
    weights = file.weights()
    updates = {}
    for name in weights:
        if match := re.fullmatch(r"(blocks\.(\d+))\.attn\.([qv])\.lora_A\.weight", name):
            A, B = weights[name], weights[name.replace("lora_A", "lora_B")]
            updates[int(match[2]), match[3]] = (match[1], file.scale * (B @ A))
    return _energy_table(updates, lambda layer, width: width // 64, source)  # ViT-B/16: 12 heads of 64


def _block_path(path: str) -> str:
    """The path up to its last number: 'blocks.3.attn.qkv' -> 'blocks.3'."""
    match = re.match(r"(.*\d)(?:\.|$)", path)
    return match[1] if match else path


def _heads_of(name: str | None):
    """How many heads layer i of width d has."""
    try:
        blocks = load_backbone(str(name).removeprefix("timm/"), pretrained=False, device="meta").blocks
    except errors.HeadroomError:
        warnings.warn(
            f"The adapter names no base model that timm knows ({name}); its heads are taken as 64 wide.", stacklevel=4
        )
        return lambda layer, width: max(1, width // 64)
    return lambda layer, width: blocks[layer].heads if layer < len(blocks) else max(1, width // 64)


def _energy_table(updates: dict[tuple[int, str], tuple[str, Tensor]], heads, source: Path) -> HeadScores:
    if not updates:
        raise errors.NotMeasurable(
            f"{str(source)!r} has no low-rank update on q, k or v, so no head of it can be scored."
        )
    rows = [
        (layer, path, projection, dW.float().reshape(heads(layer, dW.shape[0]), -1).norm(dim=1).double().numpy())
        for (layer, projection), (path, dW) in updates.items()
    ]
    return table(rows, "energy")
