"""Checks on a device that take a step or two: methods, the cache of features, the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Literal

from gpu_parts import Place, Row

NEAR = 2e-3  # relative difference between two devices' numbers that counts as the same
TASK = "counting"  # drawn by Headroom: needs numpy alone


def machine(place: Place, known: list[Row]) -> Iterator[Row]:
    import platform
    from importlib.metadata import version

    import torch

    row = {"torch": torch.__version__, "timm": version("timm"), "python": platform.python_version()}
    if place.on_cuda:
        about, (free, total) = torch.cuda.get_device_properties(0), torch.cuda.mem_get_info()
        row |= {"device": about.name, "free": free, "total": total, "cuda": torch.version.cuda,
                "bf16": torch.cuda.is_bf16_supported()}  # fmt: skip
    yield row | {"device": row.get("device", str(place.torch))}


def apart(one: Any, other: Any, near: float = NEAR) -> float:
    """The largest difference relative to the largest number; raises where it is too large."""
    import torch

    one, other = torch.as_tensor(one).detach().cpu().float(), torch.as_tensor(other).detach().cpu().float()
    both = torch.isfinite(one) & torch.isfinite(other)
    apart = ((one - other)[both].abs().max() / other[both].abs().max().clamp(min=1e-6)).item()
    if apart > near or not torch.equal(torch.isfinite(one), torch.isfinite(other)):
        raise AssertionError(f"{apart:.1e} apart, more than {near:.0e}")
    return apart


def model_of(place: Place, method: Any, name: str = "vit_micro", classes: int = 10) -> Any:
    from peftcore.backbone.load import load_backbone
    from peftcore.model import attach

    backbone = load_backbone(name, pretrained=name == "vit_micro", device=place.torch)
    return attach(backbone, method, classes)


def batch_of(place: Place, model: Any, size: int = 8) -> tuple[Any, Any]:
    import torch

    images = torch.randn(size, *model.backbone.input_size, generator=torch.Generator().manual_seed(0))
    return images.to(place.torch), torch.arange(size, device=place.torch) % 10


def methods(place: Place, known: list[Row]) -> Iterator[Row]:
    """Every method: three steps, saved, and loaded on the CPU, where it says the same."""
    import torch

    from peftcore.adapters import from_bytes, to_bytes
    from peftcore.memory.step import train_step
    from peftcore.registry import METHODS
    from peftcore.spec import RunSpec
    from peftcore.train.recipe import make_optimizer

    for name in METHODS.names():
        if name == "hf_peft" and find_spec("peft") is None:
            yield {"method": name, "left out": "Hugging Face PEFT is not on this machine"}
            continue
        spec = RunSpec(method=name)
        model = model_of(place, spec.method)
        optimizer, (images, labels) = make_optimizer(model, spec), batch_of(place, model)
        for _ in range(3):
            train_step(model, images, labels, optimizer)
        with torch.no_grad():
            loaded = from_bytes(to_bytes(model))
            yield {"method": name, "loaded apart": apart(loaded(images.cpu()), model.eval()(images))}


def cache(place: Place, known: list[Row]) -> Iterator[Row]:
    """Each place where features are kept gives back what the backbone computes."""
    from peftcore.features.cache import FeatureCache
    from peftcore.features.disk import Shelf
    from peftcore.features.plan import plan_cache
    from peftcore.spec import RunSpec
    from peftcore.task import load_task

    model, task = model_of(place, "last"), load_task(TASK)
    images = task.val.images[:64]
    plan = plan_cache(model, len(task.train), RunSpec(task=TASK, device=place.device))
    if place.on_cuda and plan.place != "device":
        raise AssertionError(f"features were to be kept on the {plan.place}: {plan.why}")
    yield {"planned": plan.place, "why": plan.why}
    first, shelf = None, Shelf(place.folder / "shelf")
    kinds: tuple[Literal["device", "host", "disk"], ...] = ("device", "host", "disk")
    for kept in kinds:
        cache = FeatureCache(model.backbone, model.tuner.taps, images, "backbone", place=kept, shelf=shelf)
        began = time.perf_counter()
        list(cache.fill())
        found = cache.batch(slice(0, len(images)), model.tuner.taps)
        first = first or found
        yield {"kept": kept, "seconds": round(time.perf_counter() - began, 3),
               "pinned": any(t.is_pinned() for t in cache.tensors.values()) if place.on_cuda else False,
               "apart": max(apart(a, b) for a, b in zip(found, first, strict=True))}  # fmt: skip
    shelf.clear()


def ledger(place: Place, known: list[Row]) -> Iterator[Row]:
    """The bill, the ledger and the allocator of the same step."""
    from peftcore.bench._measure import measure_step
    from peftcore.memory import predict_memory
    from peftcore.spec import RunSpec
    from peftcore.train.recipe import make_optimizer

    for method in ("full", "last") if place.rehearse else ("full", "lora", "heart_lora", "vpt", "last"):
        for precision in ("fp32", "bf16"):
            spec = RunSpec(backbone=place.large(), method=method, precision=precision, batch_size=8,
                           device=place.torch.type, cache_features=False)  # fmt: skip
            model = model_of(place, spec.method, spec.backbone).train()
            images, labels = batch_of(place, model)
            real = measure_step(model, images, labels, make_optimizer(model, spec), precision=precision)
            guess = predict_memory(spec, num_classes=10)
            row = {"method": method, "precision": precision, "predicted": guess.peak, "ledger": real.peak}
            row |= {"allocator": real.allocator or {}, "apart": guess.peak / real.peak - 1}
            yield row
            if abs(row["apart"]) > 0.03:
                raise AssertionError(f"{method}, {precision}: the bill is {row['apart']:+.1%} from the ledger")
