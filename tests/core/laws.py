"""The laws that every method obeys, as functions; each test file applies them to its own method."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from backbones import MICRO, images, nudge, small, state_bytes

import peftcore as pc
from peftcore import errors
from peftcore.memory.predict import step_without_data, without_data

CLASSES = 5


def attached(family: str, name: str, seed: int = 0, **settings) -> pc.TunedModel:
    return pc.attach(small(family), pc.make_method(name, **settings), CLASSES, seed)


@cache
def probe(family: str) -> pc.TunedModel:
    """The classifier alone, which nobody trains."""
    return attached(family, "linear")


def logits(model: pc.TunedModel, n: int = 2) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(images(model.backbone, n))


def starts_as_the_probe(family: str, name: str, **settings) -> None:
    """To the bit, also in train mode, with the same classifier and with a single image."""
    model = attached(family, name, **settings)
    for n in (1, 2):
        batch = images(model.backbone, n)
        with torch.no_grad():
            expected = probe(family)(batch)
            assert torch.equal(model.train()(batch), expected)
            assert torch.equal(model.eval()(batch), expected)


def trains_its_own_and_nothing_else(family: str, name: str, steps: int = 10, **settings) -> pc.TunedModel:
    """AdamW steps move every trainable tensor; the backbone and the frozen weights stay the same to the bit."""
    backbone = small(family)
    before = state_bytes(backbone.module)
    model = nudge(attached(family, name, **settings), 0.05).train()
    own = [p for p in model.parameters() if p.requires_grad]
    assert sorted(map(id, own)) == sorted(map(id, model.trainable_parameters()))
    counts = model.parameter_counts()
    assert counts["method"] + counts["head"] == sum(p.numel() for p in own)
    assert counts["backbone"] == backbone.parameter_count()
    started = [p.detach().clone() for p in own]
    optimizer = torch.optim.AdamW(own, lr=1e-2)
    labels = torch.arange(4) % CLASSES
    for _ in range(steps):
        F.cross_entropy(model(images(backbone, 4)), labels).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in own)
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
        optimizer.step()
        optimizer.zero_grad()
    assert not any(torch.equal(p, q) for p, q in zip(own, started, strict=True))
    assert state_bytes(backbone.module) == before
    assert not any(p.requires_grad for p in backbone.module.parameters())
    return model


def comes_back(model: pc.TunedModel) -> None:
    """adapter_state loaded into a model with another seed: the same function and the same names."""
    other = pc.attach(small(_family(model)), model.method, CLASSES, seed=7)
    other.load_adapter_state(model.adapter_state())
    assert torch.equal(logits(model), logits(other))
    again = pc.adapters.from_bytes(pc.adapters.to_bytes(model), small(_family(model)))
    assert torch.equal(logits(model), logits(again))
    with pytest.raises(errors.AdapterMismatch):
        other.load_adapter_state({name: t for name, t in model.adapter_state().items() if name != "head.bias"})


def follows_from_the_seed(family: str, name: str, **settings) -> None:
    first, second = (attached(family, name, seed=3, **settings).adapter_state() for _ in range(2))
    torch.rand(5)
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    attached(family, name, seed=3, **settings)
    assert torch.equal(torch.rand(3), expected)  # attach draws from no one else's generator


def merges(model: pc.TunedModel, tolerance: float = 1e-5) -> None:
    plain = pc.merge(model)
    with torch.no_grad():
        assert torch.allclose(plain(images(model.backbone)), logits(model), atol=tolerance)
    assert (
        logits(model) - logits(probe(_family(model)))
    ).abs().max() > 100 * tolerance  # what was merged is not nothing


def cannot_merge(model: pc.TunedModel) -> None:
    with pytest.raises(errors.CannotMerge, match=model.method.card.title):
        pc.merge(model)


def _family(model: pc.TunedModel) -> str:
    if model.backbone.name in MICRO:
        return model.backbone.name
    return "swin" if model.backbone.hierarchical else "vit"


def on_meta_vit_b(name: str, **settings) -> int:
    backbone = pc.load_backbone("vit_base_patch16_224", device="meta")
    return pc.attach(backbone, pc.make_method(name, **settings), 100).parameter_counts()["method"]


def predicted_step(
    model: pc.TunedModel, images: tuple[int, ...], target: str = "cpu", precision: str = "fp32", cached: bool = False
) -> pc.MemoryReport:
    """Of a model on the meta device, whose tensors become fake ones."""
    with without_data(model, target, precision):
        return replace(step_without_data(model, images, pc.RunSpec(precision=precision), cached), device=target)
