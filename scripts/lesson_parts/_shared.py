"""What several parts need: recorded examples with their weights, their test images, and pictures as text."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from peftcore import adapters
from peftcore.backbone.preprocess import prepare
from peftcore.model import TunedModel
from peftcore.store import gallery
from peftcore.task import Split, Task, load_task

CHUNK = 64  # images per forward


@dataclass(frozen=True)
class Example:
    """A recorded example with its weights, in eval mode."""

    name: str
    model: TunedModel
    task: Task
    spec: dict

    def images(self, split: Split, count: int | None = None) -> tuple[Tensor, Tensor]:
        """The first `count` images of a split as the model reads them, (n, 3, H, W), and their labels (n,)."""
        norm, resize = self.spec["normalisation"], self.spec["resize"]
        images = prepare(split.images[: count or len(split)], self.model.backbone, norm, resize=resize)
        return images, torch.tensor(split.labels[: len(images)])

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        return torch.cat([self.model(part) for part in images.split(CHUNK)])


def example(name: str) -> Example:
    blob = gallery.adapter(name)
    assert blob is not None, f"the example {name} has no weights"
    spec = gallery.record(name)["spec"]
    return Example(name, adapters.from_bytes(blob).eval(), load_task(spec["task"]), spec)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(-1) == labels).double().mean())


def picture(pixels: np.ndarray) -> str:
    """Bytes (H, W) or (H, W, 3) as a PNG in the text of an address, which browsers draw and `unpacked` reads."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
