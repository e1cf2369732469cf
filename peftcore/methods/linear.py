"""Linear probe: the backbone is a fixed function and only the classifier trains."""

from __future__ import annotations

from torch import Tensor

from peftcore.methods import Card, Method, SideNetwork


class Linear(Method):
    name = "linear"
    title = "Linear probe"
    kind = "side"
    colour = "#999999"
    dark_colour = "#9E9E9E"
    called = "a linear probe"
    baseline = "lower"
    card = Card(
        title=title,
        paper="",
        equation=r"\hat y = W\,\mathrm{pool}(z_L) + b",
        trains="The classifier alone.",
        keeps="One pooled vector per image: no gradient enters the backbone.",
        mergeable=True,
    )

    def install(self, backbone) -> SideNetwork:
        return _Nothing()

    def merge(self, model, module) -> None:
        """Nothing to fold in: the classifier is all there is."""


class _Nothing(SideNetwork):
    taps = ("pooled",)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        return features[0]  # (B, d)


METHOD = Linear
