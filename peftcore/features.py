"""Frozen features, computed once: what side methods read instead of running the backbone again every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import psutil
import torch
from torch import Tensor

from . import errors
from .backbone import Backbone
from .model import TunedModel
from .preprocess import prepare

_SHARE = 0.4  # of the memory that is free: what a cache may take without being told to


class FeatureCache:
    """The frozen features of a set of images at some taps, one tensor (n, ...) each, in the order of the images."""

    def __init__(self, backbone: Backbone, taps: Iterable[str], images: np.ndarray, norm: str, batch_size: int = 64):
        self._backbone, self.taps = backbone, tuple(dict.fromkeys(taps))
        self._images, self._norm, self._batch_size = images, norm, batch_size
        self.tensors: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._images)

    def fill(self) -> Iterator[int]:
        """Computes the features batch by batch and yields how many images are done."""
        for start in range(0, len(self), self._batch_size):
            chunk = self._images[start : start + self._batch_size]
            parts = self._backbone.taps(prepare(chunk, self._backbone, self._norm, self._backbone.device), self.taps)
            for tap, part in zip(self.taps, parts, strict=True):
                if tap not in self.tensors:
                    self.tensors[tap] = part.new_empty((len(self), *part.shape[1:]))
                self.tensors[tap][start : start + len(chunk)] = part
            yield start + len(chunk)

    def batch(self, index: Tensor, taps: Iterable[str]) -> tuple[Tensor, ...]:
        """Features of the images at `index` (b,), one tensor (b, ...) per tap."""
        index = index.to(self._backbone.device)
        return tuple(self.tensors[tap].index_select(0, index) for tap in taps)

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self.tensors.values())


def bytes_per_image(backbone: Backbone, taps: Iterable[str]) -> int:
    """What one image's frozen features take, in bytes, found by running one image."""
    image = torch.zeros(1, *backbone.input_size, device=backbone.device)
    return sum(t.nbytes for t in backbone.taps(image, tuple(dict.fromkeys(taps))))


def should_cache(model: TunedModel, images: int, wanted: bool | str, augmentation: str) -> bool:
    """Whether to keep the features of so many images.

    Raises:
        InvalidSetting: a cache is demanded where features change with every epoch or the method has none.
        OutOfMemory: a cache is demanded that does not fit.
    """
    if wanted is False:
        return False
    if not model.is_side or augmentation != "none":
        if wanted is True:
            why = (
                "images are augmented anew in every epoch"
                if model.is_side
                else "this method changes the backbone's features"
            )
            raise errors.InvalidSetting(f"cache_features=True is not possible: {why}; use 'auto'.")
        return False
    need = images * bytes_per_image(model.backbone, model.tuner.taps)
    device = model.backbone.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if need <= _SHARE * free:
        return True
    if wanted is True:
        raise errors.OutOfMemory(
            f"The frozen features of {images} images take {need / 1e9:.2f} GB, more than {_SHARE:.0%} of the "
            f"{free / 1e9:.2f} GB that are free; use cache_features='auto' or fewer images."
        )
    return False
