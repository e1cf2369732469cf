"""What attach refuses, the prediction of memory refuses, in the same words: a bill never promises a run that fails."""

from __future__ import annotations

import pytest
import torch
from backbones import small

import peftcore as pc
from peftcore import errors
from peftcore.backbone.load import load_backbone
from peftcore.memory import predict
from peftcore.registry import METHODS


def _plain(size: int) -> dict:
    return dict(img_size=size, embed_dim=32, depth=2, num_heads=2)


_SWIN = dict(img_size=64, window_size=4, embed_dim=16, depths=(1, 1), num_heads=(1, 2))
FEW = [
    dict(name="lora"), dict(name="lora", projections=["proj"]), dict(name="lora", rank=999), dict(name="hf_peft"),
    dict(name="vpt"), dict(name="last"),
]  # fmt: skip
EVERY = [*FEW, *(dict(name=name) for name in METHODS.names() if dict(name=name) not in FEW)]
CASES = {
    "vit_tiny_patch16_224": (_plain(32), FEW),
    "eva02_tiny_patch14_224": (_plain(28), EVERY),
    "beit_base_patch16_224": (_plain(32), FEW),
    "vit_small_patch16_dinov3": (_plain(32), FEW[:3]),
    "swin_tiny_patch4_window7_224": (_SWIN, FEW),
    "swinv2_tiny_window8_256": (_SWIN, FEW),
    "convnext_atto": ({}, FEW[:1]),
}


def _refusal(make) -> tuple[str, str] | None:
    try:
        make()
    except errors.HeadroomError as error:
        return type(error).__name__, str(error)
    return None


@pytest.mark.parametrize("name", CASES)
def test_predict_refuses_exactly_what_attach_refuses(name, monkeypatch):
    small, methods = CASES[name]
    monkeypatch.setattr(
        predict, "load_backbone",
        lambda name, pretrained, device, img_size: load_backbone(name, pretrained=pretrained, device=device, **small),
    )  # fmt: skip
    refused = []
    for method in methods:
        spec = pc.RunSpec(backbone=name, method=method, batch_size=2, device="cpu")
        attached = _refusal(lambda m=method: pc.attach(load_backbone(name, pretrained=False, **small), m, 3))
        assert _refusal(lambda s=spec: predict.predict_memory(s, num_classes=3)) == attached, method
        refused += [attached] if attached else []
    assert 0 < len(refused) < len(methods) or name == "convnext_atto"  # a comparison of both kinds


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_a_backbone_of_another_type_is_said_to_be_one(kind):
    backbone = small("vit").clone()
    backbone.module.to(kind)
    with pytest.raises(errors.DoesNotFit, match=f"its weights are {kind}; attach to torch.float32 ones"):
        pc.attach(backbone, "lora", 3)
