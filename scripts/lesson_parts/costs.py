"""Lesson 9: what each method of the mini-VTAB costs: bytes of a step, seconds of an epoch, trained weights."""

from __future__ import annotations

from typing import Any

from app.learn import mini
from peftcore.backbone.load import load_backbone
from peftcore.bench._pace import pace
from peftcore.memory import predict_memory
from peftcore.model import attach
from peftcore.spec import RunSpec
from peftcore.task import load_task

TASK, BATCH = "digits", 16  # seconds are measured with small batches: what counts is how methods compare
LARGE = {"backbone": "vit_base_patch16_224", "batch_size": 32}  # what memory is predicted of beside


def measure() -> dict[str, Any]:
    backbone, task = load_backbone(mini.BACKBONE), load_task(TASK)
    lora = RunSpec(backbone=mini.BACKBONE, method="lora", task=TASK, batch_size=BATCH)
    costs, epoch = {}, []
    for name in mini.methods():
        spec = lora.replace(method=name)
        found, report = pace(spec, lora, backbone, task), predict_memory(spec.replace(batch_size=64))
        large = predict_memory(RunSpec(method=name, **LARGE), num_classes=100)
        counts = attach(backbone, spec.method, len(task.classes)).parameter_counts()
        epoch.append(found.lora)
        costs[name] = {"ratio": found.ratio, "features": found.features, "kind": spec.method.kind,
                       "weights": counts["method"] + counts["head"], "bytes": report.peak,
                       "cached": report.components.get("cached_features", 0) + report.components.get("features", 0),
                       "large_bytes": large.peak}  # fmt: skip
    return {"backbone": mini.BACKBONE, "task": TASK, "batch": 64, "large": LARGE | {"classes": 100},
            "epoch_of_lora": min(epoch), "methods": costs}  # fmt: skip
