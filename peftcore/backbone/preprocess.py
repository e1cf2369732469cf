"""From pixels as people have them (uint8) to what a backbone reads: resize, augment, normalise."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peftcore import errors
from peftcore.backbone.backbone import Backbone, by_channel
from peftcore.task import SYMMETRIES

RESIZE = "bicubic"
_GREY = (0.299, 0.587, 0.114)  # ITU-R 601's luma, as Pillow's mode L
_NORMALISATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "none": ((0.0,) * 3, (1.0,) * 3),
}


def normalisation(backbone: Backbone, name: str = "backbone") -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel, of inputs in 0..1."""
    mean, std = (backbone.mean, backbone.std) if name == "backbone" else _NORMALISATIONS[name]
    return by_channel(mean, backbone.input_size[0]), by_channel(std, backbone.input_size[0])


def prepare(
    images: np.ndarray,
    backbone: Backbone,
    norm: str = "backbone",
    device: torch.device | str = "cpu",
    resize: str = "stretch",
) -> Tensor:
    """uint8 (n, H, W, 3) -> normalised float32 (n, C, h, w) at the backbone's input size, bicubic where sizes differ.

    A backbone of one channel gets their luma.

    Raises:
        BadData: not an array of RGB bytes, or a backbone that takes neither three channels nor one.
    """
    return _normed(_resized(images, backbone, device, resize), backbone, norm)


def augmented(
    images: np.ndarray, backbone: Backbone, norm: str, device: torch.device | str, resize: str, how: str,
    generator: torch.Generator, symmetries: Collection[str] = SYMMETRIES,
) -> Tensor:  # fmt: skip
    """`prepare` with an augmentation: `how` is 'none', 'light' or 'randaugment'. Equal generators give equal images.

    `symmetries`: the changes that keep a label as it is (task.SYMMETRIES); no other is made.
    """
    pixels = _resized(images, backbone, device, resize)
    if how == "randaugment":
        pixels = rand_augment(pixels, generator, normalisation(backbone, norm)[0], symmetries)
    pixels = _normed(pixels, backbone, norm)
    return augment_light(pixels, generator, symmetries) if how == "light" else pixels


def _resized(images: np.ndarray, backbone: Backbone, device: torch.device | str, how: str) -> Tensor:
    """float32 (n, C, h, w) in 0..255 at the backbone's input size."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise errors.BadData(
            f"Images must be uint8 of shape (n, height, width, 3); these are {images.dtype} of shape {images.shape}."
        )
    pixels = torch.tensor(images, device=device).permute(0, 3, 1, 2)  # (n, 3, H, W)
    # Rows of pixels by channel, as cached features have them: a convolution then adds in the same order for both.
    pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    channels, height, width = backbone.input_size
    if channels not in (1, 3):
        raise errors.BadData(
            f"{backbone.name} takes images of {channels} channels, which pictures do not have; give it tensors."
        )
    if channels == 1:
        pixels = (pixels * pixels.new_tensor(_GREY).view(3, 1, 1)).sum(1, keepdim=True)
    size = height, width
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    target = covering(tuple(pixels.shape[-2:]), size, backbone.crop_pct) if how == "crop" else size
    pixels = F.interpolate(pixels, target, mode=RESIZE, antialias=True, align_corners=False).clamp_(0, 255)
    top, left = (round((whole - part) / 2) for whole, part in zip(target, size, strict=True))
    return pixels[..., top : top + height, left : left + width].contiguous()


def covering(image: tuple[int, int], size: tuple[int, int], crop_pct: float) -> tuple[int, int]:
    """To what (height, width) an image is resized before its middle of `size` is cut out, as timm's evaluation does it:
    with its shape kept, the side that is shorter by comparison becomes `size` / `crop_pct`."""
    wanted = [math.floor(side / crop_pct) for side in size]
    scale = max(side / own for side, own in zip(wanted, image, strict=True))
    height, width = (max(side, int(scale * own + 1e-6)) for side, own in zip(wanted, image, strict=True))
    return height, width


def _normed(pixels: Tensor, backbone: Backbone, norm: str) -> Tensor:
    mean, std = (torch.tensor(v, device=pixels.device).view(1, -1, 1, 1) for v in normalisation(backbone, norm))
    return pixels.div_(255).sub_(mean).div_(std)


def augment_light(images: Tensor, generator: torch.Generator, symmetries: Collection[str] = SYMMETRIES) -> Tensor:
    """Shift each image of (n, C, h, w) by up to 1/16 of its size (edges repeated) and mirror half of them, as far as
    `symmetries` allow it."""
    n, _, h, w = images.shape
    reach = max(h, w) // 16
    shifts = torch.randint(0, 2 * reach + 1, (n, 2), generator=generator)
    mirror = torch.rand(n, generator=generator) < 0.5
    out = images
    if "shift" in symmetries:
        padded = F.pad(images, (reach,) * 4, mode="replicate")
        out = torch.stack([padded[i, :, dy : dy + h, dx : dx + w] for i, (dy, dx) in enumerate(shifts.tolist())])
    if "mirror" in symmetries:
        out = torch.where(mirror.view(-1, 1, 1, 1).to(out.device), out.flip(-1), out)
    return out


def rand_augment(
    pixels: Tensor, generator: torch.Generator, mean: tuple[float, ...], symmetries: Collection[str] = SYMMETRIES
) -> Tensor:
    """torchvision's RandAugment (Cubuk et al. 2020, arXiv 1909.13719) of float (n, C, h, w), whole numbers in 0..255.

    Two operations at magnitude 9 of 31 on each image. What comes in from outside has the colour `mean` (0..1). Where
    labels do not survive turning, shearing or moving, only the operations of colour and sharpness are drawn.
    """
    from torchvision.transforms import v2

    change = v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR, fill=[round(255 * m) for m in mean])
    if "warp" not in symmetries:
        change = v2.Compose([_recolour, _recolour])
    # It draws from the CPU's global generator, whatever the device: its state is borrowed, and given back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return torch.stack([change(image) for image in pixels.round().to(torch.uint8)]).float()


def _recolour(image: Tensor) -> Tensor:
    """One of RandAugment's operations that move nothing, at the same magnitude and by the same draws."""
    from torchvision.transforms.v2 import functional as to

    signed = to.adjust_brightness, to.adjust_saturation, to.adjust_contrast, to.adjust_sharpness
    at, by = int(torch.randint(9, ())), float(torch.linspace(0, 0.9, 31)[9])
    if 1 <= at <= 4:
        return signed[at - 1](image, 1 - by if torch.rand(()) <= 0.5 else 1 + by)
    if at in (5, 6):
        return to.posterize(image, 7) if at == 5 else to.solarize(image, 255 * float(torch.linspace(1, 0, 31)[9]))
    return image if at == 0 else to.autocontrast(image) if at == 7 else to.equalize(image)
