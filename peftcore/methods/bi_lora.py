"""Bi-LoRA: LoRA whose matrices hold one bit per weight, mean and deviation apart (Jie et al., ICCV 2023)."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from peftcore.methods._low_rank import LowRankMethod, Pair, Projections, Rank

Bits = Literal[1, 2, 4, 8, 32]
EPS = 1e-5  # beside the deviation, as in the authors' code


@lru_cache
def codebook(bits: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The 2^bits levels, ascending, and the 2^bits - 1 thresholds between them.

    A level is the normal median of its bin, a threshold the midpoint of two levels; as in the authors' code, all
    levels start at zero and are iterated 500 times, which converges up to 4 bits.
    """
    normal = NormalDist()
    levels = [0.0] * 2 ** (bits - 1)  # the negative levels; the others mirror them
    for _ in range(500):
        mass = [0.0, *(normal.cdf((low + high) / 2) for low, high in pairwise(levels)), 0.5]  # below each threshold
        levels = [normal.inv_cdf((below + above) / 2) for below, above in pairwise(mass)]
    levels += [-level for level in reversed(levels)]
    return tuple(levels), tuple((low + high) / 2 for low, high in pairwise(levels))


def standardise(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(w - mean) / (std + 1e-5) over the whole tensor, with the unbiased std; then the mean and the std."""
    mean, std = weight.mean(), weight.std()
    return (weight - mean) / (std + EPS), mean, std


def codes(standardised: Tensor, bits: int) -> Tensor:
    """Which level, 0 .. 2^bits - 1, is nearest to each entry."""
    thresholds = torch.tensor(codebook(bits)[1], dtype=standardised.dtype, device=standardised.device)
    return torch.bucketize(standardised.detach(), thresholds)


def levels_of(codes: Tensor, bits: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(codebook(bits)[0], dtype=dtype, device=codes.device)[codes]


def quantise(weight: Tensor, bits: int) -> Tensor:
    """The weight that a forward uses: Q((w - mean) / (std + 1e-5)) std + mean, of the shape of `weight`.

    The gradient passes straight through Q; mean and std are inside the graph. 32 bits: the weight itself.
    """
    if bits == 32:
        return weight
    x, mean, std = standardise(weight)
    Q = levels_of(codes(x, bits), bits, x.dtype) + (x - x.detach())  # an exact zero, with the gradient of x
    return Q * std + mean


class QuantisedPair(Pair):
    """A pair whose two matrices are quantised in every forward; dropout acts on the low-rank vector."""

    drops_input = False

    def __init__(self, d_in: int, d_out: int, rank: int, scale: float, dropout: float, bits: int):
        super().__init__(d_in, d_out, rank, scale, dropout)
        self.bits = bits
        if bits < 32:  # quantised, a zero B would stay the same number everywhere
            nn.init.trunc_normal_(self.lora_B.weight, std=0.001, a=-0.002, b=0.002)

    def weights(self) -> tuple[Tensor, Tensor]:
        return quantise(self.lora_A.weight, self.bits), quantise(self.lora_B.weight, self.bits)


class BiLoRA(LowRankMethod):
    r"""Paper: Jie et al., Revisiting the Parameter Efficiency of Adapters from the Perspective of Precision Redundancy,
        ICCV 2023, arXiv 2307.16867
    Equation: y = W x + s\,\hat B\hat A x,\quad \hat w = Q\!\left(\tfrac{w - \mu}{\sigma}\right)\sigma + \mu
    Trains: Two thin matrices, A (r x d) and B (d x r), beside each chosen projection, quantised in every forward: each
        is stored as one bit per weight and a mean and a deviation.
    Counts: 2 * projections * L * d * rank
    Choose: Many tasks on one backbone, where the file counts: a weight takes one bit. It trains as LoRA does and
        saves no memory there.
    Keeps: What LoRA keeps: the activations of every block above the first adapter. The weights are float32 while
        training; only the stored file is small.
    Ours: Scale 1 where the authors search {0.01, 0.1, 1, 10, 100} per task. At 32 bits B starts at zero, as in their
        code.
    """

    title = "Bi-LoRA"
    kind = "in-backbone"
    colour = "#56B4E9"
    shows = "heads"

    rank: Rank = 32
    scale: float = Field(1.0, gt=0, le=1000, description="The update is scaled by s; the authors try 0.01 to 100.")
    bits: Bits = Field(1, description="Bits per stored weight; 32 is LoRA without quantisation.")
    projections: Projections = ("q", "v")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout on the low-rank vector while training.")

    def pair(self, d_in: int, d_out: int, heads: int) -> Pair:
        return QuantisedPair(d_in, d_out, self.rank, self.scale, self.dropout, self.bits)


METHOD = BiLoRA
