"""Full fine-tuning: every weight trains. The yardstick of all the others."""

from __future__ import annotations

from torch import nn

from peftcore.methods import Card, Method
from peftcore.methods._thaw import thaw


class Full(Method):
    name = "full"
    title = "Full fine-tuning"
    kind = "in-backbone"
    colour = "#444444"
    dark_colour = "#D5DAE0"
    called = "full fine-tuning"
    baseline = "upper"
    card = Card(
        title=title,
        paper="",
        equation=r"W \leftarrow W - \eta\,\nabla_W L \quad\text{for every } W",
        trains="All weights of the backbone, and the classifier.",
        keeps="Every layer's input, because every weight needs it for its gradient; a gradient and two AdamW moments per weight.",
        mergeable=True,
    )

    def install(self, backbone) -> nn.Module:
        return thaw(backbone.module, lambda name: True)

    def merge(self, model, module) -> None:
        module.load_state_dict(model.backbone.module.state_dict(), strict=False)  # all but the classifier


METHOD = Full
