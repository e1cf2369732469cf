"""Lesson 8: trained updates with fewer bits: what is left of the matrices, and of the accuracy."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F

from lesson_parts._shared import Example, accuracy, example
from peftcore import errors
from peftcore.methods import bi_lora
from peftcore.methods._scores import head_pairs
from peftcore.store import gallery

AFTER, WHILE = "lora-digits", ("heart-orientation", "heart-digits")  # to be rounded; the first trained with few bits
BITS = get_args(bi_lora.Bits)
EDGE, WIDTH = 4.0, 0.2  # of the histograms, in standard deviations


@torch.no_grad()
def measure() -> dict[str, Any]:
    levels = {str(bits): list(bi_lora.codebook(bits)[0]) for bits in BITS if bits <= 4}
    runs = {"after": _run(example(AFTER), AFTER), "while": _run(*_rounded_in_training())}
    return {"bits": list(BITS), "levels": levels, "edge": EDGE, "width": WIDTH} | runs


def _rounded_in_training() -> tuple[Example, str]:
    """The first recorded example whose weights were rounded in every step. Raises NotMeasurable where there is none."""
    for name in [one for one in WHILE if one in gallery.names()]:
        found = example(name)
        if _bits(found) < 32:
            return found, name
    raise errors.NotMeasurable(f"None of the recorded examples {', '.join(WHILE)} was trained with fewer than 32 bits.")


def _bits(shown: Example) -> int:
    return getattr(head_pairs(shown.model.tuner)[0].pair, "bits", 32)


def _run(shown: Example, name: str) -> dict[str, Any]:
    pairs = head_pairs(shown.model.tuner)
    images, labels = shown.images(shown.task.test)
    matrices = []
    for adapted in pairs:
        for letter, weight in (("A", adapted.pair.lora_A.weight), ("B", adapted.pair.lora_B.weight)):
            matrices.append({"layer": adapted.layer + 1, "projection": adapted.projection, "matrix": letter,
                             **_matrix(weight.detach().clone())})  # fmt: skip
    count = sum(one["count"] for one in matrices)
    rows = []
    whole = [bi_lora.quantise(weight, 32).detach().clone() for weight in _weights(pairs)]
    trained = _bits(shown)
    for bits in BITS:
        for weight, kept in zip(_weights(pairs), whole, strict=True):
            weight.copy_(bi_lora.quantise(kept, bits))
        for adapted in pairs:
            if hasattr(adapted.pair, "bits"):
                adapted.pair.bits = 32  # the rounding was done above
        logits = shown.logits(images)
        file = count * bits / 8 + (8 * len(matrices) if bits < 32 else 0)  # a mean and a deviation for each matrix
        rows.append({"bits": bits, "accuracy": accuracy(logits, labels), "bytes": round(file),
                     "loss": float(F.cross_entropy(logits, labels)),
                     "error": float(np.mean([one["errors"][str(bits)] for one in matrices]))})  # fmt: skip
    by_bits = {str(row["bits"]): row for row in rows}
    best = max(row["accuracy"] for row in rows)
    return {"run": name, "trained_bits": trained, "images": len(labels), "weights": count, "rows": rows,
            "by_bits": by_bits, "best": best, "classes": len(shown.task.classes), "matrices": matrices}  # fmt: skip


def _weights(pairs: list[Any]) -> list[torch.Tensor]:
    return [weight for a in pairs for weight in (a.pair.lora_A.weight, a.pair.lora_B.weight)]


def _matrix(weight: torch.Tensor) -> dict[str, Any]:
    """A matrix's histogram in standard deviations, and how far it is from itself with fewer bits, as share of its
    length."""
    standard, mean, std = bi_lora.standardise(weight)
    edges = np.linspace(-EDGE, EDGE, round(2 * EDGE / WIDTH) + 1)
    counts, _ = np.histogram(np.clip(standard.numpy(), -EDGE, EDGE), edges)
    errors = {str(bits): float((bi_lora.quantise(weight, bits) - weight).norm() / weight.norm()) for bits in BITS}
    return {"count": weight.numel(), "mean": float(mean), "std": float(std), "counts": counts.tolist(),
            "errors": errors}  # fmt: skip
