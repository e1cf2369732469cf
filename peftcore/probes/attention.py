"""Where attention looks: the backbone's maps at a layer, and a side network's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftcore import errors
from peftcore.backbone.anatomy import Block
from peftcore.backbone.load import Backbone
from peftcore.model import TunedModel
from peftcore.registry import METHODS


def attention_maps(source: Backbone | TunedModel, images: Tensor, layer: int) -> Tensor:
    """Attention of block `layer` (0 is the first, -1 the last): (B, heads, N, N), rows sum to 1.

    N counts all tokens in the backbone's order, prefix tokens first. On Swin, N is the stage's whole grid and a token
    attends within its window: elsewhere its row is zero. Windows that do not divide the grid are padded; the share of a
    row that lies there is left out, and `attention_padding` gives it.

    Raises:
        NotMeasurable: no such layer, or an attention that never forms a map whose rows sum to 1.
    """
    maps = _maps(source, images, layer)  # (B, heads, N, N)
    return maps / maps.sum(-1, keepdim=True)


def attention_padding(source: Backbone | TunedModel, images: Tensor, layer: int) -> Tensor:
    """The share of each token's attention that lies on the padding of its window: (B, heads, N), 0 without padding.

    Raises:
        NotMeasurable: as `attention_maps`.
    """
    return (1 - _maps(source, images, layer).sum(-1)).clamp(min=0)


def attention_flow(source: Backbone | TunedModel, images: Tensor) -> Tensor:
    """Attention rollout (arXiv 2005.00928): the product over layers of (mean over heads of A + I) / 2.

    (B, tokens of the last block, tokens of the first), rows sum to 1. A Swin's merged token is the mean of its patches.

    Raises:
        NotMeasurable: as `attention_maps`.
    """
    blocks = source.backbone.blocks if isinstance(source, TunedModel) else source.blocks
    fresh = getattr(getattr(source, "tuner", None), "fresh", None)  # prompts that each block gets anew
    flow: Any = None
    for layer, block in enumerate(blocks):
        A = attention_maps(source, images, layer).mean(1)  # (B, N, N); zero outside a Swin's window
        step = (A + torch.eye(A.shape[-1], device=A.device)) / 2
        if flow is not None and len(flow[0]) != len(step[0]):
            grid = flow.mT.unflatten(-1, blocks[layer - 1].grid)  # (B, patches, rows, columns)
            flow = F.adaptive_avg_pool2d(grid, block.grid).flatten(2).mT
        if flow is not None and fresh:
            flow[:, fresh] = torch.eye(flow.shape[-1], device=flow.device)[fresh]
        flow = step if flow is None else step @ flow
    return flow


@torch.no_grad()
def _maps(source: Backbone | TunedModel, images: Tensor, layer: int) -> Tensor:
    """(B, heads, N, N) as they are computed: the rows of padded windows sum to less than 1."""
    # A probe's hook belongs to nobody else: a Backbone may be shared by threads, and a clone has the same weights.
    backbone = source.backbone if isinstance(source, TunedModel) else source.clone()
    backbone.check_images(images, exact=backbone.hierarchical)  # its windows are those of one grid
    if not -backbone.depth <= layer < backbone.depth:
        raise errors.NotMeasurable(f"{backbone.name} has layers 0 to {backbone.depth - 1}; there is no layer {layer}.")
    block = backbone.blocks[layer]
    attention = backbone.part(block, "attn")
    if not isinstance(getattr(attention, "attn_drop", None), nn.Module):
        raise errors.NotMeasurable(
            f"The attention of {backbone.name}, {type(attention).__name__}, does not show its map."
        )
    whole, forward = (source, source) if isinstance(source, TunedModel) else (backbone.module, backbone.pooled)
    with evaluating(whole), _forming(attention) as seen:
        forward(images)
    if not seen:
        raise errors.NotMeasurable(f"The attention of {backbone.name} ran without forming its map.")
    maps = seen[-1].float()
    if (rows := maps.sum(-1)).sub(1).abs().max() > 0.01 or maps.shape[1] != block.heads:  # bf16 rounds
        raise errors.NotMeasurable(
            f"The attention of {backbone.name} has {block.heads} heads, and {maps.shape[1]} maps whose rows sum to "
            f"{rows.min():.3g} to {rows.max():.3g}, not to 1 for each head: they cannot be read as shares."
        )
    if backbone.hierarchical or maps.shape[0] != len(images):
        return _from_windows(maps, backbone.module.get_submodule(block.path), block, len(images))
    return maps


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A model in eval mode, and back in the mode that it was in."""
    training = model.training
    try:
        model.eval()
        yield
    finally:
        model.train(training)


@contextmanager
def _forming(attention: Any) -> Iterator[list[Tensor]]:
    """The maps that an attention forms. Fused attention forms none, so it is off on this one module meanwhile."""
    seen: list[Tensor] = []
    fused = getattr(attention, "fused_attn", False)
    handle = attention.attn_drop.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        if fused:
            attention.fused_attn = False
        yield seen
    finally:
        handle.remove()
        if fused:
            attention.fused_attn = True


def _from_windows(maps: Tensor, module: Any, block: Block, batch: int) -> Tensor:
    """Window maps (B * windows, heads, n, n) -> (B, heads, N, N) over the block's grid, zero outside a token's window.

    The library's own partition, run on a grid of token numbers, says which token went into which window.
    """
    from timm.models.swin_transformer import window_partition

    (h, w), (wh, ww) = block.grid, module.window_size
    numbers = torch.arange(h * w, device=maps.device).view(1, h, w, 1).float()
    numbers = torch.roll(numbers, tuple(-s for s in module.shift_size), (1, 2))
    numbers = F.pad(numbers, (0, 0, 0, -w % ww, 0, -h % wh), value=-1)  # padding is not a token
    places = window_partition(numbers, (wh, ww)).flatten(1).long()  # (windows, n)
    maps = maps.unflatten(0, (batch, len(places)))  # (B, windows, heads, n, n)
    whole = maps.new_zeros(batch, maps.shape[2], h * w, h * w)
    for window, place in enumerate(places):
        real = place >= 0
        rows = place[real]
        whole[:, :, rows[:, None], rows[None, :]] = maps[:, window][:, :, real][..., real]
    return whole


@torch.no_grad()
def side_attention(model: TunedModel, images: Tensor) -> list[Tensor]:
    """The attention of each module of a side network, in order: (B, N, N) each, rows sum to 1.

    Raises:
        NotMeasurable: the method has no side network with attention.
    """
    if not model.is_side or not model.tuner.attended:
        able = " or ".join(METHODS.facts(name).title for name in METHODS.names(shows="attention"))
        raise errors.NotMeasurable(
            f"{model.method.card.title} has no side network with attention; train {able} to see where one looks."
        )
    with evaluating(model):
        return model.tuner.attention(model.features(images))
