"""One real training step under the ledger."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftcore.memory.ledger import Ledger
from peftcore.memory.lifetimes import Life
from peftcore.memory.report import MemoryReport


def measure_step(
    model: nn.Module,
    images: Tensor | None,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    features: tuple[Tensor, ...] | None = None,
    cache: Iterable[Tensor] = (),
    precision: str = "fp32",
) -> MemoryReport:
    """Bytes of one steady training step: forward, cross-entropy, backward, optimizer, gradients dropped.

    images (B, C, H, W), labels (B,) int64; with `features` (a side model's cached tokens) the images are not
    used and may be None, and `cache` names the tensors they were read from. The optimizer's state exists in a
    steady step: where it does not yet, an unmeasured step comes first. These are real steps, so weights
    change as they do in training. On CUDA the allocator's own peak stands beside.
    """
    if not optimizer.state:
        _step(contextlib.nullcontext(), model, images, labels, optimizer, features, precision)
    device = labels.device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    started = time.perf_counter()
    ledger = Ledger(model, optimizer)
    with ledger:
        ledger.declare((images, labels))
        ledger.features((*(features or ()), *cache))
        own = ledger.live_bytes + _rounding(ledger.lives)
        _step(ledger, model, images, labels, optimizer, features, precision)
    seconds = time.perf_counter() - started
    allocator = _allocator(ledger, device, before - own) if device.type == "cuda" else None
    return ledger.report(
        device=str(device), precision=precision, batch_size=len(labels), seconds=seconds, allocator=allocator
    )


def is_side(model: nn.Module) -> bool:
    """Whether the model trains only what reads frozen features."""
    return bool(getattr(model, "is_side", False))


def _step(ledger: Any, model, images, labels, optimizer, features, precision) -> None:
    """The step itself; without a Ledger (a null context) it is the same step unwatched."""
    watched = isinstance(ledger, Ledger)
    phase = ledger.phase if watched else lambda _: contextlib.nullcontext()
    autocast = torch.autocast(labels.device.type, torch.bfloat16, enabled=precision == "bf16")
    with phase("forward"), autocast:
        if features is not None:
            logits = model.from_features(features)
        elif is_side(model) and watched:
            logits = model.from_features(ledger.features(model.features(images)))
        else:
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        del logits
        if watched:
            ledger.explain(loss)
    with phase("backward"):
        loss.backward()
        del loss
    with phase("optimizer"):
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _allocator(ledger: Ledger, device: torch.device, others: int) -> dict[str, int]:
    """The CUDA allocator's counters, and where its peak differs from the ledger's.

    rounding: blocks are multiples of 512 bytes; others: memory allocated before and not the ledger's;
    kernels: the rest, scratch inside operators (cuBLAS, cuDNN, attention) and what dies at another moment;
    cached: reserved but unused. The CUDA context itself is outside all counters.
    """
    top = ledger.peak
    allocated = torch.cuda.max_memory_allocated(device)
    reserved = torch.cuda.max_memory_reserved(device)
    at = top["tick"]
    rounding = _rounding(life for life in ledger.lives if life.born <= at and (life.died is None or life.died >= at))
    return {
        "allocated": allocated,
        "reserved": reserved,
        "difference": allocated - top["total"],
        "rounding": rounding,
        "others": others,
        "kernels": allocated - top["total"] - rounding - others,
        "cached": reserved - allocated,
    }


def _rounding(lives: Iterable[Life]) -> int:
    """What the CUDA allocator adds to storages to fill blocks of 512 bytes."""
    return sum(-life.nbytes % 512 for life in lives)
