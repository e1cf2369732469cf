"""Frozen features, computed once: what side methods read instead of running the backbone again every epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Literal

import numpy as np
import timm
import torch
from torch import Tensor

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.backbone.preprocess import RESIZE, normalisation, prepare
from peftcore.features.disk import Shelf, Writer
from peftcore.task import read_ahead

Place = Literal["device", "host", "disk", "none"]
Precision = Literal["fp32", "bf16"]


class FeatureCache:
    """The frozen features of a set of images at some taps, one tensor (n, ...) each, in the order of the images.

    Args:
        images: uint8 (n, H, W, 3).
        norm, resize: how images become what the backbone reads (preprocess.py).
        batch_size: images per forward while it is filled.
        precision: how features are kept; fp32 keeps what was computed, bf16 half of the bytes.
        compute: the forward's precision; bf16 is autocast.
        place: 'device' (the backbone's), 'host' (pinned where the backbone is on a GPU), or 'disk', by memory map:
            what was made of the same weights, pixels and settings before is read again.
    """

    def __init__(
        self,
        backbone: Backbone,
        taps: Iterable[str],
        images: np.ndarray,
        norm: str,
        batch_size: int = 64,
        *,
        precision: Precision = "fp32",
        compute: Precision = "fp32",
        place: Place = "device",
        resize: str = "stretch",
        shelf: Shelf | None = None,
    ):
        self._backbone, self.taps = backbone, tuple(dict.fromkeys(taps))
        self._images, self._norm, self._resize, self._batch_size = images, norm, resize, batch_size
        self.precision, self.compute, self.place = precision, compute, place
        self._shelf = shelf
        self.tensors: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._images)

    def fill(self) -> Iterator[int]:
        """Computes the features batch by batch and yields how many images are done.

        Raises:
            StoreUnavailable: place is 'disk', and it is full or cannot be written. No half file stays.
        """
        if self.place == "disk":
            yield from self._fill_on_disk()
            return
        host = self.place == "host"
        where = {"device": "cpu", "pin_memory": self._backbone.device.type == "cuda"} if host else {}
        for start, parts in self._compute(self.taps):
            for tap, part in parts.items():
                if tap not in self.tensors:
                    self.tensors[tap] = part.new_empty((len(self), *part.shape[1:]), **where)
                self.tensors[tap][start : start + len(part)] = part
            yield start + len(part)

    def _fill_on_disk(self) -> Iterator[int]:
        shelf = self._shelf or Shelf()
        abouts = self.about()
        known = {tap: shelf.read(about) for tap, about in abouts.items()}
        missing = [tap for tap, tensor in known.items() if tensor is None]
        if missing:
            keep = {shelf.path(about) for about in abouts.values()}
            shelf.make_room(len(self) * bytes_per_image(self._backbone, missing, self.precision, self.compute), keep)
        writers: dict[str, Writer] = {}
        with ExitStack() as stack:
            for start, parts in self._compute(missing):
                for tap, part in parts.items():
                    if tap not in writers:
                        writers[tap] = shelf.writer(abouts[tap], (len(self), *part.shape[1:]), part.dtype)
                        stack.callback(writers[tap].close)
                    writers[tap].write(part)
                yield start + len(part)
            for writer in writers.values():
                writer.commit()
        self.tensors = {tap: shelf.read(abouts[tap]) if tap in missing else known[tap] for tap in self.taps}
        if any(tensor is None for tensor in self.tensors.values()):
            raise errors.StoreUnavailable(
                f"{shelf.folder} does not give back the features that were written there; use cache_features=False."
            )
        if not missing:
            yield len(self)

    def _compute(self, taps: Iterable[str]) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """(first image, features (b, ...) by tap as they are to be kept), batch by batch."""
        taps, device = tuple(taps), self._backbone.device
        for start in range(0, len(self) if taps else 0, self._batch_size):
            chunk = self._images[start : start + self._batch_size]
            read_ahead(self._images, slice(start + self._batch_size, start + 2 * self._batch_size))
            with torch.autocast(device.type, torch.bfloat16, enabled=self.compute == "bf16"):
                parts = self._backbone.taps(prepare(chunk, self._backbone, self._norm, device, self._resize), taps)
            if self.precision == "bf16":
                parts = [part.bfloat16() for part in parts]
            yield start, dict(zip(taps, parts, strict=True))

    def batch(self, index: Tensor | np.ndarray | slice, taps: Iterable[str]) -> tuple[Tensor, ...]:
        """Features of the images at `index` (b,), one tensor (b, ...) per tap, on the backbone's device: as they were
        computed, or float32 where they were kept in bf16. A slice of what is there already is no copy."""
        rows = (_rows(self.tensors[tap], index).to(self._backbone.device, non_blocking=True) for tap in taps)
        return tuple(part.float() if self.precision == "bf16" else part for part in rows)

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self.tensors.values())

    @property
    def resident(self) -> list[Tensor]:
        """The tensors that take memory; what is mapped from disk takes none that the system could not have back."""
        return [] if self.place == "disk" else list(self.tensors.values())

    def about(self) -> dict[str, dict[str, Any]]:
        """By tap, everything that decides its features: equal where, and only where, they are the same numbers."""
        backbone, mean_std = self._backbone, normalisation(self._backbone, self._norm)
        common = {
            "weights": backbone.hash_weights(),
            "architecture": [backbone.name, str(backbone.options), list(backbone.heads), _hash(repr(backbone.module))],
            "preprocessing": {
                "mean": list(mean_std[0]),
                "std": list(mean_std[1]),
                "size": list(backbone.input_size),
                "resize": RESIZE if self._resize == "stretch" else f"{RESIZE}, {self._resize} {backbone.crop_pct:g}",
            },
            "images": [_hash_images(self._images), list(self._images.shape)],
            "kept": self.precision,
            "computed": [self.compute, backbone.device.type, torch.get_float32_matmul_precision()],
            "versions": {"torch": torch.__version__, "timm": timm.__version__},
        }
        return {tap: {**common, "tap": tap} for tap in self.taps}


def _rows(kept: Tensor, index: Tensor | np.ndarray | slice) -> Tensor:
    if isinstance(index, slice):
        return kept[index]
    index = torch.as_tensor(index, device=kept.device)
    # Out of pinned memory into pinned memory: the copy to the GPU then need not wait.
    out = kept.new_empty((len(index), *kept.shape[1:]), pin_memory=True) if kept.is_pinned() else None
    return torch.index_select(kept, 0, index, out=out)


def _hash(value: Any) -> str:
    return hashlib.blake2b(value.encode() if isinstance(value, str) else value, digest_size=16).hexdigest()


def _hash_images(images: np.ndarray, chunk: int = 256) -> str:
    """Of all bytes, a chunk of images at a time: those of a large folder are never in memory together."""
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(images), chunk):
        digest.update(np.ascontiguousarray(images[start : start + chunk]).data)
    return digest.hexdigest()


def bytes_per_image(
    backbone: Backbone, taps: Iterable[str], precision: Precision = "fp32", compute: Precision = "fp32"
) -> int:
    """What one image's frozen features take, in bytes, found by running one image (on meta: none, and all in fp32)."""
    device = backbone.device
    image = torch.zeros(1, *backbone.input_size, device=device)
    with torch.autocast("cpu" if device.type == "meta" else device.type, torch.bfloat16, enabled=compute == "bf16"):
        parts = backbone.taps(image, tuple(dict.fromkeys(taps)))
    return sum(part.numel() * (2 if precision == "bf16" else part.element_size()) for part in parts)
