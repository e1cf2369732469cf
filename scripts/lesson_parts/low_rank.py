"""Lesson 2: what is left of a recorded LoRA when only a part of its rank is kept, and what merging changes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

import peftcore as pc
from lesson_parts._shared import CHUNK, Example, accuracy, example

NAME = "lora-digits"


@torch.no_grad()
def measure() -> dict[str, Any]:
    lora = example(NAME)
    images, labels = lora.images(lora.task.test)
    logits = lora.logits(images)
    merged = pc.merge(lora.model)
    others = torch.cat([merged(part) for part in images.split(CHUNK)])
    pairs = [adapted.pair for adapted in lora.model.tuner.adapted]
    singular = torch.stack([torch.linalg.svdvals(pair.delta())[: pair.lora_A.out_features] for pair in pairs])
    energy = singular.square().cumsum(-1)
    kept = [0.0, *(energy / energy[:, -1:]).mean(0).tolist()]
    rates = [accuracy(_truncated(lora, rank).logits(images), labels) for rank in range(len(kept) - 1)]
    return {
        "run": NAME,
        "images": len(images),
        "accuracy": [*rates, accuracy(logits, labels)],  # with 0, 1, ... r directions of each update
        "energy": kept,
        "merged": {
            "largest_difference": float((logits - others).abs().max()),
            "largest_logit": float(logits.abs().max()),
            "changed": int((logits.argmax(-1) != others.argmax(-1)).sum()),
            "classes": list(lora.task.classes),
            "samples": [_sample(logits, others, int((labels == label).nonzero()[0, 0])) for label in labels.unique()],
        },
        "widths": [int(pairs[0].lora_B.out_features), int(pairs[0].lora_A.in_features)],
    }


def _sample(logits: Tensor, merged: Tensor, number: int) -> dict[str, Any]:
    """The first test image of a class: what the model says of it before merging and after."""
    return {
        "number": number,
        "before": logits[number].tolist(),
        "after": merged[number].tolist(),
        "difference": float((logits[number] - merged[number]).abs().max()),
    }


def _truncated(lora: Example, rank: int) -> Example:
    """A copy of which each update keeps its `rank` largest singular directions."""
    model = copy.deepcopy(lora.model)
    for adapted in model.tuner.adapted:
        pair = adapted.pair
        U, S, V = torch.linalg.svd(pair.delta(), full_matrices=False)
        pair.lora_A.weight.zero_()
        pair.lora_B.weight.zero_()
        pair.lora_A.weight[:rank] = V[:rank]
        pair.lora_B.weight[:, :rank] = U[:, :rank] * S[:rank] / pair.scale
    return Example(lora.name, model, lora.task, lora.spec)
