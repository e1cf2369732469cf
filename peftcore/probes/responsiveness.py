"""Which attention heads respond to a task: Taylor scores from gradients, energy from weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.adapters.hf_lora import foreign_energy
from peftcore.adapters.save import load_adapter
from peftcore.methods._scores import SCORES, Collector, HeadScores, Score, energies, head_pairs
from peftcore.model import TunedModel

__all__ = ["HeadScores", "head_energy", "head_scores"]


def head_scores(
    model: TunedModel,
    images: Tensor | Iterable[Tensor],
    labels: Tensor | Iterable[Tensor],
    score: Score = "taylor",
) -> HeadScores:
    """Scores of every head's low-rank update on labelled images; weights and gradients stay as they are.

    `images` (B, 3, H, W) and `labels` (B,), or one of each per step: Taylor scores are means over steps.

    Raises:
        NotMeasurable: the model has no low-rank update on q, k or v.
        UnknownName: no such score.
        BadData: no images.
    """
    if score not in SCORES:
        raise errors.unknown("score", score, SCORES)
    if score == "energy":
        return energies(head_pairs(model.tuner))
    steps = [(images, labels)] if isinstance(images, Tensor) else zip(images, labels, strict=True)
    trainable = model.trainable_parameters()
    kept, training = [p.grad for p in trainable], model.training
    collector = Collector(model.tuner, score)
    model.eval()
    try:
        for x, y in steps:
            if not len(x):
                continue  # its mean loss would be NaN
            for parameter in trainable:
                parameter.grad = None
            with torch.enable_grad():
                F.cross_entropy(model(x), y).backward()
            collector.step()
        if not collector.steps:
            raise errors.BadData("Head scores are means over images, and there was none; give at least one batch.")
        return collector.scores()
    finally:
        collector.close()
        model.train(training)
        for parameter, grad in zip(trainable, kept, strict=True):
            parameter.grad = grad


def head_energy(source: TunedModel | str | Path, scale: float | None = None) -> HeadScores:
    """||dW_h||_F per layer, projection and head, from weights alone.

    `source`: a TunedModel, a folder that `save_adapter` wrote, a Hugging Face PEFT LoRA folder or file, or a PETL-ViT
    .bin file (`scale` is that file's; METHODS: it was searched per task).

    Raises:
        NotMeasurable: no low-rank update on q, k or v in it.
        BadAdapter: the file is damaged or of another kind.
    """
    if not isinstance(source, TunedModel):
        source = Path(source)
        if not (source / "adapter.json").exists():
            return foreign_energy(source, scale)
        source = load_adapter(source)
    return energies(head_pairs(source.tuner))
