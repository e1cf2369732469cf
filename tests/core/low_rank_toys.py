"""Small random backbones of every family, and helpers for the tests of low-rank methods."""

from __future__ import annotations

from functools import cache

import torch

import peftcore as pc
from peftcore.methods._low_rank import Beside, Pair

FAMILIES = {
    "vit": ("vit_tiny_patch16_224", dict(img_size=32, embed_dim=32, depth=3, num_heads=4)),
    "eva02": ("eva02_tiny_patch14_224", dict(img_size=28, embed_dim=32, depth=2, num_heads=4)),
    "eva_split": ("eva02_tiny_patch14_224", dict(img_size=28, embed_dim=32, depth=2, num_heads=4, qkv_fused=False)),
    "beit": ("beit_base_patch16_224", dict(img_size=32, embed_dim=32, depth=2, num_heads=4, init_values=0.1)),
    "swin": (
        "swin_tiny_patch4_window7_224",
        dict(img_size=32, window_size=4, embed_dim=16, depths=(2, 1), num_heads=(2, 4)),
    ),
    "swinv2": (
        "swinv2_tiny_window8_256",
        dict(img_size=32, window_size=4, embed_dim=16, depths=(2, 1), num_heads=(2, 4)),
    ),
}


def toy(family: str, dtype: torch.dtype = torch.float64) -> pc.Backbone:
    """A random backbone, in float64 so that laws hold far below any tolerance. Never changed by a test."""
    return _toy(family, dtype)


@cache
def _toy(family: str, dtype: torch.dtype) -> pc.Backbone:
    name, architecture = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = pc.load_backbone(name, pretrained=False, **architecture)
        for parameter in backbone.module.parameters():  # livelier than the init, whose deltas would drown
            parameter.add_(torch.randn_like(parameter) * 0.1)
    backbone.module.to(dtype)
    return backbone


def images(backbone: pc.Backbone, count: int = 3, seed: int = 1) -> torch.Tensor:
    drawn = torch.randn(count, *backbone.input_size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.to(next(backbone.module.parameters()).dtype)


def labels(count: int = 3, classes: int = 5) -> torch.Tensor:
    return torch.arange(count) % classes


def attached(
    family: str, name: str, size: float = 0.3, dtype: torch.dtype = torch.float64, **settings
) -> pc.TunedModel:
    """A model in `dtype` and eval mode whose trainable tensors have been nudged by normal noise of this size."""
    model = pc.attach(toy(family, dtype), pc.make_method(name, **settings), 5, verify=False).to(dtype).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype) * size)
    return model


def merged_logits(model: pc.TunedModel, batch: torch.Tensor) -> torch.Tensor:
    """Logits of a plain timm module with the method's own `merge`, and the model's head."""
    plain = model.backbone.clone().module
    for module in plain.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
        for name, parameter in module._parameters.items():  # own copies of the frozen weights
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(parameter.detach().clone(), requires_grad=False)
    model.method.merge(model, plain)
    with torch.no_grad():
        return model.head(plain.forward_head(plain.forward_features(batch), pre_logits=True))


def added(pair: Pair, x: torch.Tensor) -> torch.Tensor:
    """What a pair adds to the output of its layer, (..., d_out), from the layer's input x (..., d_in)."""
    return Beside([pair], [slice(None)]).after(pair, (x,), x.new_zeros(*x.shape[:-1], pair.weights()[1].shape[0]))
