"""Other libraries' names for the tensors of a ViT, DeiT, DINOv2 or Swin, rewritten to timm's (or to those of the original
DINOv2 and Swin, which timm's own conversion reads). Each library is a pattern that only its names have and a list of
rewritings, applied in order; what they leave as it was is no part of these families.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

_AT = r"(?:^|(?<=\.))"  # the beginning of a name's component
_Rewriting = tuple[str, str | Callable[[re.Match], str]]

LIBRARIES: dict[str, tuple[str, tuple[_Rewriting, ...]]] = {
    # transformers' before 5 (`encoder.layer.0.attention.attention.query`), as it still saves them, and since
    "transformers": (
        r"attention\.(attention\.|self\.)?(query|q_proj)\.|self_attn\.q_proj|embeddings\.patch_embedding",
        (
            (r"embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
            (r"embeddings\.norm\.", "patch_embed.norm."),
            (r"embeddings\.position_embeddings$", "pos_embed"),
            (r"embeddings\.distillation_token$", "dist_token"),
            (r"embeddings\.(cls_token|mask_token|register_tokens)$", r"\1"),
            (_AT + r"encoder\.layers\.(\d+)\.(blocks|downsample)\.", r"layers.\1.\2."),
            (_AT + r"(?:encoder\.)?layers?\.(\d+)\.(?!blocks\.|downsample\.)", r"blocks.\1."),
            (r"attention\.(?:attention\.|self\.)?([qkv])(?:uery|ey|alue|_proj)\.", r"attn.\1."),
            (r"attention\.(?:output\.dense|o_proj)\.", "attn.proj."),
            (r"attention\.\w+\.relative_position_", "attn.relative_position_"),
            (r"layernorm_before\.", "norm1."),
            (r"layernorm_after\.", "norm2."),
            (_AT + r"layernorm\.", "norm."),
            (r"intermediate\.dense\.", "mlp.fc1."),
            (_AT + r"output\.dense\.", "mlp.fc2."),
            (r"layer_scale([12])\.lambda1$", r"ls\1.gamma"),
            (r"mlp\.weights_in\.", "mlp.w12."),
            (r"mlp\.(?:weights_out|down_proj)\.", "mlp.w3."),
        ),
    ),
    "torchvision": (
        r"encoder_layer_\d+\.self_attention\.|^(.*\.)?features\.\d+\.\d+\.attn\.qkv\.",
        (
            (_AT + r"class_token$", "cls_token"),
            (_AT + r"encoder\.pos_embedding$", "pos_embed"),
            (_AT + r"encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
            (_AT + r"encoder\.ln\.", "norm."),
            (r"self_attention\.in_proj_", "attn.qkv."),
            (r"self_attention\.out_proj\.", "attn.proj."),
            (r"ln_([12])\.", r"norm\1."),
            (_AT + r"(?:conv_proj|features\.0\.0)\.", "patch_embed.proj."),
            (_AT + r"features\.0\.2\.", "patch_embed.norm."),
            (_AT + r"features\.(\d+)\.(\d+)\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.{m[2]}."),
            (_AT + r"features\.(\d+)\.(?=reduction|norm)", lambda m: f"layers.{int(m[1]) // 2}.downsample."),
            (r"mlp\.(?:0|linear_1)\.", "mlp.fc1."),
            (r"mlp\.(?:3|linear_2)\.", "mlp.fc2."),
        ),
    ),
}
# Layers that timm keeps as one: their parts, in its order.
_JOINED = {"attn.qkv": ("attn.q", "attn.k", "attn.v"), "mlp.w12": ("mlp.gate_proj", "mlp.up_proj")}


def library_of(names: list[str]) -> str | None:
    """Whose names these are: 'transformers', 'torchvision', or None where they may be timm's."""
    return next((lib for lib, (sign, _) in LIBRARIES.items() if any(re.search(sign, name) for name in names)), None)


def to_timms(state: dict[str, Tensor], library: str) -> dict[str, Tensor]:
    """A library's tensors by timm's names, q, k and v joined. Names that no rewriting knows stay."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, new in LIBRARIES[library][1]:
            name = re.sub(pattern, new, name)
        renamed[name] = tensor
    for whole, parts in _JOINED.items():
        for name in [name for name in renamed if f"{parts[0]}." in name]:
            names = [name.replace(f"{parts[0]}.", f"{part}.") for part in parts]
            if all(part in renamed for part in names):
                renamed[name.replace(f"{parts[0]}.", f"{whole}.")] = torch.cat([renamed.pop(part) for part in names])
    return renamed
