"""The two-layer bottleneck that adapters are made of."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """x (..., d) -> scale * up(activation(down(x))), d -> hidden -> d; up is zero at the start, so it adds nothing."""

    def __init__(
        self, width: int, hidden: int, activation: Callable[[Tensor], Tensor], scale: float = 1.0, dropout: float = 0.0
    ):
        super().__init__()
        self.activation, self.scale, self.dropout = activation, scale, dropout
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation(self.down(x))  # (..., hidden)
        if self.dropout:
            h = F.dropout(h, self.dropout, self.training)
        return self.scale * self.up(h)  # (..., d)

    def after(self, _layer: nn.Module, _args: tuple, out: Tensor) -> Tensor:
        """A forward hook: what the bottleneck makes of a layer's output is added to it."""
        return out + self(out)
