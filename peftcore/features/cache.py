"""Frozen features, computed once: what side methods read instead of running the backbone again every epoch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

import numpy as np
import timm
import torch
from torch import Tensor

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.backbone.preprocess import RESIZE, normalisation, prepare
from peftcore.features.disk import Shelf, hash_of
from peftcore.task import read_ahead

Place = Literal["device", "host", "disk", "none"]
Precision = Literal["fp32", "bf16"]


@dataclass(eq=False)
class FeatureCache:
    """The frozen features of a set of images at some taps, one tensor (n, ...) each, in the order of the images.

    images: uint8 (n, H, W, 3).
    norm, resize: how images become what the backbone reads (preprocess.py).
    batch_size: images per forward while it is filled.
    precision: how features are kept; fp32 keeps what was computed, bf16 half of the bytes.
    compute: the forward's precision; bf16 is autocast.
    place: 'device' (the backbone's), 'host' (pinned where the backbone is on a GPU), or 'disk', by memory map: what was
        made of the same weights, pixels and settings before is read again.
    """

    backbone: Backbone
    taps: Iterable[str]
    images: np.ndarray
    norm: str
    batch_size: int = 64
    _: KW_ONLY
    precision: Precision = "fp32"
    compute: Precision = "fp32"
    place: Place = "device"
    resize: str = "stretch"
    shelf: Shelf | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.taps = tuple(dict.fromkeys(self.taps))

    def __len__(self) -> int:
        return len(self.images)

    def fill(self) -> Iterator[int]:
        """Computes the features batch by batch and yields how many images are done.

        Raises:
            StoreUnavailable: place is 'disk', and it is full or cannot be written. No half file stays.
        """
        if self.place == "disk":
            yield from self._fill_on_disk()
            return
        where: dict[str, Any] = {}
        if self.place == "host":
            where = {"device": "cpu", "pin_memory": self.backbone.device.type == "cuda"}
        for rows, parts in self._compute(self.taps):
            for tap, part in parts.items():
                if tap not in self.tensors:
                    self.tensors[tap] = part.new_empty((len(self), *part.shape[1:]), **where)
                self.tensors[tap][rows] = part
            yield rows.stop

    def _fill_on_disk(self) -> Iterator[int]:
        shelf, abouts = self.shelf or Shelf(), self.about()
        known = {tap: shelf.read(about) for tap, about in abouts.items()}
        missing = [tap for tap, tensor in known.items() if tensor is None]
        if missing:
            keep = {shelf.path(about) for about in abouts.values()}
            shelf.make_room(len(self) * bytes_per_image(self.backbone, missing, self.precision, self.compute), keep)
        with ExitStack() as stack:
            new = {tap: stack.enter_context(closing(shelf.writer(abouts[tap], len(self)))) for tap in missing}
            for rows, parts in self._compute(missing):
                for tap, part in parts.items():
                    new[tap].write(part)
                yield rows.stop
            for writer in new.values():
                writer.commit()
        known |= {tap: shelf.read(abouts[tap]) for tap in missing}
        self.tensors = {tap: tensor for tap, tensor in known.items() if tensor is not None}
        if len(self.tensors) < len(known):
            raise errors.StoreUnavailable(
                f"{shelf.folder} does not give back the features that were written there; use cache_features=False."
            )
        if not missing:
            yield len(self)

    def _compute(self, taps: Iterable[str]) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """(which images, features (b, ...) by tap as they are to be kept), batch by batch."""
        taps, size, end, device = tuple(taps), self.batch_size, len(self), self.backbone.device
        # The layers of a small backbone leave a CPU's threads waiting; two batches side by side wait half as much.
        aside = device.type == "cpu" and torch.get_num_threads() > 1
        backbones = [self.backbone, _twin(self.backbone)] if aside else [self.backbone]

        def features(images: np.ndarray, backbone: Backbone) -> dict[str, Tensor]:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.compute == "bf16"):
                parts = backbone.taps(prepare(images, backbone, self.norm, device, self.resize), taps)
            kept = (part.bfloat16() if self.precision == "bf16" else part for part in parts)
            return dict(zip(taps, kept, strict=True))

        batches = [slice(start, min(start + size, end)) for start in range(0, end if taps else 0, size)]
        with ThreadPoolExecutor(len(backbones)) as pool:
            for n in range(0, len(batches), len(backbones)):
                rows = batches[n : n + len(backbones)]
                read_ahead(self.images, slice(rows[-1].stop, rows[-1].stop + size * len(backbones)))
                yield from zip(rows, pool.map(features, [self.images[row] for row in rows], backbones), strict=True)

    def batch(self, index: Tensor | np.ndarray | slice, taps: Iterable[str]) -> tuple[Tensor, ...]:
        """Features of the images at `index` (b,), one tensor (b, ...) per tap, on the backbone's device: as they were
        computed, or float32 where they were kept in bf16. A slice of what is there already is no copy."""
        rows = (_rows(self.tensors[tap], index).to(self.backbone.device, non_blocking=True) for tap in taps)
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
        backbone, images = self.backbone, self.images
        mean, std = normalisation(backbone, self.norm)
        resize = RESIZE if self.resize == "stretch" else f"{RESIZE}, {self.resize} {backbone.crop_pct:g}"
        module = hash_of([repr(backbone.module).encode()])
        # Chunk by chunk: the images of a large folder are never in memory together.
        pixels = (np.ascontiguousarray(images[start : start + 256]).data for start in range(0, len(images), 256))
        common = {
            "weights": backbone.hash_weights(),
            "architecture": [backbone.name, str(backbone.options), list(backbone.heads), module],
            "preprocessing": dict(mean=list(mean), std=list(std), size=list(backbone.input_size), resize=resize),
            "images": [hash_of(pixels), list(images.shape)],
            "kept": self.precision,
            "computed": [self.compute, backbone.device.type, torch.get_float32_matmul_precision()],
            "versions": {"torch": torch.__version__, "timm": timm.__version__},
        }
        return {tap: {**common, "tap": tap} for tap in self.taps}


def _twin(backbone: Backbone) -> Backbone:
    """One with the same tensors and hooks of its own, for a thread of its own."""
    return copy.deepcopy(backbone, {id(one): one for one in backbone.module.state_dict(keep_vars=True).values()})


def _rows(kept: Tensor, index: Tensor | np.ndarray | slice) -> Tensor:
    if isinstance(index, slice):
        return kept[index]
    index = torch.as_tensor(index, device=kept.device)
    # Out of pinned memory into pinned memory: the copy to the GPU then need not wait.
    out = kept.new_empty((len(index), *kept.shape[1:]), pin_memory=True) if kept.is_pinned() else None
    return torch.index_select(kept, 0, index, out=out)


def bytes_per_image(
    backbone: Backbone, taps: Iterable[str], precision: Precision = "fp32", compute: Precision = "fp32"
) -> int:
    """Bytes of one image's frozen features, measured by running one image (on meta: none, and all in fp32)."""
    device = backbone.device
    image = torch.zeros(1, *backbone.input_size, device=device)
    with torch.autocast("cpu" if device.type == "meta" else device.type, torch.bfloat16, enabled=compute == "bf16"):
        parts = backbone.taps(image, tuple(dict.fromkeys(taps)))
    return sum(part.numel() * (2 if precision == "bf16" else part.element_size()) for part in parts)
