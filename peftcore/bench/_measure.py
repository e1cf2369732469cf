"""One real training step under the ledger, and on CUDA beside the allocator's own peak."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from peftcore.memory.ledger import Ledger
from peftcore.memory.report import MemoryReport
from peftcore.memory.step import followed, train_step
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

    images (B, C, H, W), labels (B,) int64; with `features` (a side model's cached tokens) the images are not used and
    may be None, and `cache` names the tensors they were read from. The optimizer's state exists in a steady step: where
    it does not yet, an unmeasured step comes first. These are real steps, so weights change as they do in training. On
    CUDA the report also has the allocator's own peak.
    """
    if not optimizer.state:
        train_step(model, images, labels, optimizer, features, precision)
    device = labels.device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    started = time.perf_counter()
    ledger = followed(model, images, labels, optimizer, features, cache, precision)
    seconds = time.perf_counter() - started
    allocator = _allocator(ledger, device, before) if device.type == "cuda" else None
    return ledger.report(
        device=str(device), precision=precision, batch_size=len(labels), seconds=seconds, allocator=allocator
    )


def _allocator(ledger: Ledger, device: torch.device, before: int) -> dict[str, int]:
    """The CUDA allocator's counters, and where its peak differs from the ledger's. before: bytes before the step.

    rounding: blocks are multiples of 512 bytes; others: memory allocated before and not the ledger's;
    kernels: the rest, scratch inside operators (cuBLAS, cuDNN, attention) and what dies at another moment;
    cached: reserved but unused. The CUDA context itself is outside all counters.
    """
    total, at = (ledger.peak[name] for name in ("total", "tick"))
    allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    lives = ledger.timeline.lives
    rounding = _rounding(life for life in lives if life.born <= at and (life.died is None or life.died >= at))
    first = [life for life in lives if life.born == 0]  # what was there before the step's first operator
    others = before - sum(life.nbytes for life in first) - _rounding(first)
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
