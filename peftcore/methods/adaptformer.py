"""AdaptFormer: a bottleneck in parallel to the MLP of every block (Chen et al., arXiv 2205.13535)."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peftcore.backbone.load import Backbone
from peftcore.methods import Method, graft
from peftcore.methods.adapter import Bottleneck


class AdaptFormer(Method):
    r"""Paper: Chen et al., AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition, arXiv 2205.13535
    Equation: x \leftarrow x + \mathrm{MLP}(\mathrm{LN}(x)) + s\,(W_{up}\,\mathrm{ReLU}(W_{down}\,x + b_{down}) +
        b_{up})
    Trains: One bottleneck per block, beside the MLP.
    Counts: L * (2 * d * bottleneck + bottleneck + d)
    Choose: As an adapter with half of the weights, beside the MLP; it stays in the model as well.
    Keeps: The activations of every block above the first adapter: gradients travel through the frozen weights, and
        attention, GELU and LayerNorm need their inputs for that.
    Ours: The bottleneck is 8 wide, as comparisons on VTAB-1K have it (the paper: 64). It reads the residual stream
        without a norm and drops out at 0.1, as in the authors' code; with LayerScale, it is added past the scale; where
        the norm comes after the MLP (Swin V2), it is added past that norm.
    """

    title = "AdaptFormer"
    kind = "in-backbone"
    colour = "#7CB342"

    limits = {"bottleneck": "width"}

    bottleneck: int = Field(8, ge=1, le=4096, description="Width of the bottleneck.")
    scale: float = Field(0.1, gt=0, le=100, description="Factor s on what the bottleneck adds.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout inside the bottleneck while training.")
    layernorm: Literal["none", "in"] = Field("none", description="in: the bottleneck has a LayerNorm of its own.")

    def install(self, backbone: Backbone) -> nn.Module:
        tuner = nn.Module()
        for block in backbone.blocks:
            beside = Bottleneck(block.width, self.bottleneck, F.relu, self.scale, self.dropout)
            if self.layernorm == "in":
                beside = nn.Sequential(nn.LayerNorm(block.width), beside)
            parts = [backbone.part(block, path) for path in ("norm2", "mlp", "drop_path2")]
            _Beside(graft(tuner, f"{block.path}.adapter", beside), backbone.module.get_submodule(block.path), *parts)
        return tuner


class _Beside:
    """Hooks that add `adapter(x)` to what a block's MLP branch adds to the residual stream x.

    x is what the branch's first layer reads: norm2, or the MLP itself where the norm comes after it. drop_path2 is the
    branch's end, past LayerScale, in every family that timm has.
    """

    def __init__(self, adapter: nn.Module, block: nn.Module, norm: nn.Module, mlp: nn.Module, end: nn.Module):
        self.adapter = adapter
        self.x: Tensor | None = None
        block.register_forward_pre_hook(self._begin)
        norm.register_forward_pre_hook(self._note)
        mlp.register_forward_pre_hook(self._note)
        end.register_forward_hook(self._add)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"x": None}  # it belongs to one forward's graph, which a copy has no part in

    def _begin(self, _block: nn.Module, _args: tuple) -> None:
        self.x = None  # a forward that was broken off may have left one

    def _note(self, _layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self.x is None:
            self.x = args[0]

    def _add(self, _layer: nn.Module, _args: tuple, out: Tensor) -> Tensor:
        x, self.x = self.x, None
        return out + self.adapter(x)  # (B, N, d)


METHOD = AdaptFormer
