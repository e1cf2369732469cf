"""Why this class? Which pixels or patches a logit rests on, by captum's methods and by attention rollout.

Token sequences are put on their grid before captum sees them, prefix tokens apart: its layer methods take the second
dimension for channels and would average over patches without a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftcore import errors
from peftcore.model import TunedModel
from peftcore.probes.attention import attention_flow, evaluating

# Integrated gradients, arXiv 1703.01365; Grad-CAM, 1610.02391; occlusion, 1311.2901.
By = Literal["integrated_gradients", "gradcam", "occlusion", "rollout"]
AT_ONCE = 16  # images in one forward and backward, however many steps or occluded patches there are


@dataclass(frozen=True)
class Attribution:
    """`maps` (B, H, W) over pixels: positive where the image speaks for the class, negative where against it.

    `target` (B,): the class that is explained. `delta` (B,): by how much the sum of an integrated-gradients map misses
    the difference of the logits that it explains; None elsewhere. `layer`: of which block Grad-CAM read tokens.
    """

    maps: Tensor
    target: Tensor
    by: str
    delta: Tensor | None = None
    layer: int | None = None


def attribute(
    model: TunedModel, images: Tensor, target: int | Sequence[int] | Tensor | None = None,
    by: By = "integrated_gradients", layer: int | None = None, steps: int = 50,
) -> Attribution:  # fmt: skip
    """Explains the logit of `target` (by default the class that the model chooses) on normalised images (B, C, H, W).

    `layer` is Grad-CAM's block; by default the last one whose patches the classifier depends on. `steps` of integrated
    gradients: more make `delta` smaller, and take longer, not more memory.

    Raises:
        UnknownName: `by` is not one of By.
        BadData: images that do not fit the backbone, or no such class. InvalidSetting: no step.
        NotMeasurable: no such layer, or one whose patches get no gradient; an attention without a map, for rollout.
    """
    if by not in get_args(By):
        raise errors.unknown("attribution", by, get_args(By))
    model.backbone.check_images(images, exact=by != "integrated_gradients")
    if steps < 1:
        raise errors.InvalidSetting(f"steps = {steps}; integrated gradients take one step or more.")
    with torch.inference_mode(False), evaluating(model):  # gradients can be had in a caller's inference mode too
        images, target = images.clone(), _target(model, images, target)
        if by == "integrated_gradients":
            return _integrated(model, images, target, steps)
        if by == "gradcam":
            return _gradcam(model, images, target, layer)
        maps = _occlusion(model, images, target) if by == "occlusion" else _rollout(model, images)
        return Attribution(maps, target, by)


def _target(model: TunedModel, images: Tensor, target: Any) -> Tensor:
    if target is None:
        with torch.no_grad():
            return torch.cat([model(part).argmax(1) for part in images.split(AT_ONCE)])
    try:
        target = torch.as_tensor(target, device=images.device).expand(len(images))
    except (RuntimeError, TypeError, ValueError):
        raise errors.BadData(f"target = {target!r} is no class, and no list of {len(images)} of them.") from None
    if target.is_floating_point() or not ((target >= 0) & (target < model.head.out_features)).all():
        raise errors.BadData(f"target = {target.tolist()}; classes go from 0 to {model.head.out_features - 1}.")
    return target.long().clone()


def differentiable(model: TunedModel) -> Callable[[Tensor], Tensor]:
    """images -> logits with the gradient through the backbone, which a side method's own forward never takes."""
    if not model.is_side:
        return model

    def forward(images: Tensor) -> Tensor:
        taps = model.backbone.taps(images, model.tuner.taps, chunk=len(images), grad=True)
        return model.from_features(taps)

    return forward


def _integrated(model: TunedModel, images: Tensor, target: Tensor, steps: int) -> Attribution:
    from captum.attr import IntegratedGradients

    how: Any = {"n_steps": steps, "internal_batch_size": AT_ONCE, "return_convergence_delta": True}
    maps, delta = IntegratedGradients(differentiable(model)).attribute(images, torch.zeros_like(images), target, **how)
    return Attribution(maps.detach().sum(1).float(), target, "integrated_gradients", delta.float())


@torch.no_grad()
def _occlusion(model: TunedModel, images: Tensor, target: Tensor) -> Tensor:
    from captum.attr import Occlusion

    patch = (images.shape[1], *(size // n for size, n in zip(images.shape[2:], model.backbone.grid, strict=True)))
    how: Any = {"strides": patch, "target": target, "perturbations_per_eval": max(1, AT_ONCE // len(images))}
    return Occlusion(model).attribute(images, patch, **how)[:, 0].float()


def _gradcam(model: TunedModel, images: Tensor, target: Tensor, layer: int | None) -> Attribution:
    from captum.attr import LayerGradCam

    backbone = model.backbone
    # With the class token pooled, nothing reads the last block's patches.
    last = backbone.depth - 1 - (getattr(backbone.module, "global_pool", "") == "token")
    chosen = last if layer is None else layer
    if not -backbone.depth <= chosen < backbone.depth:
        raise errors.NotMeasurable(f"{backbone.name} has layers 0 to {backbone.depth - 1}; there is no layer {layer}.")
    chosen %= backbone.depth
    on_grid = _OnGrid(model, chosen)
    with backbone.module.get_submodule(on_grid.block.path).register_forward_hook(on_grid.through):
        parts = zip(images.split(AT_ONCE), target.split(AT_ONCE), strict=True)
        cams = [LayerGradCam(on_grid, on_grid.grid).attribute(x, t, relu_attributions=False).detach() for x, t in parts]
    cam = torch.cat(cams)  # (B, 1, rows, columns)
    if not cam.any():
        raise errors.NotMeasurable(
            f"No patch behind {on_grid.block.path} of {backbone.name} reaches the classifier, which reads the class "
            "token, or frozen features before that layer. Choose an earlier layer."
        )
    maps = F.interpolate(cam.float(), images.shape[2:], mode="bilinear")[:, 0]
    return Attribution(maps, target, "gradcam", layer=chosen)


class _OnGrid(nn.Module):
    """The model, with one block's patches passing through `grid` as (B, channels, rows, columns)."""

    def __init__(self, model: TunedModel, layer: int):
        super().__init__()
        self.grid, self.logits, self.block = nn.Identity(), differentiable(model), model.backbone.blocks[layer]

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images.requires_grad_())  # frozen tokens get no gradient otherwise

    def through(self, _block: nn.Module, _args: tuple, out: Tensor) -> Tensor:
        if out.ndim == 4:  # (B, rows, columns, channels) of a Swin
            return self.grid(out.movedim(-1, 1)).movedim(1, -1)
        prefix, patches = out.split([out.shape[1] - math.prod(self.block.grid), math.prod(self.block.grid)], 1)
        return torch.cat([prefix, self.grid(patches.mT.unflatten(-1, self.block.grid)).flatten(2).mT], 1)


def _rollout(model: TunedModel, images: Tensor) -> Tensor:
    """The rollout's row of the pooled token (two in a distilled DeiT), or the mean of all patches' rows."""
    backbone = model.backbone
    flow = attention_flow(model, images)  # (B, last tokens, first tokens)
    token = getattr(backbone.module, "global_pool", "") == "token"
    pooled = 1 + hasattr(backbone.module, "dist_token")
    rows = (flow[:, :pooled] if token else flow[:, -math.prod(backbone.blocks[-1].grid) :]).mean(1)
    grid = rows[:, -math.prod(backbone.grid) :].unflatten(-1, backbone.grid)[:, None]
    return F.interpolate(grid.float(), images.shape[2:], mode="bilinear")[:, 0]
