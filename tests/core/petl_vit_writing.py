"""PETL-ViT's file layout written: the counterpart of peftcore.fetch.petl_vit, which only reads it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import peftcore as pc
from peftcore.fetch.petl_vit import Packed, PetlVit
from peftcore.methods._low_rank import LowRank
from peftcore.methods.bi_lora import BiLoRA, codes, standardise


def packed(weight: Tensor, bits: int) -> Packed:
    """What is stored of a trained weight: its used value `quantise(weight, bits)`, in `bits` per entry."""
    standardised, mean, std = standardise(weight.detach().cpu())
    return Packed(codes(standardised, bits), float(mean), float(std), bits)


def matrix_bytes(matrix: Packed) -> bytes:
    places = matrix.codes.numpy().reshape(-1, 1) >> np.arange(matrix.bits) & 1  # (weights, bits), the lowest bit first
    stored = np.packbits(places.astype(np.uint8), bitorder="little").tobytes()
    return stored + np.array([matrix.mean, matrix.std], "<f4").tobytes()


def file_bytes(file: PetlVit) -> bytes:
    head = torch.cat([file.head_weight.flatten(), file.head_bias])
    return b"".join(map(matrix_bytes, file.matrices.values())) + head.numpy().astype("<f4").tobytes()


def model_bytes(model: pc.TunedModel) -> bytes:
    """A Bi-LoRA model on q and v, in 1, 2, 4 or 8 bits: `packed_bytes` of its tuner, then 4 bytes per head weight."""
    method = model.method
    assert isinstance(method, BiLoRA) and method.bits != 32 and method.projections == ("q", "v")
    state = {name: tensor.cpu() for name, tensor in model.adapter_state().items()}
    head = state.pop("head.weight"), state.pop("head.bias")
    matrices = {name: packed(tensor, method.bits) for name, tensor in state.items()}
    return file_bytes(PetlVit("", method.bits, method.rank, method.scale, matrices, *head))


def packed_bytes(tuner: LowRank) -> int:
    """Bytes of the pairs' stored weights in this layout, the head apart: codes, and a float32 mean and std per matrix.

    A pair that is not quantised stores 4 bytes per weight.
    """
    pairs = [(adapted.pair, getattr(adapted.pair, "bits", 32)) for adapted in tuner]
    weights = [(w.numel(), bits) for pair, bits in pairs for w in (pair.lora_A.weight, pair.lora_B.weight)]
    return sum(-(-count * bits // 8) + (8 if bits < 32 else 0) for count, bits in weights)
