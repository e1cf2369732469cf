"""One training step as memory is counted on it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftcore.memory.ledger import Ledger


def followed(
    model: nn.Module, images: Tensor | None, labels: Tensor, optimizer: torch.optim.Optimizer,
    features: tuple[Tensor, ...] | None = None, cache: Iterable[Tensor] = (), precision: str = "fp32",
) -> Ledger:  # fmt: skip
    """The ledger of one `train_step`. cache: the tensors that the batch's features were read from."""
    with Ledger(model, optimizer) as ledger:
        ledger.declare((images, labels))
        ledger.declare(cache, "cached_features")
        ledger.features(features or ())
        train_step(model, images, labels, optimizer, features, precision, ledger)
    return ledger


def train_step(
    model: nn.Module, images: Tensor | None, labels: Tensor, optimizer: torch.optim.Optimizer,
    features: tuple[Tensor, ...] | None = None, precision: str = "fp32", ledger: Ledger | None = None,
) -> None:  # fmt: skip
    """Forward, cross-entropy, backward, optimizer, gradients dropped: the same with and without a ledger.

    images (B, C, H, W), labels (B,) int64; with `features` (a side model's cached tokens) images may be None.
    """
    phase = ledger.phase if ledger else nullcontext
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
