"""Plain timm modules again: the backbone of a tuned model, what it learnt folded in, and its classifier."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from peftcore import errors
from peftcore.adapters.save import writable
from peftcore.model import TunedModel

# Hugging Face PEFT keeps what it wraps below the wrapper, under one of these names; wrappers may be nested.
_WRAPPED = re.compile(r"\.(base_layer|original_module)(?=\.)")


def plain_copy(model: TunedModel) -> nn.Module:
    """A timm module with weights of its own: the model's backbone as it is now, hooks and wrappers apart, and its
    classifier.

    Raises:
        CannotMerge: a weight of the timm model is nowhere in the backbone, because a method has replaced its layer.
    """
    import timm

    backbone = model.backbone
    with torch.device("meta"):
        module = timm.create_model(backbone.name, num_classes=model.head.out_features, **dict(backbone.options))
    module = module.to_empty(device=backbone.device).to(next(backbone.module.parameters()).dtype).eval()
    heads = module.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)  # a distilled DeiT averages two, as its tokens are here
    with torch.no_grad():
        for classifier in heads:
            classifier.weight.copy_(model.head.weight)
            classifier.bias.copy_(model.head.bias)
    absent = module.load_state_dict(_by_plain_name(backbone.module.state_dict().items()), strict=False).missing_keys
    absent = [name for name in absent if module.get_submodule(name.rpartition(".")[0]) not in heads]
    if absent:
        raise errors.CannotMerge(f"{model.method.card.title} has put another layer in the place of {absent[0]}.")
    # Non-persistent buffers (Swin's index tables) are in no state dict.
    buffers = _by_plain_name(backbone.module.named_buffers())
    for name, _ in list(module.named_buffers()):
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, buffers[name].clone())
    return module


def _by_plain_name(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {_WRAPPED.sub("", name): tensor for name, tensor in tensors}


def merge(model: TunedModel) -> nn.Module:
    """A plain timm module, classifier included, that computes what `model` computes in eval mode.

    Raises:
        CannotMerge: the method has no such module.
    """
    module = plain_copy(model)
    model.method.merge(model, module)
    return module


def save_merged(model: TunedModel, path: str | Path) -> Path:
    """The merged module as a .safetensors file that `timm.create_model(..., checkpoint_path=...)` reads."""
    from safetensors.torch import save_file

    path = writable(Path(path).parent) / Path(path).name
    state = {k: v.contiguous() for k, v in merge(model).state_dict().items()}
    try:
        save_file(state, path)
    except (OSError, SafetensorError) as error:
        raise errors.BadAdapter(f"The merged model cannot be written to {str(path)!r}: {error}.") from error
    return path
