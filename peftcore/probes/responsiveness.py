"""Which attention heads respond to a task: Taylor scores from gradients, energy from weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.adapters import petl_vit
from peftcore.adapters.load import load_adapter, origin_of
from peftcore.adapters.peft_folder import read_peft
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.methods._scores import SCORES, Collector, HeadScores, Score, by_head, energies, head_pairs, table
from peftcore.model import TunedModel

__all__ = ["HeadScores", "head_energy", "head_scores"]

# The Linear layers whose output rows belong to heads, as timm and transformers call them.
_ROWS = {"qkv": "qkv", "query": "q", "key": "k", "value": "v"} | {
    name: name[0] for p in "qkv" for name in (p, f"{p}_proj")
}


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
    trainable = model.trainable_parameters()
    kept, training = [p.grad for p in trainable], model.training
    collector = Collector(model.tuner, score)
    model.eval()
    try:
        for x, y in _steps(model.head.weight, images, labels):
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


def _steps(classifier: Tensor, images: Iterable[Any], labels: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches on the classifier's device, labels in int64. Batches without images are left out: their loss is NaN."""
    whole = isinstance(images, Tensor | np.ndarray)
    for x, given in [(images, labels)] if whole else zip_longest(images, labels):
        try:
            x, y = (torch.as_tensor(part, device=classifier.device) for part in (x, given))
            fits = y.shape == x.shape[:1] and not (y.is_floating_point() or y.is_complex())
        except (TypeError, ValueError, RuntimeError):
            fits = False
        if fits and len(y := y.long()) and (y.min() < 0 or y.max() >= len(classifier)):
            raise errors.BadData(
                f"Labels of this model are 0 to {len(classifier) - 1}; there are {int(y.min())} to {int(y.max())}."
            )
        if not fits:
            raise errors.BadData(
                f"Each batch needs one whole number per image as its label, 0 to {len(classifier) - 1}; got "
                f"{_shape(given)} for images of {_shape(x)}."
            )
        if len(x):
            yield x.to(classifier.dtype) if x.is_floating_point() else x, y


def _shape(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"shape {tuple(value.shape)} and type {value.dtype}"
    return f"{len(value)} of {type(value[0]).__name__}" if isinstance(value, list) and value else repr(value)


def head_energy(
    source: TunedModel | str | Path,
    backbone: Backbone | str | None = None,
    heads: int | Sequence[int] | None = None,
    scale: float | None = None,
) -> HeadScores:
    """||dW_h||_F per layer, projection and head, from weights alone.

    `source`: a TunedModel, a folder that `save_adapter` wrote, a Hugging Face PEFT LoRA folder or file, or a PETL-ViT
    .bin file (`scale` is that file's; METHODS: it was searched per task). How many heads a block has is said by
    `backbone` (or its name), by `heads` (one number, or one per adapted block), or by the base model that a file names
    where timm has it; a PETL-ViT file is of ViT-B/16. NaN where a block has fewer heads, or is not adapted.

    Raises:
        NotMeasurable: no low-rank update on q, k or v in it.
        BadAdapter: the file is damaged or of another kind.
        InvalidSetting: nothing says how many heads there are, or what says so does not fit the weights.
    """
    if isinstance(source, TunedModel):
        return energies(head_pairs(source.tuner))
    source = Path(source)
    origin = origin_of(source)
    if origin == "headroom":
        return head_energy(load_adapter(source, load_backbone(backbone) if isinstance(backbone, str) else backbone))
    if origin == "peft" and scale is not None:
        raise errors.InvalidSetting(f"scale is a number of PETL-ViT's .bin files; {str(source)!r} is none.")
    if isinstance(backbone, str):
        backbone = load_backbone(backbone, pretrained=False, device="meta")
    if origin == "peft":
        file = read_peft(source)
        base = file.base
    else:
        shape = {} if backbone is None else {"depth": backbone.depth, "width": backbone.width}
        file, base = petl_vit.read(source, scale, **shape), "vit_base_patch16_224"
    updates = _by_block(file.pairs())
    if not updates:
        raise errors.NotMeasurable(
            f"{str(source)!r} has no low-rank update on q, k or v, so no head of it can be scored."
        )
    blocks, rows = _blocks(updates, backbone, heads, base), []
    for layer, (path, (count, width)) in enumerate(blocks.items()):
        for projection in {p for update in updates.values() for p in update}:
            dW = updates.get(path, {}).get(projection, torch.full((count, 1), torch.nan))
            if len(dW) != width and path in updates:
                raise errors.InvalidSetting(
                    f"{projection} of {path} has {len(dW)} rows in {str(source)!r}, which are not {count} heads of "
                    f"{width // count}; give the backbone that it was trained on, or its heads."
                )
            rows.append((layer, path, projection, by_head(dW, count).norm(dim=1).double().numpy()))
    return table(rows, "energy")


def _by_block(pairs: dict[str, tuple[Tensor, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Path of each block, up to its last number, -> projection -> dW; blocks that adapt none of q, k and v are left out."""
    found: dict[str, dict[str, Tensor]] = {}
    for path, (A, B) in pairs.items():
        block, names = re.match(r"(.*\d)\.", path), _ROWS.get(path.rpartition(".")[2], "")
        for projection, rows in zip(names, B.chunk(len(names) or 1), strict=False):
            found.setdefault(block[1] if block else "", {})[projection] = rows @ A
    return {path: found[path] for path in sorted(found, key=lambda p: [int(n) for n in re.findall(r"\d+", p)]) if path}


def _blocks(
    found: dict[str, dict[str, Tensor]], backbone: Backbone | None, heads: int | Sequence[int] | None, base: str | None
) -> dict[str, tuple[int, int]]:
    """Path of each block -> how many heads it has, and how many rows of a projection they are."""
    widths = {path: len(next(iter(updates.values()))) for path, updates in found.items()}
    if heads is not None:
        counts = (
            [heads] * len(found) if np.ndim(heads) == 0 and len({*widths.values()}) == 1 else np.ravel(heads).tolist()
        )
        if len(counts) != len(found) or not all(isinstance(n, int) and n > 0 for n in counts):
            raise errors.InvalidSetting(
                f"heads = {heads!r} does not fit; give one whole number for each of {len(found)} blocks, or a single one "
                "where all are of one width."
            )
        return {path: (n, widths[path] // n * n) for path, n in zip(found, counts, strict=True)}
    if backbone is None:
        try:
            backbone = load_backbone(str(base).removeprefix("timm/"), pretrained=False, device="meta")
        except errors.HeadroomError:
            raise errors.InvalidSetting(
                f"How many heads a block has is not in the file, and its base model ({base}) is none that timm knows; give "
                "backbone='NAME', the one that it was trained on, or heads=12."
            ) from None
    known = [block.path for block in backbone.blocks]
    if found.keys() - {*known} and len(found) != len(known):
        raise errors.InvalidSetting(
            f"The file adapts {len(found)} blocks ({next(iter(found))} first); {backbone.name} has {len(known)}, under other "
            "names. Give the backbone that it was trained on, or heads=12."
        )
    paths = known if found.keys() <= {*known} else list(found)
    return {path: (b.heads, b.heads * b.head_dim) for path, b in zip(paths, backbone.blocks, strict=True)}
