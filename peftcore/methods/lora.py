"""LoRA: a trainable low-rank update beside frozen projections (Hu et al., 2021)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from peftcore.methods import Card, Coach, Method
from peftcore.methods._low_rank import LowRank, Pair, check_rank, each_once, install_pairs, updates_of
from peftcore.methods._scores import watch

Projection = Literal["q", "k", "v", "proj", "fc1", "fc2"]


class LoRA(Method):
    name = "lora"
    title = "LoRA"
    kind = "in-backbone"
    colour = "#0072B2"
    dark_colour = "#2E8FD0"
    shows = "heads"
    card = Card(
        title=title,
        paper="Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685",
        equation=r"y = W x + \tfrac{\alpha}{r} B A x",
        trains="Two thin matrices, A (r x d) and B (d x r), beside each chosen projection.",
        keeps="The activations of every block above the first adapter: gradients travel through the frozen weights, "
        "and attention, GELU and LayerNorm need their inputs for that.",
        mergeable=True,
    )

    rank: int = Field(8, ge=1, le=1024, description="Rank r of the update.")
    alpha: float = Field(8.0, gt=0, description="The update is scaled by alpha / rank.")
    projections: tuple[Projection, ...] = Field(("q", "v"), min_length=1, description="Which projections are adapted.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the update's input while training.")
    lr_ratio: float = Field(1.0, gt=0, le=1000, description="LoRA+: learning rate of B over that of A.")

    _each_once = field_validator("projections")(each_once)

    def check(self, backbone) -> None:
        check_rank(self.rank, backbone, self.card.title)

    def install(self, backbone) -> LowRank:
        scale = self.alpha / self.rank
        return install_pairs(
            backbone,
            self.projections,
            lambda site, _: Pair(site.linear.in_features, site.out_features, self.rank, scale, self.dropout),
        )

    def lr_ratio_of(self, name: str) -> float:
        return self.lr_ratio if name.endswith("lora_B.weight") else 1.0

    def coach(self, model, optimizer, epochs: int, per_epoch: int) -> Coach:
        return watch(model.tuner)

    def as_lora(self, model):
        return updates_of(model.tuner, model.backbone)


METHOD = LoRA
