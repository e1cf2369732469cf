"""What a head does, found by switching it off: the change of the loss and of the accuracy, head by head or set by set.

A score predicts such a change from gradients or weights; here the model runs without the head and the change is
measured. Blocks before the first one that changes run once for all heads.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.methods._scores import head_pairs
from peftcore.model import TunedModel
from peftcore.probes.attention import evaluating
from peftcore.probes.responsiveness import labelled

# Left out is the head's low-rank update alone (the frozen head goes on working), or its whole output: it is zero, or
# its mean over images and tokens.
Of = Literal["update", "head", "mean"]
Head = tuple[int, str, int]  # layer, projection ("output" for the head as a whole), number of the head
Progress = Callable[[float], None]  # is called with the share that is done; what it raises ends the measurement
TAPS_CHUNK = 16  # images that Backbone.taps runs at a time, for side methods
KEPT_BYTES = 256e6  # of block outputs that are kept at a time


@dataclass(frozen=True)
class HeadEffects:
    """What changes when one head is off, (layers, projections, heads) each; NaN where there is no such head.

    `loss`: the mean cross-entropy, which rises where the head helped. `accuracy`: the share of images that are right.
    `before`: both with everything on, over `images` images.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    projections: tuple[str, ...]
    layers: tuple[str, ...]
    of: str
    images: int
    before: tuple[float, float]


def head_effects(
    model: TunedModel, images: Iterable[Any], labels: Iterable[Any], of: Of = "update", progress: Progress | None = None
) -> HeadEffects:
    """Switches each head off by itself, on images (B, 3, H, W) and labels (B,), or on an iterable of batches of each.

    Weights, mode and gradients of the model stay as they are; nobody else may use it meanwhile.

    Raises:
        NotMeasurable: `of` is "update", and the model has no low-rank update on q, k or v.
        UnknownName: `of` is not one of Of.
        BadData: no images, or labels that do not fit them.
    """
    heads = heads_of(model, of)
    losses, rights, count = without(model, images, labels, [[h] if on else [] for h, on in heads.items()], of, progress)
    projections = tuple(dict.fromkeys(projection for _, projection, _ in heads))
    loss, accuracy = np.full((2, model.backbone.depth, len(projections), max(model.backbone.heads)), np.nan)
    for i, (layer, projection, head) in enumerate(heads, 1):
        place = layer, projections.index(projection), head
        loss[place], accuracy[place] = losses[i] - losses[0], rights[i] - rights[0]
    paths, before = tuple(block.path for block in model.backbone.blocks), (float(losses[0]), float(rights[0]))
    return HeadEffects(loss, accuracy, projections, paths, of, count, before)


@torch.no_grad()
def without(
    model: TunedModel, images: Iterable[Any], labels: Iterable[Any], sets: Sequence[Sequence[Head]],
    of: Of = "update", progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:  # fmt: skip
    """Mean losses (1 + sets,) and accuracies (1 + sets,), with everything on and without each set; how many images.

    Raises: as `head_effects`.
    """
    batches = [part for x, y in labelled(model.head.weight, images, labels) for part in _parts(model, x, y)]
    if not batches:
        raise errors.BadData("The effect of a head is a mean over images, and there was none; give at least one batch.")
    sums, depth, backbone = np.zeros((2, 1 + len(sets))), model.backbone.depth, model.backbone
    starts = [0, *(min((layer for layer, *_ in off), default=depth) for off in sets)]  # the first block that runs
    work = (depth + 1 - np.array(starts)).cumsum()
    with evaluating(model):
        means = _mean_outputs(model, [x for x, _ in batches]) if of == "mean" else {}
        for done, (x, y) in enumerate(batches):
            with _replay(backbone) as skip, _class_token_alone(model):
                for i, off in enumerate([(), *sets]):
                    skip(starts[i])
                    with _off(backbone, off, of, means):
                        logits = model(x).float()  # (b, classes)
                    sums[:, i] += float(F.cross_entropy(logits, y, reduction="sum")), int((logits.argmax(1) == y).sum())
                    if progress:
                        progress(done / len(batches) + work[i] / work[-1] / len(batches))
    count = sum(len(y) for _, y in batches)
    return *(sums / count), count


def heads_of(model: TunedModel, of: Of) -> dict[Head, bool]:
    """Every head that can be switched off, and whether it is on now."""
    if of not in get_args(Of):
        raise errors.unknown("kind of effect", of, get_args(Of))
    if of != "update":
        return {(i, "output", h): True for i, block in enumerate(model.backbone.blocks) for h in range(block.heads)}
    return {
        (a.layer, a.projection, h): a.pair.heads_on is None or bool(a.pair.heads_on[h])
        for a in head_pairs(model.tuner)
        for h in range(a.block.heads)
    }


def _parts(model: TunedModel, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """A batch in parts whose block outputs fit into KEPT_BYTES, and that run through the blocks in one call."""
    prefix, blocks = model.backbone.prefix_tokens, model.backbone.blocks
    each = 4 * sum((math.prod(block.grid) + prefix) * block.width for block in blocks)
    size = min(max(1, int(KEPT_BYTES / each)), TAPS_CHUNK if model.is_side else len(x))
    return zip(x.split(size), y.split(size), strict=True)


@contextmanager
def _replay(backbone: Backbone) -> Iterator[Callable[[int], None]]:
    """Yields skip(n): blocks before n return what they returned the first time, and compute nothing."""
    blocks = [backbone.module.get_submodule(block.path) for block in backbone.blocks]
    kept: dict[int, Tensor] = {}
    first = 0

    def run(i: int, forward: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        if i < first:
            return kept[i]
        out = forward(*args, **kwargs)
        kept.setdefault(i, out)
        return out

    def skip(n: int) -> None:
        nonlocal first
        first = n

    for i, block in enumerate(blocks):
        block.forward = partial(run, i, block.forward)
    try:
        yield skip
    finally:
        for block in blocks:
            del block.forward


@contextmanager
def _class_token_alone(model: TunedModel) -> Iterator[None]:
    """Where nothing but the class token of the last block is read, its MLP runs on that one; adding it broadcasts."""
    backbone, handles = model.backbone, ExitStack()
    module = backbone.module  # a distilled DeiT reads a second token
    if not model.is_side and getattr(module, "global_pool", "") == "token" and not hasattr(module, "dist_token"):
        mlp = backbone.part(backbone.blocks[-1], "mlp")
        handles.enter_context(mlp.register_forward_pre_hook(lambda _, args: (args[0][:, :1], *args[1:])))
    with handles:
        yield


@contextmanager
def _off(backbone: Backbone, heads: Sequence[Head], of: Of, means: dict[nn.Module, Tensor]) -> Iterator[None]:
    """Forwards within run without these heads."""
    entries: dict[nn.Linear, list[int]] = defaultdict(list)  # rows of a Linear's output, or columns of its input
    for layer, projection, head in heads:
        block = backbone.blocks[layer]
        site = backbone.site(block, projection if of == "update" else "proj")
        first = head * block.head_dim + (site.rows.start if of == "update" else 0)
        entries[site.linear] += range(first, first + block.head_dim)
    with ExitStack() as handles:
        for linear, where in entries.items():
            if of == "update":  # behind the hook that adds the updates
                handles.enter_context(linear.register_forward_hook(partial(_as_frozen, where)))
            else:
                handles.enter_context(linear.register_forward_pre_hook(partial(_as_given, where, means.get(linear))))
        yield


def _as_frozen(rows: list[int], linear: nn.Linear, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
    """These rows of the output are what the frozen Linear computes."""
    out = out.clone()
    bias = None if linear.bias is None else linear.bias[rows]
    out[..., rows] = F.linear(args[0], linear.weight[rows], bias).to(out.dtype)
    return out


def _as_given(columns: list[int], mean: Tensor | None, _: nn.Linear, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """These columns of the input are their mean, or zero."""
    x = args[0].clone()
    x[..., columns] = 0 if mean is None else mean[columns].to(x.dtype)
    return x, *args[1:]


def _mean_outputs(model: TunedModel, images: Sequence[Tensor]) -> dict[nn.Module, Tensor]:
    """What each block's heads put out, (width,), in the mean over images and tokens; by the Linear that reads it."""
    seen: dict[nn.Module, list[Tensor]] = defaultdict(list)  # by batch, weighted with its size

    def note(linear: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen[linear].append(args[0].flatten(0, -2).double().mean(0) * batch / total)

    with ExitStack() as handles:
        for block in model.backbone.blocks:
            linear = model.backbone.site(block, "proj").linear
            handles.enter_context(linear.register_forward_pre_hook(note))
        total = sum(map(len, images))
        for x in images:
            batch = len(x)
            model(x)
    return {linear: sum(means) for linear, means in seen.items()}
