"""Lesson 5: the loss while each head's update shrinks, and what its slope says, on a recorded LoRA."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lesson_parts._shared import Example, example
from peftcore.methods._scores import by_head, head_pairs

NAME, IMAGES = "lora-digits", 48
SIZES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a head's update, as shares of what was trained


def measure() -> dict[str, Any]:
    lora = example(NAME)
    images, labels = lora.images(lora.task.val, IMAGES)
    loss, slopes = _slopes(lora, images, labels)
    pairs = head_pairs(lora.model.tuner)
    projections = list(dict.fromkeys(pair.projection for pair in pairs))
    losses = _losses(lora, images, labels, loss, projections)  # (layers, projections, heads, sizes)
    score, effect = np.abs(slopes).ravel(), (losses[..., 0] - loss).ravel()
    top = min(10, score.size // 4)
    common = set(np.argsort(-score)[:top].tolist()) & set(np.argsort(-np.abs(effect))[:top].tolist())
    best = np.unravel_index(int(score.argmax()), slopes.shape)
    guess, found = float(-slopes[best]), float(losses[best][0] - loss)
    return {
        "run": NAME,
        "images": IMAGES,
        "sizes": list(SIZES),
        "projections": projections,
        "loss": loss,
        "slopes": slopes.tolist(),  # of the loss in the size of a head's update, at the whole update
        "losses": losses.tolist(),
        "updates": score.size,
        "top": top,
        "common": len(common),
        "orders": float(_spearman(score, np.abs(effect))),
        "best": {
            "layer": int(best[0]) + 1,
            "projection": projections[best[1]],
            "head": int(best[2]) + 1,
            "slope": float(slopes[best]),
            "predicted": guess,
            "measured": found,
        },
    }


def _slopes(lora: Example, images: Tensor, labels: Tensor) -> tuple[float, np.ndarray]:
    """The loss, and <dL/dB_h, B_h> of each head, (layers, projections, heads)."""
    lora.model.requires_grad_(False)
    pairs = head_pairs(lora.model.tuner)
    for adapted in pairs:
        adapted.pair.lora_B.weight.requires_grad_(True)
    loss = F.cross_entropy(lora.model(images), labels)
    loss.backward()
    loss = loss.detach()
    found: dict[int, list[np.ndarray]] = {}
    for adapted in pairs:
        B = adapted.pair.lora_B.weight
        assert B.grad is not None
        found.setdefault(adapted.layer, []).append(by_head(B.grad * B.detach(), adapted.block.heads).sum(1).numpy())
    return float(loss), np.stack([np.stack(found[layer]) for layer in sorted(found)]).astype(float)


@torch.no_grad()
def _losses(lora: Example, images: Tensor, labels: Tensor, whole: float, projections: list[str]) -> np.ndarray:
    """The mean loss with each head's update at each of SIZES. Blocks before the head's compute once."""
    backbone, pairs = lora.model.backbone, head_pairs(lora.model.tuner)
    blocks = [backbone.module.get_submodule(block.path) for block in backbone.blocks]
    entering = backbone.taps(images, [f"{block.path}:in" for block in backbone.blocks])
    losses = np.full((backbone.depth, len(projections), backbone.heads[0], len(SIZES)), whole)
    for adapted in pairs:
        B = adapted.pair.lora_B.weight
        kept, width = B.clone(), adapted.block.head_dim
        for head in range(adapted.block.heads):
            rows = slice(head * width, (head + 1) * width)
            for number, size in enumerate(SIZES[:-1]):
                B[rows] = size * kept[rows]
                x = entering[adapted.layer]
                for block in blocks[adapted.layer :]:
                    x = block(x)
                place = adapted.layer, projections.index(adapted.projection), head, number
                losses[place] = float(F.cross_entropy(lora.model.head(backbone.finish(x)), labels))
            B[rows] = kept[rows]
    return losses


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
