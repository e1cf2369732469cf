"""Linear probe: the backbone is a fixed function and only the classifier trains."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from peftcore.backbone.load import Backbone
from peftcore.methods import Method, SideNetwork


class Linear(Method):
    r"""Equation: \hat y = W\,\mathrm{pool}(z_L) + b
    Trains: The classifier alone.
    Counts: 0
    Choose: The first thing to try: its accuracy says what the frozen features hold already, in seconds.
    Keeps: One pooled vector per image: no gradient enters the backbone.
    """

    title = "Linear probe"
    kind = "side"
    colour = "#999999"
    dark_colour = "#9E9E9E"
    called = "a linear probe"
    baseline = "lower"

    def install(self, backbone: Backbone) -> SideNetwork:
        return _Nothing()

    def merge(self, model: Any, module: nn.Module) -> None:
        """Nothing to fold in: the classifier is all there is."""


class _Nothing(SideNetwork):
    taps = ("pooled",)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        return features[0]  # (B, d)


METHOD = Linear
