"""Small backbones with random weights: laws hold whatever the weights."""

from __future__ import annotations

from functools import lru_cache

import torch

import peftcore as pc

VIT = dict(name="vit_tiny_patch16_224", img_size=(32, 48), patch_size=8, embed_dim=32, depth=5, num_heads=4)
SWIN = dict(
    name="swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=16, depths=(2, 1), num_heads=(2, 4)
)
BOTH = ("vit", "swin")
MICRO = ("vit_micro", "swin_micro")  # the embedded ones, with their weights


@lru_cache
def small(family: str) -> pc.Backbone:
    """A ViT of odd depth on a non-square grid, or a Swin of two stages with shifted windows; or an embedded one."""
    if family in MICRO:
        return pc.load_backbone(family)
    settings = dict(VIT if family == "vit" else SWIN)
    return pc.load_backbone(settings.pop("name"), pretrained=False, **settings)


def images(backbone: pc.Backbone, n: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, *backbone.input_size, generator=torch.Generator().manual_seed(seed))


def nudge(model: pc.TunedModel, std: float = 0.02, seed: int = 1) -> pc.TunedModel:
    """Moves every trainable tensor off its start, so that nothing is zero by construction."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * std)
    return model


def state_bytes(module: torch.nn.Module) -> list[bytes]:
    return [t.detach().numpy().tobytes() for t in module.state_dict().values()]
