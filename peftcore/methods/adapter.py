"""Adapter: a bottleneck after attention and after the MLP of every block (Houlsby et al., arXiv 1902.00751)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peftcore.backbone.load import Backbone
from peftcore.methods import Method, graft


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


class Adapter(Method):
    r"""Paper: Houlsby et al., Parameter-Efficient Transfer Learning for NLP, arXiv 1902.00751
    Equation: h \leftarrow h + W_{up}\,\mathrm{GELU}(W_{down}\,h + b_{down}) + b_{up}
    Trains: Two bottlenecks per block, on the attention's output and on the MLP's, before the residual sums.
    Counts: 2 * L * (2 * d * bottleneck + bottleneck + d)
    Choose: A non-linear change within each block; it stays in the model, so every later forward takes longer.
    Keeps: The activations of every block above the first adapter: gradients travel through the frozen weights, and
        attention, GELU and LayerNorm need their inputs for that.
    Ours: The backbone's norms stay frozen (the paper trains them), W_up starts at exactly zero (the paper: near zero),
        and the bottleneck is 8 wide, the smallest of the paper's 8, 64 and 256. With LayerScale, it comes before the
        scale.
    """

    title = "Adapter"
    kind = "in-backbone"
    colour = "#2E7D32"
    dark_colour = "#4CAF50"

    limits = {"bottleneck": "width"}

    bottleneck: int = Field(8, ge=1, le=4096, description="Width of the bottleneck.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout inside the bottleneck while training.")

    def install(self, backbone: Backbone) -> nn.Module:
        tuner = nn.Module()
        for block in backbone.blocks:
            for path in ("attn", "mlp"):
                made = Bottleneck(block.width, self.bottleneck, F.gelu, dropout=self.dropout)
                adapter = graft(tuner, f"{block.path}.{path}.adapter", made)
                backbone.part(block, path).register_forward_hook(adapter.after)  # (B, N, d)
        return tuner


METHOD = Adapter
