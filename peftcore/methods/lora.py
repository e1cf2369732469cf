"""LoRA: a trainable low-rank update beside frozen projections (Hu et al., 2021)."""

from __future__ import annotations

from pydantic import Field

from peftcore.methods._low_rank import LowRankMethod, Pair, Projections, Rank


class LoRA(LowRankMethod):
    r"""Paper: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685
    Equation: y = W x + \tfrac{\alpha}{r} B A x
    Trains: Two thin matrices, A (r x d) and B (d x r), beside each chosen projection.
    Counts: 2 * projections * L * d * rank
    Choose: The default where memory allows a backward pass through the backbone: strong on most tasks, free once
        merged, and known to most libraries.
    Keeps: The activations of every block above the first adapter: gradients travel through the frozen weights, and
        attention, GELU and LayerNorm need their inputs for that.
    """

    title = "LoRA"
    kind = "in-backbone"
    colour = "#0072B2"
    dark_colour = "#2E8FD0"
    shows = "heads"

    rank: Rank = 8
    alpha: float = Field(8.0, gt=0, description="The update is scaled by alpha / rank.")
    projections: Projections = ("q", "v")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the update's input while training.")
    lr_ratio: float = Field(1.0, gt=0, le=1000, description="LoRA+: learning rate of B over that of A.")

    def pair(self, d_in: int, d_out: int, heads: int) -> Pair:
        return Pair(d_in, d_out, self.rank, self.alpha / self.rank, self.dropout)

    def lr_ratio_of(self, name: str) -> float:
        return self.lr_ratio if name.endswith("lora_B.weight") else 1.0


METHOD = LoRA
