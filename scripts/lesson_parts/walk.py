"""Lesson 1: a few pictures on their way through the frozen vit_micro, and digits through a classifier at each layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lesson_parts._shared import accuracy, example, picture
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.backbone.preprocess import prepare
from peftcore.bench._lens import layer_lens
from peftcore.probes.attention import attention_maps
from peftcore.task import load_task, task_card

BACKBONE, TAKEN = "vit_micro", (("digits", 3), ("cells", 2), ("orientation", 1))  # task, number of its test image
LEVELS = 47  # of an attention's square root as a share of its row's strongest; a picture shows fewer
SPREAD_TASKS, SPREAD_IMAGES = ("digits", "cells", "textures", "orientation"), 12  # for how far heads look


def measure() -> dict[str, Any]:
    backbone = load_backbone(BACKBONE)
    pictures = [walked(backbone, title, pixels) for title, pixels in _pictures(backbone)]
    return {
        "backbone": BACKBONE,
        "parameters": backbone.parameter_count(),
        "pixels": backbone.input_size[-1],
        "patch": backbone.input_size[-1] // backbone.grid[0],
        "grid": list(backbone.grid),
        "width": backbone.width,
        "depth": backbone.depth,
        "heads": backbone.heads[0],
        "prefix": backbone.prefix_tokens,
        "levels": LEVELS,
        "pictures": pictures,
        "reach": _reach(backbone),
        "lens": _lens(),
    }


def _pictures(backbone: Backbone) -> list[tuple[str, np.ndarray]]:
    """Titles and bytes (H, W, 3): test images, and the middle of a photograph."""
    from sklearn.datasets import load_sample_image

    size = backbone.input_size[-1]
    images = [(task_card(task).title, load_task(task).test.images[number]) for task, number in TAKEN]
    photograph = Image.fromarray(load_sample_image("china.jpg"))
    side = min(photograph.size)
    left = (photograph.width - side) // 2
    crop = photograph.crop((left, 0, left + side, side)).resize((size, size), Image.Resampling.LANCZOS)
    return [*images, ("Photograph", np.asarray(crop))]


@torch.no_grad()
def walked(backbone: Backbone, title: str, pixels: np.ndarray) -> dict[str, Any]:
    """One picture: attention (layers * N, heads * N) as shares of each row's strongest, and how alike its tokens are
    before and after each layer ((layers + 1) * N, N), both as PNG."""
    image = prepare(pixels[None], backbone)
    maps = torch.stack([attention_maps(backbone, image, layer)[0] for layer in range(backbone.depth)])  # (L, H, N, N)
    levels = (maps / maps.amax(-1, keepdim=True)).sqrt().mul(LEVELS).round()
    tiles = levels.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)  # (L * N, H * N)
    last = maps[-1].mean(0)[0, backbone.prefix_tokens :]  # what the class token of the last layer looks at
    return {
        "title": title,
        "picture": picture(np.asarray(pixels)),
        "attention": picture(tiles.byte().numpy()),
        "alike": picture(_alike(backbone, image)),
        "looked_at": _place(int(last.argmax()), backbone),
        "looked_at_share": float(last.max()),
    }


def _alike(backbone: Backbone, image: Tensor) -> np.ndarray:
    """Cosines of all pairs of tokens, 0 to 255 for -1 to 1."""
    points = [f"{backbone.blocks[0].path}:in", *(f"{block.path}:out" for block in backbone.blocks)]
    tokens = F.normalize(torch.cat(backbone.taps(image, points)), dim=-1)  # (L + 1, N, d)
    return (tokens @ tokens.mT).add(1).mul(127.5).round().clamp(0, 255).byte().flatten(0, 1).numpy()


def _place(patch: int, backbone: Backbone) -> str:
    row, column = divmod(patch, backbone.grid[1])
    return f"row {row + 1}, column {column + 1}"


@torch.no_grad()
def _reach(backbone: Backbone) -> dict[str, Any]:
    """How far heads look: the mean distance from a patch to where its attention lies, in patches, (layers, heads)."""
    images = torch.cat([prepare(load_task(task).test.images[:SPREAD_IMAGES], backbone) for task in SPREAD_TASKS])
    rows, columns = (torch.arange(side).float() for side in backbone.grid)
    places = torch.cartesian_prod(rows, columns)
    apart = torch.cdist(places, places)  # (patches, patches)
    prefix, found = backbone.prefix_tokens, []
    for layer in range(backbone.depth):
        maps = attention_maps(backbone, images, layer)[:, :, prefix:, prefix:]
        found.append((maps * apart).sum(-1).div(maps.sum(-1)).mean((0, 2)))
    values = torch.stack(found)
    return {"values": values.tolist(), "even": float(apart.mean()), "images": len(images), "tasks": list(SPREAD_TASKS)}


def _lens() -> dict[str, Any]:
    """The recorded LoRA run on digits, read after each layer: accuracies, and one test image of each class."""
    digits = example("lora-digits")
    images, labels = digits.images(digits.task.test)
    logits = torch.cat([layer_lens(digits.model, part) for part in images.split(64)], 1)  # (L + 1, n, classes)
    rates = [accuracy(layer, labels) for layer in logits]
    first = [int((labels == label).nonzero()[0, 0]) for label in range(len(digits.task.classes))]
    chosen = logits[:, first].softmax(-1)
    return {
        "run": digits.name,
        "accuracy": rates,
        "images": len(images),
        "halfway": next(layer for layer, rate in enumerate(rates) if rate >= rates[-1] / 2),
        "classes": list(digits.task.classes),
        "numbers": first,
        "pictures": [picture(digits.task.test.images[number][..., 0]) for number in first],
        "probabilities": chosen.permute(1, 0, 2).mul(1000).round().div(1000).tolist(),  # (images, L + 1, classes)
    }
