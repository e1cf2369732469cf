"""Full fine-tuning: every weight trains. The yardstick of all the others."""

from __future__ import annotations

from peftcore.methods._thaw import Thawing


class Full(Thawing):
    r"""Equation: W \leftarrow W - \eta\,\nabla_W L \quad\text{for every } W
    Trains: All weights of the backbone, and the classifier.
    Counts: L * (12 * d * d + 13 * d) + (3 * P * P + N + 4) * d
    Choose: The measure for the others, where there is memory for a gradient and two moments of every weight.
    Keeps: Every layer's input, because every weight needs it for its gradient; a gradient and two AdamW moments per
        weight.
    """

    title = "Full fine-tuning"
    kind = "in-backbone"
    colour = "#444444"
    dark_colour = "#D5DAE0"
    called = "full fine-tuning"
    baseline = "upper"

    @staticmethod
    def trains(name: str) -> bool:
        return True


METHOD = Full
