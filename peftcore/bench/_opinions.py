"""A second opinion on heads, from other schools: how much of the answer runs through each, how far it looks, and how
sharply. Unlike a score of an update, all three are of the head as a whole, tuned or not.

Conductance (Dhamdhere et al., arXiv 1805.12233) is of what a head puts out, before the projection that mixes heads:
along the straight line from a grey image to the image, the gradient of the true class's logit times the change of that
output, summed. The numbers are those of captum's LayerConductance (method "riemann_trapezoid"), which runs the whole
model again for each layer and takes a Swin's windows for images; here one run serves all layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.methods._scores import HeadScores
from peftcore.model import TunedModel
from peftcore.probes.attention import attention_maps, evaluating
from peftcore.probes.attribution import differentiable
from peftcore.probes.effects import Progress
from peftcore.probes.responsiveness import labelled

OUTPUT = ("output",)  # in the projections' place: the head as a whole
AT_ONCE = 16  # images
STEPS = 16  # from the grey image to the image


def head_conductance(
    model: TunedModel, images: Any, labels: Any, steps: int = STEPS, progress: Progress | None = None
) -> HeadScores:
    """The mean over images of |conductance| of each head for the logit of the true class; (layers, 1, heads).

    `images` (B, 3, H, W) and `labels` (B,), or an iterable of batches of each. The model stays as it is.

    Raises:
        BadData: no images, or labels that do not fit them.
        DoesNotFit: an attention without a projection of its heads' outputs.
    """
    backbone, sums, count = model.backbone, None, 0
    batches = [
        part
        for x, y in labelled(model.head.weight, images, labels)
        for part in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True)
    ]
    if not batches:
        raise errors.BadData("Conductance is a mean over images, and there are none; give at least one batch.")
    readers = [backbone.site(block, "proj").linear for block in backbone.blocks]
    forward = differentiable(model)
    with torch.inference_mode(False), evaluating(model):  # gradients can be had in a caller's inference mode too
        for number, (x, y) in enumerate(batches):
            shares = None if progress is None else _part(progress, number, len(batches))
            found = conductance(forward, readers, backbone.heads, x.clone(), y.clone(), steps, shares)
            totals = [one.abs().sum(0) for one in found]
            sums = totals if sums is None else [a + b for a, b in zip(sums, totals, strict=True)]
            count += len(x)
    return scores_of(backbone, [(one / count).double().cpu().numpy() for one in sums or ()], "conductance")


def conductance(
    forward: Callable[[Tensor], Tensor],
    readers: Sequence[nn.Module],
    heads: Sequence[int],
    images: Tensor,
    target: Tensor,
    steps: int,
    progress: Progress | None = None,
) -> list[Tensor]:
    """For each layer the conductance of its heads, (B, heads), with its sign.

    `forward`: images -> (B, classes). `readers`: of each layer the module whose input is what the heads put out, side
    by side. Where nothing runs past the heads of a layer and the rest is linear, they sum to the difference of the
    target's output between the image and the grey one.
    """
    sums = [images.new_zeros(len(images), count, dtype=torch.float32) for count in heads]
    before: list[tuple[Tensor, Tensor]] = []  # each layer's output and its gradient at the step before
    for step, at in enumerate(np.linspace(0, 1, steps + 1)):
        with _seen(readers) as seen, torch.enable_grad():
            logits = forward((float(at) * images).requires_grad_())
            picked = logits.gather(1, target[:, None]).sum()
            # A last layer whose heads nothing reads gets no gradient, and conducts nothing.
            gradients = torch.autograd.grad(picked, seen, allow_unused=True)
        now = [
            (out.detach(), torch.zeros_like(out) if grad is None else grad.detach())
            for out, grad in zip(seen, gradients, strict=True)
        ]
        for total, (old, grad), (new, _) in zip(sums, before, now, strict=True) if before else ():
            change = (grad * (new - old)).float()  # (B or B * windows, tokens, heads * head_dim)
            total += change.reshape(len(images), -1, total.shape[1], change.shape[-1] // total.shape[1]).sum((1, 3))
        before = now
        if progress:
            progress((step + 1) / (steps + 1))
    return sums


@contextmanager
def _seen(readers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """What each module was given, in order, with a gradient to come."""
    seen: list[Tensor] = []

    def note(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = args[0] if args[0].requires_grad else args[0].detach().requires_grad_()
        seen.append(x)
        return x, *args[1:]

    with ExitStack() as handles:
        for reader in readers:
            handles.enter_context(reader.register_forward_pre_hook(note))
        yield seen


def _part(progress: Progress, number: int, of: int) -> Progress:
    return lambda share: progress((number + share) / of)


def attention_traits(
    source: Backbone | TunedModel, images: Tensor, progress: Progress | None = None
) -> tuple[HeadScores, HeadScores]:
    """Each head's mean attention distance, in pixels of the image, and its entropy, in nats; (layers, 1, heads) each.

    Means over images and asking patches. Tokens without a place in the image (class token, registers) neither ask nor
    are looked at: what is left of a row is a share of the patches. On Swin a patch looks within its window.

    Raises:
        NotMeasurable: an attention that forms no map. BadData: images of another size than the backbone's.
    """
    backbone = source.backbone if isinstance(source, TunedModel) else source
    backbone.check_images(images, exact=True)
    parts = images.split(AT_ONCE)
    distances, entropies = [], []
    for layer, block in enumerate(backbone.blocks):
        cell = tuple(side / count for side, count in zip(backbone.input_size[1:], block.grid, strict=True))
        far, sharp = [], []
        for number, part in enumerate(parts):
            maps = among_patches(attention_maps(source, part, layer), math.prod(block.grid))
            far.append(distance(maps, block.grid, (cell[0], cell[1])).sum(0))
            sharp.append(entropy(maps).sum(0))
            if progress:
                progress((layer + (number + 1) / len(parts)) / backbone.depth)
        distances.append(sum(far).double().cpu().numpy() / len(images))
        entropies.append(sum(sharp).double().cpu().numpy() / len(images))
    return scores_of(backbone, distances, "distance"), scores_of(backbone, entropies, "entropy")


def among_patches(maps: Tensor, patches: int) -> Tensor:
    """(B, heads, N, N) -> (B, heads, patches, patches), rows sum to 1 again; prefix tokens stand first."""
    maps = maps[..., -patches:, -patches:].float()
    return maps / maps.sum(-1, keepdim=True).clamp(min=1e-12)


def distance(maps: Tensor, grid: tuple[int, int], cell: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """(B, heads): the mean over rows of sum_j A_ij |place_i - place_j|, in units of `cell` (height, width)."""
    rows, columns = (torch.arange(count, device=maps.device) * side for count, side in zip(grid, cell, strict=True))
    places = torch.cartesian_prod(rows.float(), columns.float())  # (N, 2)
    return (maps * torch.cdist(places, places)).sum(-1).mean(-1)


def entropy(maps: Tensor) -> Tensor:
    """(B, heads): the mean over rows of -sum_j A_ij log A_ij: 0 where a row is one-hot, log N where it is uniform."""
    return -torch.xlogy(maps, maps).sum(-1).mean(-1)


def scores_of(backbone: Backbone, layers: Sequence[np.ndarray], score: str) -> HeadScores:
    """One value per head of each layer -> HeadScores of the heads as a whole; NaN where a layer has fewer heads."""
    values = np.full((backbone.depth, 1, max(backbone.heads)), np.nan)
    for layer, found in enumerate(layers):
        values[layer, 0, : len(found)] = found
    return HeadScores(values, OUTPUT, tuple(block.path for block in backbone.blocks), score)
