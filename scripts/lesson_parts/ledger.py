"""Lesson 3: the bytes of a training step of ViT-B/16 by method and batch size, as Memory predicts them for a GPU."""

from __future__ import annotations

from collections import Counter
from typing import Any

from peftcore.memory import MemoryReport, predict_memory
from peftcore.memory.reasons import FOR_A_WEIGHT, PAIR
from peftcore.spec import RunSpec

BACKBONE, CLASSES, BATCHES, BATCH = "vit_base_patch16_224", 100, (1, 8, 32, 128), 32
METHODS, RANKS = ("full", "lora", "last"), (1, 64)  # ranks beside LoRA's own


def measure() -> dict[str, Any]:
    rows = [row(predicted({"name": method}, batch), method, batch) for batch in BATCHES for method in METHODS]
    ranks = [row(predicted({"name": "lora", "rank": rank}, BATCH), "lora", BATCH) | {"rank": rank} for rank in RANKS]
    own = next(one for one in rows if one["method"] == "lora" and one["batch"] == BATCH)
    ranks.append(own | {"rank": RunSpec(method="lora").method.rank})
    return {
        "backbone": BACKBONE,
        "classes": CLASSES,
        "batches": list(BATCHES),
        "batch": BATCH,
        "precision": "fp32",
        "rows": rows,
        "at": {one["method"]: one for one in rows if one["batch"] == BATCH},
        "ranks": sorted(ranks, key=lambda one: one["rank"]),
        "kept_by": _kept_by(predicted({"name": "lora"}, BATCH)),
    }


def predicted(method: dict[str, Any], batch: int) -> MemoryReport:
    spec = RunSpec(backbone=BACKBONE, method=method, batch_size=batch, device="cuda", pretrained=False)
    return predict_memory(spec, num_classes=CLASSES)


def row(report: MemoryReport, method: str, batch: int) -> dict[str, Any]:
    return {
        "method": method,
        "batch": batch,
        "peak": report.peak,
        "above_weights": report.above_weights,
        "components": report.components,
        "phase": report.at["phase"],
    }


def _kept_by(report: MemoryReport) -> list[dict[str, Any]]:
    """What LoRA keeps for backward, by the kind of module that keeps it and the reason, the largest first. `own`: no
    layer would need it if LoRA's matrices and the classifier were not trained."""
    sums: Counter[tuple[str, str]] = Counter()
    for kept in report.activations:
        sums[kept["kind"], kept["reason"]] += kept["bytes"]
    for_weights = (PAIR, *FOR_A_WEIGHT)
    return [
        {
            "kind": kind,
            "reason": why,
            "bytes": size,
            "own": all(part.startswith(for_weights) for part in why.split("; ")),
        }
        for (kind, why), size in sums.most_common()
    ]
