"""One real training step under the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftcore.memory.ledger import Ledger
from peftcore.memory.report import MemoryReport
from peftcore.memory.timeline import Lifetime


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
        train_step(model, images, labels, optimizer, features=features, precision=precision)
    device = labels.device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    started = time.perf_counter()
    with Ledger(model, optimizer) as ledger:
        ledger.declare((images, labels))
        ledger.declare(cache, "cached_features")
        ledger.features(features or ())
        own = ledger.timeline.live_bytes + _rounding(ledger.timeline.lives)
        train_step(model, images, labels, optimizer, features=features, precision=precision, ledger=ledger)
    seconds = time.perf_counter() - started
    allocator = _allocator(ledger, device, before - own) if device.type == "cuda" else None
    return ledger.report(
        device=str(device), precision=precision, batch_size=len(labels), seconds=seconds, allocator=allocator
    )


def train_step(
    model: nn.Module,
    images: Tensor | None,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    features: tuple[Tensor, ...] | None = None,
    precision: str = "fp32",
    ledger: Ledger | None = None,
) -> None:
    """A step as `measure_step` measures it; without a ledger the same step unwatched."""
    phase = ledger.phase if ledger else lambda _: nullcontext()
    with phase("forward"), torch.autocast(labels.device.type, torch.bfloat16, enabled=precision == "bf16"):
        if features is None and getattr(model, "is_side", False):
            features = model.features(images)
            if ledger:
                ledger.features(features)
        logits = model(images) if features is None else model.from_features(features)
        del features
        loss = F.cross_entropy(logits.float(), labels)
        del logits
        if ledger:
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
    total, at = (ledger.peak[name] for name in ("total", "tick"))
    allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    alive = (life for life in ledger.timeline.lives if life.born <= at and (life.died is None or life.died >= at))
    rounding = _rounding(alive)
    return {
        "allocated": allocated,
        "reserved": reserved,
        "difference": allocated - total,
        "rounding": rounding,
        "others": others,
        "kernels": allocated - total - rounding - others,
        "cached": reserved - allocated,
    }


def _rounding(lives: Iterable[Lifetime]) -> int:
    """What the CUDA allocator adds to storages to fill blocks of 512 bytes."""
    return sum(-life.nbytes % 512 for life in lives)
