"""Which attention heads respond to a task: Taylor scores from gradients, energy from weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.adapters.load import load_adapter, origin_of
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.methods._scores import SCORES, Collector, HeadScores, Score, energies, head_pairs, table
from peftcore.model import TunedModel
from peftcore.probes.attention import evaluating
from peftcore.registry import FETCH


def head_scores(model: TunedModel, images: Iterable[Any], labels: Iterable[Any], score: Score = "taylor") -> HeadScores:
    """Scores of every head's low-rank update on labelled images; weights and gradients stay as they are.

    `images` (B, 3, H, W) and `labels` (B,), tensors or arrays, labels also lists of whole numbers; or an iterable of
    each with one batch per step: Taylor scores are means over steps.

    Raises:
        NotMeasurable: the model has no low-rank update on q, k or v.
        UnknownName: no such score.
        BadData: no images, or labels that do not fit them.
    """
    if score not in SCORES:
        raise errors.unknown("score", score, SCORES)
    if score == "energy":
        return energies(head_pairs(model.tuner))
    kept = {parameter: parameter.grad for parameter in model.trainable_parameters()}
    with torch.inference_mode(False):  # gradients can be had in a caller's inference mode too
        collector = Collector(model.tuner, score)
    try:
        with torch.inference_mode(False), evaluating(model), torch.enable_grad():
            for x, y in labelled(model.head.weight, images, labels):
                for parameter in kept:
                    parameter.grad = None
                F.cross_entropy(model(x), y).backward()
                collector.after_backward()
        if not collector.steps:
            raise errors.BadData("Head scores are means over images, and there are none; give at least one batch.")
        return collector.scores()
    finally:
        collector.close()
        for parameter, grad in kept.items():
            parameter.grad = grad


def labelled(classifier: Tensor, images: Any, labels: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches on the classifier's device, labels in int64. Batches without images are left out: their loss is NaN.

    Copies, since what was made in torch's inference mode takes no part in a gradient.
    """
    many = isinstance(images, Iterable) and isinstance(labels, Iterable) and not isinstance(images, Tensor | np.ndarray)
    for x, given in zip_longest(images, labels) if many else [(images, labels)]:
        try:
            x, y = (torch.as_tensor(part, device=classifier.device).clone() for part in (x, given))
            whole = not len(y) or not y.is_floating_point()
            fits = whole and y.shape == x.shape[:1] and all(0 <= n < len(classifier) for n in y.tolist())
        except (TypeError, ValueError, RuntimeError):
            fits = False
        if not fits:
            x, y = (tuple(part.shape) if hasattr(part, "shape") else type(part).__name__ for part in (x, given))
            raise errors.BadData(
                f"Each image needs a whole number from 0 to {len(classifier) - 1} as its label; with images {x} came "
                f"labels {y}: {' '.join(str(given).split())[:99]}."
            )
        if len(x):
            yield x.to(classifier.dtype) if x.is_floating_point() else x, y.long()


def head_energy(
    source: TunedModel | str | Path,
    backbone: Backbone | str | None = None,
    heads: int | Sequence[int] | None = None,
    scale: float | None = None,
) -> HeadScores:
    """||dW_h||_F per layer, projection and head, from weights alone.

    `source`: a TunedModel, a folder that `save_adapter` wrote, a Hugging Face PEFT LoRA folder or file, or a PETL-ViT
    .bin file (`scale` is that file's; METHODS: it was searched per task). The number of heads of a block follows
    from `backbone` (or its name), from `heads` (one number, or one per adapted block), or from the base model that a
    file names where timm has it; a PETL-ViT file is of ViT-B/16. NaN where a block has fewer heads, or is not adapted.

    Raises:
        NotMeasurable: no low-rank update on q, k or v in it.
        BadAdapter: the file is damaged or of another kind.
        InvalidSetting: how many heads there are is unknown, does not fit the weights, or a `scale` has no use.
    """
    if isinstance(source, TunedModel):
        return energies(head_pairs(source.tuner))
    source = Path(source)
    origin = origin_of(source, scale=scale)
    if origin != "headroom":
        return table(FETCH.load("foreign_heads").energies(source, origin, backbone, heads, scale), "energy")
    return head_energy(load_adapter(source, load_backbone(backbone) if isinstance(backbone, str) else backbone))
