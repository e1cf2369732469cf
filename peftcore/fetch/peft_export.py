"""Hugging Face PEFT adapters of what was trained here: a LoRA folder that computes the same, where there is one.

What was trained elsewhere is read by peftcore/fetch.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from peftcore import errors
from peftcore.adapters.merged import classifiers
from peftcore.model import TunedModel

Pairs = dict[str, tuple[Tensor, Tensor]]  # path of a Linear -> A (r, d_in), B (d_out, r) with the scale folded in

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."


def export_peft(model: TunedModel, folder: str | Path) -> Path:
    """A Hugging Face PEFT adapter folder that computes what `model` computes: a LoRA, or what PEFT trained here itself.

    Load it with `PeftModel.from_pretrained(timm.create_model(NAME, pretrained=True, num_classes=...), folder)`; pass
    the `options` and weights of `model.backbone` where it has any, such as img_size.

    Raises:
        CannotExport: the method is not an exact LoRA on linear layers.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    updates, heads = model.method.as_lora(model), classifiers(model.backbone)
    tensors = {f"{_PREFIX}{path}.{name}": p.detach() for path in heads for name, p in model.head.named_parameters()}
    if updates is not None:
        if silent := _passed_by(model, updates):
            raise errors.CannotExport(
                f"{model.backbone.name} multiplies with the weights of {silent[0]} itself and never calls that layer, "
                "so a LoRA of Hugging Face PEFT there would do nothing. Export the adapter, or merged weights."
            )
        dropout = getattr(model.method, "dropout", 0.0)
        config = LoraConfig(target_modules=list(updates), lora_dropout=dropout, **ranks(updates))
        tensors |= lora_names(updates, _PREFIX)
    elif hasattr(model.tuner, "peft"):
        config = copy.copy(model.tuner.peft.peft_config["default"])
        tensors |= state_of_peft(model)
    else:
        raise errors.CannotExport(
            f"{model.method.card.title} is not a low-rank update of linear layers, so Hugging Face PEFT's LoRA cannot "
            "hold it; lora, bi_lora, heart_lora, serial_lora and hf_peft can be exported."
        )
    config.base_model_name_or_path, config.inference_mode = model.backbone.name, True
    others = [m for m in config.modules_to_save or () if not heads[0].startswith(m) and not heads[0].endswith(m)]
    config.modules_to_save = [*heads, *others]
    try:
        config.save_pretrained(str(folder))
        save_file({name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}, Path(folder) / WEIGHTS)
    except (OSError, AssertionError, SafetensorError) as error:
        raise errors.CannotExport(f"{str(folder)!r} cannot be written: {error}.") from error
    return Path(folder)


def _passed_by(model: TunedModel, paths: Collection[str]) -> list[str]:
    """Which of these layers are not called in a forward of one image, as in timm's BEiT and EVA."""
    called, backbone = set[str](), model.backbone
    hooks = [
        backbone.module.get_submodule(path).register_forward_hook(lambda *_, path=path: called.add(path))
        for path in paths
    ]
    try:
        with torch.no_grad():
            model(next(model.parameters()).new_zeros(1, *backbone.input_size))
    finally:
        for hook in hooks:
            hook.remove()
    return [path for path in paths if path not in called]


def state_of_peft(model: TunedModel) -> dict[str, Tensor]:
    """What PEFT would save of a model of `hf_peft`, under its own names; the tensors are the model's."""
    from peft import get_peft_model_state_dict

    whole = nn.Module()  # PEFT's names begin at the model that it would wrap
    whole.base_model, whole.peft_config = model.tuner.peft, model.tuner.peft.peft_config
    return get_peft_model_state_dict(whole, save_embedding_layers=False)


def ranks(pairs: Pairs) -> dict[str, Any]:
    """The settings of PEFT's LoRA for pairs of these ranks at scale 1: alpha equals the rank everywhere."""
    ranks = {path: len(A) for path, (A, _) in pairs.items()}
    common = max(ranks.values(), key=list(ranks.values()).count)
    others = {path: rank for path, rank in ranks.items() if rank != common}
    return {"r": common, "lora_alpha": common, "rank_pattern": others, "alpha_pattern": others}


def lora_names(pairs: Pairs, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of pairs under PEFT's names."""
    return {
        f"{prefix}{path}.lora_{AB}.weight": t for path, pair in pairs.items() for AB, t in zip("AB", pair, strict=True)
    }
