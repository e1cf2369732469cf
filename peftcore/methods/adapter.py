"""Adapter: a bottleneck after attention and after the MLP of every block (Houlsby et al., arXiv 1902.00751)."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import nn

from peftcore.methods import Method, graft
from peftcore.methods._bottleneck import Bottleneck


class Adapter(Method):
    r"""Paper: Houlsby et al., Parameter-Efficient Transfer Learning for NLP, arXiv 1902.00751
    Equation: h \leftarrow h + W_{up}\,\mathrm{GELU}(W_{down}\,h + b_{down}) + b_{up}
    Trains: Two bottlenecks per block, on the attention's output and on the MLP's, before the residual sums.
    Keeps: The activations of every block above the first adapter: gradients travel through the frozen weights, and
        attention, GELU and LayerNorm need their inputs for that.
    Ours: The backbone's norms stay frozen (the paper trains them), W_up starts at exactly zero (the paper: near zero),
        and the bottleneck is 8 wide, the smallest of the paper's 8, 64 and 256. With LayerScale, it comes before the
        scale.
    """

    name = "adapter"
    title = "Adapter"
    kind = "in-backbone"
    colour = "#2E7D32"
    dark_colour = "#4CAF50"

    limits = {"bottleneck": "width"}

    bottleneck: int = Field(8, ge=1, le=4096, description="Width of the bottleneck.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout inside the bottleneck while training.")

    def install(self, backbone) -> nn.Module:
        tuner = nn.Module()
        for block in backbone.blocks:
            for path in ("attn", "mlp"):
                made = Bottleneck(block.width, self.bottleneck, F.gelu, dropout=self.dropout)
                adapter = graft(tuner, f"{block.path}.{path}.adapter", made)
                backbone.part(block, path).register_forward_hook(adapter.after)  # (B, N, d)
        return tuner


METHOD = Adapter
