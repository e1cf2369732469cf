"""PETL-ViT's file layout for quantised low-rank adapters: reads the released Bi-LoRA files, writes our own alike.

Per block: q-down (A), q-up (B), v-down, v-up. Per matrix: the codes, `bits` per weight, the first weight in the lowest
bits of a byte; then mean and standard deviation as little-endian float32. Then the classifier's float32 weight
(classes, width) and bias. Names are `<task>-bit<bits>-dim<rank>.bin`. Source: github.com/JieShibo/PETL-ViT (MIT),
binary_adapter; adapters of ViT-B/16 (ImageNet-21k) for the 19 tasks of VTAB-1K.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peftcore import errors
from peftcore.adapters.packing import refuse_pickle
from peftcore.adapters.peft_folder import Pairs
from peftcore.backbone.load import Backbone
from peftcore.methods.bi_lora import EPS, BiLoRA, codebook, codes, levels_of, standardise
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
_SETTLE = 200  # rounds after which weights that no standardisation leaves on their codes are given up


@dataclass(frozen=True)
class Packed:
    """One stored matrix: `codes` (rows, columns), each 0 .. 2^bits - 1, and the float32 mean and std of its weights."""

    codes: Tensor
    mean: float
    std: float
    bits: int

    @classmethod
    def of(cls, weight: Tensor, bits: int) -> Packed:
        """What is stored of a trained weight: its used value `quantise(weight, bits)`, in `bits` per entry."""
        standardised, mean, std = standardise(weight.detach().cpu())
        return cls(codes(standardised, bits), float(mean), float(std), bits)

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
        middle = levels_of(self.codes, self.bits, torch.float64)
        z = middle
        for _ in range(_SETTLE):
            z = (z - z.mean()) / z.std()
            weight = (z * self.std + self.mean).float()
            if torch.equal(codes(standardise(weight)[0], self.bits), self.codes):
                return weight
            z = torch.clamp(z, low + (middle - low).clamp(max=1) * 0.01, high - (high - middle).clamp(max=1) * 0.01)
        raise errors.BadAdapter(
            "No weights standardise to the codes of this matrix; the file is damaged or no Bi-LoRA file."
        )

    def to_bytes(self) -> bytes:
        places = self.codes.numpy().reshape(-1, 1) >> np.arange(self.bits) & 1  # (weights, bits), the lowest bit first
        packed = np.packbits(places.astype(np.uint8), bitorder="little").tobytes()
        return packed + np.array([self.mean, self.std], "<f4").tobytes()

    @classmethod
    def from_bytes(cls, blob: bytes, shape: tuple[int, int], bits: int) -> Packed:
        """The matrix that `blob` starts with."""
        count = shape[0] * shape[1] * bits
        stored = np.frombuffer(blob, np.uint8, -(-count // 8))
        places = np.unpackbits(stored, count=count, bitorder="little").reshape(*shape, bits)
        mean, std = np.frombuffer(blob, "<f4", 2, len(stored))
        return cls(torch.from_numpy(places.astype(np.int64) @ (1 << np.arange(bits))), float(mean), float(std), bits)


@dataclass(frozen=True)
class PetlVit:
    """A Bi-LoRA adapter of a ViT in PETL-ViT's layout. `matrices` by the names of an adapter_state."""

    task: str
    bits: int
    rank: int
    scale: float
    matrices: dict[str, Packed]
    head_weight: Tensor  # (classes, width)
    head_bias: Tensor  # (classes,)

    def weights(self) -> dict[str, Tensor]:
        """The used low-rank weights by the names of an adapter_state, the head apart."""
        return {name: matrix.weight() for name, matrix in self.matrices.items()}

    def pairs(self) -> Pairs:
        """Path of each projection -> A (r, d) and B (d, r) with the scale folded in."""
        stored = list(self.weights().items())  # each A before its B
        both = zip(stored[::2], stored[1::2], strict=True)
        return {name.removesuffix(".lora_A.weight"): (A, self.scale * B) for (name, A), (_, B) in both}

    def state(self) -> dict[str, Tensor]:
        """An adapter_state that gives a Bi-LoRA exactly these used weights and this head."""
        state = {name: matrix.trainable() for name, matrix in self.matrices.items()}
        return {**state, "head.weight": self.head_weight, "head.bias": self.head_bias}

    def to_bytes(self) -> bytes:
        head = torch.cat([self.head_weight.flatten(), self.head_bias])
        return b"".join(m.to_bytes() for m in self.matrices.values()) + head.numpy().astype("<f4").tobytes()


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
        BadAdapter: no such file, or its size does not fit; InvalidSetting: bits, rank or scale are given nowhere.
    """
    path = Path(path)
    refuse_pickle(path)
    named = _NAME.fullmatch(path.stem)
    task = named["task"] if named else path.stem
    bits, rank = bits or (named and int(named["bits"])), rank or (named and int(named["rank"]))
    scale = SCALES.get(task) if scale is None else scale
    absent = [name for name, value in {"bits": bits, "rank": rank, "scale": scale}.items() if not value]
    if absent:
        raise errors.InvalidSetting(
            f"The name {path.name!r} does not tell {' or '.join(absent)}; "
            f"give {', '.join(f'{a}=...' for a in absent)}. Known names look like cifar-bit1-dim32.bin."
        )
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise errors.BadAdapter(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    size = -(-rank * width * bits // 8) + 8  # of one matrix
    classes, rest = divmod(len(blob) - 4 * depth * size, 4 * (width + 1))
    if classes < 1 or rest:
        raise errors.BadAdapter(
            f"{len(blob):,} bytes are no Bi-LoRA adapter of {bits} bit and rank {rank} for {depth} blocks of width "
            f"{width}: that has {4 * depth * size:,} bytes and {4 * (width + 1):,} per class. The file is damaged, or "
            "of another model."
        )
    shapes = {
        f"blocks.{layer}.attn.{projection}.lora_{AB}.weight": (rank, width) if AB == "A" else (width, rank)
        for layer, projection, AB in itertools.product(range(depth), "qv", "AB")
    }
    matrices = {n: Packed.from_bytes(blob[i * size :], shape, bits) for i, (n, shape) in enumerate(shapes.items())}
    head = torch.from_numpy(np.frombuffer(blob, "<f4", offset=len(shapes) * size).astype(np.float32))
    weight, bias = head.split([classes * width, classes])
    return PetlVit(task, bits, rank, float(scale), matrices, weight.view(classes, width), bias)


def load(path: str | Path, backbone: Backbone, **numbers: Any) -> TunedModel:
    """A TunedModel from a PETL-ViT file. `numbers`: scale, bits and rank, where its name does not say them.

    Raises:
        InvalidSetting, BadAdapter: as `read`.
    """
    file = read(path, depth=backbone.depth, width=backbone.blocks[0].width, **numbers)
    model = attach(backbone, BiLoRA(rank=file.rank, scale=file.scale, bits=file.bits), len(file.head_bias))
    model.load_adapter_state(file.state())
    return model.eval()


def write(model: TunedModel) -> bytes:
    """A Bi-LoRA model in PETL-ViT's layout: its low-rank part takes `packed_bytes`, the head 4 bytes per weight.

    Raises:
        CannotExport: another method, other projections than q and v, or 32 bits.
    """
    method = model.method
    if not isinstance(method, BiLoRA) or method.bits == 32 or method.projections != ("q", "v"):
        raise errors.CannotExport(
            f"PETL-ViT's layout holds Bi-LoRA on q and v at 1, 2, 4 or 8 bits; this is {method.card.title} "
            f"with {method.settings()}."
        )
    state = {name: tensor.cpu() for name, tensor in model.adapter_state().items()}
    head = state.pop("head.weight"), state.pop("head.bias")
    matrices = {name: Packed.of(tensor, method.bits) for name, tensor in state.items()}
    return PetlVit("", method.bits, method.rank, method.scale, matrices, *head).to_bytes()
