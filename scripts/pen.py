"""The one source of randomness for a batch of pretraining pictures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIZE = 64  # pixels on a side


class Pen:
    """Random numbers of one batch, all from one generator."""

    def __init__(self, seed: int, batch: int, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device=device).manual_seed(seed * 1_000_003 + batch)
        self.device = device

    def uniform(self, low: float | Tensor, high: float | Tensor, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def integer(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator, device=self.device)

    def noise(self, batch: int) -> Tensor:
        """(batch, H, W) soft grains in 0..1, stretched from a coarse grid."""
        grains = self.uniform(0.0, 1.0, batch, 1, SIZE // 4, SIZE // 4)
        return F.interpolate(grains, size=SIZE, mode="bilinear", align_corners=False)[:, 0]
