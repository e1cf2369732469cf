"""Which attention heads respond to a task: Taylor scores from gradients, energy from weights."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.adapters.load import load_adapter, origin_of
from peftcore.adapters.peft_folder import Pairs, read_peft
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.methods._scores import SCORES, Collector, HeadScores, Score, by_head, energies, head_pairs, table
from peftcore.model import TunedModel
from peftcore.probes.attention import evaluating
from peftcore.registry import FETCH

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
    kept = [p.grad for p in trainable]
    collector = Collector(model.tuner, score)
    try:
        with evaluating(model), torch.enable_grad():
            for x, y in _steps(model.head.weight, images, labels):
                for parameter in trainable:
                    parameter.grad = None
                F.cross_entropy(model(x), y).backward()
                collector.after_backward()
        if not collector.steps:
            raise errors.BadData("Head scores are means over images, and there are none; give at least one batch.")
        return collector.scores()
    finally:
        collector.close()
        for parameter, grad in zip(trainable, kept, strict=True):
            parameter.grad = grad


def _steps(classifier: Tensor, images: Any, labels: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches on the classifier's device, labels in int64. Batches without images are left out: their loss is NaN."""
    many = isinstance(images, Iterable) and isinstance(labels, Iterable) and not isinstance(images, Tensor | np.ndarray)
    for x, given in zip_longest(images, labels) if many else [(images, labels)]:
        try:
            x, y = (torch.as_tensor(part, device=classifier.device) for part in (x, given))
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
    if origin == "headroom":
        return head_energy(load_adapter(source, load_backbone(backbone) if isinstance(backbone, str) else backbone))
    if isinstance(backbone, str):
        backbone = load_backbone(backbone, pretrained=False, device="meta")
    if origin == "peft":
        file = read_peft(source)
        pairs, base = file.pairs(), file.base
    else:
        shape = {"depth": backbone.depth, "width": backbone.width} if backbone else {}
        pairs, base = FETCH.load("petl_vit").read(source, scale, **shape).pairs(), "vit_base_patch16_224"
    updates = _by_block(pairs)
    if not updates:
        raise errors.NotMeasurable(
            f"{str(source)!r} has no low-rank update on q, k or v: none of its heads can be scored."
        )
    rows = []
    for layer, (path, count, width) in enumerate(_blocks(updates, backbone, heads, base)):
        for projection in {p for update in updates.values() for p in update}:
            dW = updates.get(path, {}).get(projection, torch.full((width, 1), torch.nan))
            if len(dW) != width:
                raise errors.InvalidSetting(
                    f"{projection} of {path} has {len(dW)} rows in {str(source)!r}, which are not {count} heads of "
                    f"{width // count}; give the backbone that it was trained on, or its heads."
                )
            rows.append((layer, path, projection, by_head(dW, count).norm(dim=1).double().numpy()))
    return table(rows, "energy")


def _by_block(pairs: Pairs) -> dict[str, dict[str, Tensor]]:
    """Path of each block with q, k or v, up to its last number -> projection -> dW, in the blocks' order."""
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for path, (A, B) in sorted(pairs.items(), key=lambda pair: [int(n) for n in re.findall(r"\d+", pair[0])]):
        block, names = re.match(r"(.*\d)\.", path), _ROWS.get(path.rpartition(".")[2], "")
        if block and names:
            found[block[1]] |= {
                projection: rows @ A for projection, rows in zip(names, B.chunk(len(names)), strict=True)
            }
    return found


def _blocks(
    found: dict[str, dict[str, Tensor]], backbone: Backbone | None, heads: int | Sequence[int] | None, base: str | None
) -> list[tuple[str, int, int]]:
    """Each block's path, how many heads it has, and how many rows of a projection they are."""
    if heads is not None:
        widths = [len(next(iter(updates.values()))) for updates in found.values()]
        counts = [heads] * len(widths) if isinstance(heads, int) and len({*widths}) == 1 else list(np.ravel(heads))
        if len(counts) != len(widths) or not all(isinstance(n, Integral) and int(n) > 0 for n in counts):
            raise errors.InvalidSetting(
                f"heads = {heads!r} does not fit; give one whole number for each of {len(widths)} blocks, or a single "
                "one where all are of one width."
            )
        return [(path, int(n), width // int(n) * int(n)) for path, n, width in zip(found, counts, widths, strict=True)]
    try:
        backbone = backbone or load_backbone(str(base).removeprefix("timm/"), pretrained=False, device="meta")
    except errors.HeadroomError:
        raise errors.InvalidSetting(
            f"How many heads a block has is not in the file, and its base model ({base}) is not one that timm knows; "
            "give backbone='NAME', the one that it was trained on, or heads=12."
        ) from None
    paths = [block.path for block in backbone.blocks]
    if found.keys() - {*paths} and len(found) != len(paths):
        raise errors.InvalidSetting(
            f"The file adapts {len(found)} blocks ({next(iter(found))} first); {backbone.name} has {len(paths)}, under "
            "other names. Give the backbone that it was trained on, or heads=12."
        )
    paths = list(found) if found.keys() - {*paths} else paths
    return [(path, b.heads, b.heads * b.head_dim) for path, b in zip(paths, backbone.blocks, strict=True)]
