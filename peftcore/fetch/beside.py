"""What stands beside a file of weights and no tensor shows: the model's heads and activation, and what images it reads.

timm writes all of it into config.json; transformers the model's part, and the images' into preprocessor_config.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import DropPath, PatchDropout
from torch import nn

from peftcore.backbone.arrival import UNREADABLE
from peftcore.errors import WeightsUnavailable
from peftcore.fetch.weight_files import USUAL, parts, weights_file

TOLERATED = 1e-4  # between two epsilons: transformers' 1e-12 and timm's 1e-6 compute the same
_RESAMPLING = {2: "bilinear", 3: "bicubic"}  # as Pillow numbers them
_WITHOUT_EFFECT = (nn.Identity, nn.Dropout, DropPath, PatchDropout)  # in eval mode


def heed(file: Path, model: nn.Module) -> None:
    """Lets `model` read images as the files beside its weights say, in `model.pretrained_cfg`.

    Raises:
        WeightsUnavailable: they say that the weights belong to a model which computes something else.
    """
    if not _is_theirs(file):
        return
    said = _read(file.with_name("config.json"))
    if "architecture" in said:
        _check_architecture(said, model)
    else:
        _check_transformers(said, model)
    cfg = said.get("pretrained_cfg")
    about = _images(cfg if isinstance(cfg, dict) else {})
    about |= _images(_of_transformers(_read(file.with_name("preprocessor_config.json"))))
    if isinstance(known := getattr(model, "pretrained_cfg", None), dict) and about:
        model.pretrained_cfg = known | about


def _is_theirs(file: Path) -> bool:
    """Whether the folder is one model's: its file has a model's usual name, or no other weights lie there."""
    try:
        return file.name in USUAL or file in parts(weights_file(file.parent))
    except (*UNREADABLE, WeightsUnavailable):
        return False


def _read(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # files of weights alone have none
    return said if isinstance(said, dict) else {}


def _check_architecture(said: dict[str, Any], model: nn.Module) -> None:
    """timm's model of that name and these arguments has to compute, module by module, as `model` does."""
    name, settings = said["architecture"], said.get("model_args") or {}
    known = getattr(model, "pretrained_cfg", None) or {}
    if not isinstance(name, str) or name == known.get("architecture") and not settings:
        return
    try:
        with torch.device("meta"):
            theirs = timm.create_model(name, pretrained=False, num_classes=0, **settings)
    except UNREADABLE:
        return  # it is of a newer timm, say
    own = dict(model.named_modules())
    for path, module in theirs.named_modules():
        if path in own and (one := _kind(module)) != (other := _kind(own[path])):
            at = path or "the model"
            raise WeightsUnavailable(
                f"its config.json says {name}: {at} has {_said(one)}, the backbone's {_said(other)}"
            )


def _kind(module: nn.Module) -> dict[str, Any]:
    """What a module computes that no tensor's name and shape show."""
    seen = {name: getattr(module, name, None) for name in ("num_heads", "global_pool", "eps")}
    if next(module.parameters(), None) is None and not isinstance(module, _WITHOUT_EFFECT):
        seen["type"] = type(module).__name__
    return {name: value for name, value in seen.items() if isinstance(value, (int, float, str))}


def _said(kind: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in kind.items()) or "nothing of it"


def _check_transformers(said: dict[str, Any], model: nn.Module) -> None:
    """How many heads share a projection, the activation, the norms' epsilon."""
    vision = said.get("vision_config")
    said = vision if isinstance(vision, dict) else said
    own: Any
    if isinstance(stages := getattr(model, "layers", None), nn.Sequential):  # a Swin
        heads, own = said.get("num_heads"), [stage.blocks[0].attn.num_heads for stage in stages]
    else:
        heads, own = said.get("num_attention_heads"), getattr(model.blocks[0].attn, "num_heads", None)
    if None not in (heads, own) and heads != own:
        raise WeightsUnavailable(f"its config.json says {heads} attention heads, and the backbone has {own}")
    act, eps = said.get("hidden_act"), said.get("layer_norm_eps")
    if isinstance(act, str) and not act.startswith("gelu") and any(isinstance(m, nn.GELU) for m in model.modules()):
        raise WeightsUnavailable(f"its config.json says the activation {act!r}, and the backbone has GELU")
    norm = next((m for m in model.modules() if isinstance(m, nn.LayerNorm)), None)
    if norm and isinstance(eps, (int, float)) and abs(eps - norm.eps) > TOLERATED:
        raise WeightsUnavailable(f"its config.json says layer_norm_eps = {eps:g}, and the backbone has {norm.eps:g}")


def _images(about: dict[str, Any]) -> dict[str, Any]:
    """Of mean, std, interpolation and crop_pct what is there and means something."""
    fits = {"mean": _is_by_channel, "std": _is_by_channel, "interpolation": [*_RESAMPLING.values()].__contains__,
            "crop_pct": lambda share: isinstance(share, (int, float)) and 0 < share <= 1}  # fmt: skip
    found = {name: about[name] for name, is_one in fits.items() if name in about and is_one(about[name])}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _is_by_channel(values: Any) -> bool:
    return isinstance(values, list) and len(values) > 0 and all(isinstance(v, (int, float)) for v in values)


def _of_transformers(said: dict[str, Any]) -> dict[str, Any]:
    """A preprocessor_config.json in timm's words."""
    mean, std = said.get("image_mean"), said.get("image_std")
    if said.get("do_normalize") is False:
        mean, std = [0.0], [1.0]
    resample = said.get("resample")
    return {"mean": mean, "std": std, "interpolation": _RESAMPLING.get(resample) if isinstance(resample, int) else None}
