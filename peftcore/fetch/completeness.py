"""Whether a file's tensors are a whole backbone: every name, every shape, and nothing that belongs to another model."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from peftcore.errors import WeightsUnavailable

# What a file may hold besides a backbone: classifiers, poolers, and what only pretraining used.
_BESIDE = re.compile(
    r"(heads?|head_dist|fc|\w*classifier|\w+_head|pooler|pre_logits|mask_token|decoder\w*|projectors?|predictor)\b"
)


def check_patches(model: nn.Module, tensors: Iterable[Tensor]) -> None:
    """timm would resample a patch embedding of any size. Raises WeightsUnavailable where the file's is of another."""
    weight = getattr(getattr(getattr(model, "patch_embed", None), "proj", None), "weight", None)
    if weight is not None and weight.ndim == 4:
        shapes = {tuple(tensor.shape) for tensor in tensors if tensor.ndim == 4 and len(tensor) == len(weight)}
        if shapes and weight.shape[2:] not in {shape[2:] for shape in shapes}:
            raise WeightsUnavailable(f"its patch embedding is {shapes.pop()}, the backbone's {tuple(weight.shape)}")


def check_names(own: Collection[str], state: Mapping[str, Tensor], strict: bool, read: str) -> list[str]:
    """The names that are left over, a classifier's for instance. timm itself is not strict about a pooling's.

    Raises:
        WeightsUnavailable: one of the backbone's names is missing, or one of the file's is unknown to it.
    """
    left_over, missing = [key for key in state if key not in own], [key for key in own if key not in state]
    unknown = [key for key in left_over if not _BESIDE.match(key) and (strict or not key.startswith("attn_pool."))]
    if missing or unknown:
        faults = [f"({read})"] if read else []
        if missing:
            faults.append(f"{len(missing)} of the backbone's {len(own)} tensors are missing ({some(missing)})")
        if unknown:
            faults.append(f"{len(unknown)} of its own are unknown to the backbone ({some(unknown)})")
        known = "; of other libraries, ViT, DeiT, DINOv2 and Swin are known" if "names of" in read else ""
        raise WeightsUnavailable(f"{', '.join(faults)}. Name the architecture that the file was made for{known}")
    return left_over


def check_tensors(own: Mapping[str, Tensor], state: Mapping[str, Tensor], cfg: dict[str, Any]) -> None:
    """Raises WeightsUnavailable where a tensor of the file has another shape than the backbone's, or is quantised."""
    for key, tensor in own.items():
        there, shape = state[key], [*tensor.shape]
        if key == f"{cfg.get('first_conv')}.weight" and there.shape[1:2] == tuple(cfg["input_size"][:1]):
            shape[1] = there.shape[1]  # timm fits it to the requested channels
        if [*there.shape] != shape:
            raise WeightsUnavailable(
                f"{key} is {tuple(there.shape)} in the file and {tuple(tensor.shape)} in the backbone"
            )
        if tensor.is_floating_point() and (not there.is_floating_point() or there.itemsize == 1):
            raise WeightsUnavailable(f"{key} is quantised ({there.dtype}); save it in fp32, fp16 or bf16")


def some(names: Collection[str]) -> str:
    """The first three, and whether there are more."""
    return ", ".join([*names][:3]) + (", ..." if len(names) > 3 else "")


def grouped(names: Iterable[str]) -> list[str]:
    """The names; where more than two share their first part, only their number."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[name.partition(".")[0]].append(name)
    return [one for top, group in groups.items() for one in (group if len(group) < 3 else [f"{top}.* ({len(group)})"])]
