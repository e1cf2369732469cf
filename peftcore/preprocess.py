"""From pixels as people have them (uint8) to what a backbone reads: resize, normalise, augment."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import errors
from .backbone import Backbone

RESIZE = "bicubic"
_NORMALISATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "none": ((0.0,) * 3, (1.0,) * 3),
}


def normalisation(backbone: Backbone, name: str = "backbone") -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel, of inputs in 0..1."""
    return (backbone.mean, backbone.std) if name == "backbone" else _NORMALISATIONS[name]


def prepare(
    images: np.ndarray, backbone: Backbone, norm: str = "backbone", device: torch.device | str = "cpu"
) -> Tensor:
    """uint8 (n, H, W, 3) -> normalised float32 (n, 3, h, w) at the backbone's input size, bicubic where sizes differ.

    Raises:
        BadData: not an array of RGB bytes.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise errors.BadData(
            f"Images must be uint8 of shape (n, height, width, 3); these are {images.dtype} of shape {images.shape}."
        )
    pixels = torch.tensor(images, device=device).permute(0, 3, 1, 2)  # (n, 3, H, W)
    # Rows of pixels by channel, as cached features have them: a convolution then adds in the same order for both.
    pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    if pixels.shape[-2:] != backbone.input_size[-2:]:
        size = backbone.input_size[-2:]
        pixels = F.interpolate(pixels, size, mode=RESIZE, antialias=True, align_corners=False).clamp_(0, 255)
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in normalisation(backbone, norm))
    return pixels.div_(255).sub_(mean).div_(std)


def augment_light(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image of (n, 3, h, w) by up to 1/16 of its size (edges repeated) and mirror half of them."""
    n, _, h, w = images.shape
    reach = max(h, w) // 16
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    shifts = torch.randint(0, 2 * reach + 1, (n, 2), generator=generator)
    mirror = torch.rand(n, generator=generator) < 0.5
    crops = [padded[i, :, dy : dy + h, dx : dx + w] for i, (dy, dx) in enumerate(shifts.tolist())]
    out = torch.stack(crops)
    out[mirror] = out[mirror].flip(-1)
    return out
