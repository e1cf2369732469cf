"""Small models of each family, and a measured step of one."""

from __future__ import annotations

import torch
from torch import nn

from peftcore.backbone.load import load_backbone
from peftcore.bench._measure import measure_step
from peftcore.memory import MemoryReport
from peftcore.methods import make_method
from peftcore.model import attach

FAMILIES = {
    "vit": ("vit_tiny_patch16_224", dict(img_size=64, embed_dim=64, depth=3, num_heads=4)),
    "swin": (
        "swin_tiny_patch4_window7_224",
        dict(img_size=56, embed_dim=32, depths=(2, 1), num_heads=(2, 4)),
    ),
}


def tuned(family: str, method: str, device: str = "cpu", **settings):
    name, architecture = FAMILIES[family]
    backbone = load_backbone(name, pretrained=False, device=device, **architecture)
    return attach(backbone, make_method(method, **settings), num_classes=10)


def batch_for(model, size: int = 4):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, *model.backbone.input_size, generator=generator)
    return images, torch.arange(size) % 10


def measured(model, size: int = 4, **options) -> MemoryReport:
    images, labels = batch_for(model, size)
    images = None if "features" in options else images
    return measure_step(model, images, labels, torch.optim.AdamW(model.trainable_parameters(), fused=True), **options)


def chain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 8))
