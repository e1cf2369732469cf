"""PETL-ViT's file layout for quantised low-rank adapters, read: its authors released Bi-LoRA files in it.

Per block: q-down (A), q-up (B), v-down, v-up. Per matrix: the codes, `bits` per weight, the first weight in the lowest
bits of a byte; then mean and standard deviation as little-endian float32. Then the classifier's float32 weight
(classes, width) and bias. Names are `<task>-bit<bits>-dim<rank>.bin`. Source: github.com/JieShibo/PETL-ViT (MIT),
binary_adapter; adapters of ViT-B/16 (ImageNet-21k) for the 19 tasks of VTAB-1K.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.fetch.peft_export import Pairs
from peftcore.fetch.pickles import refuse_pickle
from peftcore.methods import make_method
from peftcore.methods.bi_lora import EPS, codebook, codes, levels_of, standardise
from peftcore.model import TunedModel, attach

# The scale s that each released adapter was trained with: the `scale` of PETL-ViT's configs/lora/*.yaml.
_BY_SCALE = {
    0.01: "dtd",
    0.1: "cifar oxford_iiit_pet sun397 clevr_dist dsprites_ori",
    1: "oxford_flowers102 clevr_count dsprites_loc smallnorb_ele",
    10: "caltech101 svhn patch_camelyon eurosat resisc45 diabetic_retinopathy dmlab kitti smallnorb_azi",
}
SCALES = {task: scale for scale, tasks in _BY_SCALE.items() for task in tasks.split()}
_NAME = re.compile(r"(?P<task>.+)-bit(?P<bits>[1248])-dim(?P<rank>\d+)")
_ROUNDS = 200  # after which codes that no weights standardise to are given up


@dataclass(frozen=True)
class Packed:
    """One stored matrix: `codes` (rows, columns), each 0 .. 2^bits - 1, and the float32 mean and std of its weights."""

    codes: Tensor
    mean: float
    std: float
    bits: int

    @classmethod
    def from_bytes(cls, blob: bytes, shape: tuple[int, int], bits: int) -> Packed:
        """The matrix that `blob` starts with."""
        count = shape[0] * shape[1] * bits
        stored = np.frombuffer(blob, np.uint8, -(-count // 8))
        places = np.unpackbits(stored, count=count, bitorder="little").reshape(*shape, bits)
        mean, std = np.frombuffer(blob, "<f4", 2, len(stored))
        return cls(torch.from_numpy(places.astype(np.int64) @ (1 << np.arange(bits))), float(mean), float(std), bits)

    def weight(self) -> Tensor:
        """The used weight, level * std + mean, float32."""
        return levels_of(self.codes, self.bits) * self.std + self.mean

    def trainable(self) -> Tensor:
        """A weight whose `quantise` is `weight()`: on the same codes, with the stored mean and std.

        Raises:
            BadAdapter: no weight has these codes, as where all of them are equal.
        """
        thresholds = torch.tensor([-torch.inf, *codebook(self.bits)[1], torch.inf], dtype=torch.float64)
        widened = (self.std + EPS) / self.std  # the forward divides by std + EPS
        low, high = thresholds[self.codes] * widened, thresholds[self.codes + 1] * widened
        middle = z = levels_of(self.codes, self.bits, torch.float64)
        for _ in range(_ROUNDS):
            z = (z - z.mean()) / z.std()
            weight = (z * self.std + self.mean).float()
            if torch.equal(codes(standardise(weight)[0], self.bits), self.codes):
                return weight
            z = torch.clamp(z, low + (middle - low).clamp(max=1) * 0.01, high - (high - middle).clamp(max=1) * 0.01)
        raise errors.BadAdapter(
            "No weights standardise to the codes of this matrix; the file is damaged or not a Bi-LoRA file."
        )


@dataclass(frozen=True)
class PetlVit:
    """A Bi-LoRA adapter in PETL-ViT's layout. `matrices`: by the names of an adapter_state, each A before its B."""

    task: str
    bits: int
    rank: int
    scale: float
    matrices: dict[str, Packed]
    head_weight: Tensor  # (classes, width)
    head_bias: Tensor  # (classes,)

    def pairs(self) -> Pairs:
        """Path of each projection -> A (r, d) and B (d, r) with the scale folded in."""
        names, weights = [*self.matrices], [matrix.weight() for matrix in self.matrices.values()]
        both = zip(names[::2], weights[::2], weights[1::2], strict=True)
        return {name.removesuffix(".lora_A.weight"): (A, self.scale * B) for name, A, B in both}

    def state(self) -> dict[str, Tensor]:
        """An adapter_state that gives a Bi-LoRA exactly these used weights and this head."""
        state = {name: matrix.trainable() for name, matrix in self.matrices.items()}
        return {**state, "head.weight": self.head_weight, "head.bias": self.head_bias}


def read(
    path: str | Path,
    scale: float | None = None,
    bits: int | None = None,
    rank: int | None = None,
    *,
    depth: int = 12,
    width: int = 768,
) -> PetlVit:
    """Reads a PETL-ViT Bi-LoRA file. Task, bits and rank come from its name, the scale from SCALES, unless given.

    Raises:
        BadAdapter: the file cannot be read, or its size does not fit.
        InvalidSetting: bits, rank or scale are given nowhere.
    """
    path = Path(path)
    refuse_pickle(path)
    named = _NAME.fullmatch(path.stem)
    task = named["task"] if named else path.stem
    bits = bits or (int(named["bits"]) if named else 0)
    rank = rank or (int(named["rank"]) if named else 0)
    scale = SCALES.get(task, 0) if scale is None else scale
    absent = [name for name, value in {"bits": bits, "rank": rank, "scale": scale}.items() if not value]
    if absent:
        raise errors.InvalidSetting(
            f"The name {path.name!r} does not give {' or '.join(absent)}; "
            f"rename the file as the released ones are, such as cifar-bit1-dim32.bin, or in Python give "
            f"{', '.join(f'{a}=...' for a in absent)}."
        )
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise errors.BadAdapter(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    size = -(-rank * width * bits // 8) + 8  # of one matrix
    classes, rest = divmod(len(blob) - 4 * depth * size, 4 * (width + 1))
    if classes < 1 or rest:
        raise errors.BadAdapter(
            f"A file of {len(blob):,} bytes does not hold a Bi-LoRA adapter of {bits} bit and rank {rank} for {depth} "
            f"blocks of width {width}: that has {4 * depth * size:,} bytes and {4 * (width + 1):,} per class. The file "
            "is damaged, or of another model."
        )
    shapes = {
        f"blocks.{layer}.attn.{projection}.lora_{AB}.weight": (rank, width) if AB == "A" else (width, rank)
        for layer, projection, AB in itertools.product(range(depth), "qv", "AB")
    }
    matrices = {n: Packed.from_bytes(blob[i * size :], shape, bits) for i, (n, shape) in enumerate(shapes.items())}
    head = torch.from_numpy(np.frombuffer(blob, "<f4", offset=len(shapes) * size).astype(np.float32))
    own = [number for matrix in matrices.values() for number in (matrix.mean, matrix.std)]
    if not (head.isfinite().all() and all(map(math.isfinite, own))):
        raise errors.BadAdapter(f"{str(path)!r} holds something other than finite numbers.")
    weight, bias = head.split([classes * width, classes])
    return PetlVit(task, bits, rank, float(scale), matrices, weight.view(classes, width), bias)


def load(path: str | Path, backbone: Backbone, **numbers: Any) -> TunedModel:
    """A TunedModel from a PETL-ViT file. `numbers`: scale, bits and rank, where its name does not give them.

    Raises:
        InvalidSetting, BadAdapter: as `read`.
    """
    file = read(path, depth=backbone.depth, width=backbone.blocks[0].width, **numbers)
    method = make_method("bi_lora", rank=file.rank, scale=file.scale, bits=file.bits)
    model = attach(backbone, method, len(file.head_bias))
    model.load_adapter_state(file.state())
    return model.eval()
