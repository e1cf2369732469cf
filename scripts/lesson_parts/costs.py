"""Lesson 9: what each method of the mini-VTAB costs beside its seconds: bytes of a step, trained weights."""

from __future__ import annotations

from typing import Any

from app.learn import mini
from peftcore.backbone.load import load_backbone
from peftcore.memory import predict_memory
from peftcore.model import attach
from peftcore.spec import RunSpec
from peftcore.task import task_card

TASK, BATCH = "digits", 64
LARGE = {"backbone": "vit_base_patch16_224", "batch_size": 32}  # what memory is predicted of beside


def measure() -> dict[str, Any]:
    backbone, classes, costs = load_backbone(mini.BACKBONE), len(task_card(TASK).classes), {}
    for name in mini.methods():
        spec = RunSpec(backbone=mini.BACKBONE, method=name, task=TASK, batch_size=BATCH)
        report, large = predict_memory(spec), predict_memory(RunSpec(method=name, **LARGE), num_classes=100)
        counts = attach(backbone, spec.method, classes).parameter_counts()
        costs[name] = {
            "weights": counts["method"] + counts["head"], "bytes": report.peak, "large_bytes": large.peak,
            "cached": report.components.get("cached_features", 0),
        }  # fmt: skip
    large_of = LARGE | {"classes": 100}
    return {"backbone": mini.BACKBONE, "task": TASK, "batch": BATCH, "large": large_of, "methods": costs}
