"""Plain timm modules again: the backbone of a tuned model, what it learnt folded in, and its classifier."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from peftcore import errors
from peftcore.adapters.save import writable
from peftcore.backbone.load import Backbone
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
    own = {_WRAPPED.sub("", name): tensor for name, tensor in _tensors(backbone.module)}
    own |= {f"{path}.{name}": p for path in classifiers(backbone) for name, p in model.head.named_parameters()}
    with torch.no_grad():
        for name, place in _tensors(module):
            if name not in own:
                raise errors.CannotMerge(f"{model.method.title} has put another layer in the place of {name}.")
            place.copy_(own[name])
    return module


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, also those that are in no state dict (Swin's index tables)."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def classifiers(backbone: Backbone) -> tuple[str, ...]:
    """Where a timm model has its classifier; a distilled DeiT averages two, as our one does their tokens."""
    paths = backbone.module.pretrained_cfg["classifier"]
    return (paths,) if isinstance(paths, str) else tuple(paths)


def merge(model: TunedModel) -> nn.Module:
    """A plain timm module, classifier included, that computes what `model` computes in eval mode.

    Raises:
        CannotMerge: the method has no such module, or it does not compute the same: a tuner's own merge may be wrong,
            and some layers (a hybrid's convolutions) standardise what is folded into their weights.
    """
    module, was = plain_copy(model), model.training
    model.method.merge(model, module)
    image = torch.randn(1, *model.backbone.input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own, merged = (one.eval()(image.to(next(module.parameters()))) for one in (model, module))
    model.train(was)
    if not (own - merged).abs().max() <= torch.finfo(own.dtype).eps ** 0.5 * own.abs().max():
        who = f"{model.method.title} on {model.backbone.name}"
        raise errors.CannotMerge(f"{who} cannot be merged: the plain module would not compute what the model does.")
    return module


def save_merged(model: TunedModel, path: str | Path) -> Path:
    """The merged module as a file that `timm.create_model(..., checkpoint_path=...)` reads. timm goes by the suffix:
    a `path` that does not end in .safetensors gets that."""
    from safetensors.torch import save_file

    path = writable(Path(path).parent) / f"{Path(path).name.removesuffix('.safetensors')}.safetensors"
    state = {k: v.contiguous() for k, v in merge(model).state_dict().items()}
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            save_file(state, part := Path(scratch, path.name))
            part.replace(path)
    except (OSError, SafetensorError) as error:
        raise errors.BadAdapter(f"The merged model cannot be written to {str(path)!r}: {error}.") from error
    return path
