"""Serial LoRA: one low-rank pair per block, on the attention's input, shared by q, k and v (arXiv 2503.17750)."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from peftcore.backbone.load import Backbone
from peftcore.methods import Method, graft
from peftcore.methods._beside import Source
from peftcore.methods._low_rank import Beside, Pair, Rank

# The Linear layers that read an attention's input, by the names that timm gives them.
_READERS = ("qkv", "q_proj", "k_proj", "v_proj", "gate")


class SerialLoRA(Method):
    r"""Paper: Serial Low-rank Adaptation of Vision Transformer, arXiv 2503.17750
    Equation: x \leftarrow x + s\,B A x,\quad q, k, v = W_q x, W_k x, W_v x
    Trains: One pair of thin matrices per block, A (r x d) and B (d x r): a quarter of LoRA on q, k, v and proj at the
        same rank.
    Counts: 2 * L * d * rank
    Choose: A quarter of LoRA's weights where it reaches as much, and backbones whose qkv no wrapper can reach (EVA,
        BEiT, Swin V2).
    Keeps: The activations of every block above the first adapter, as LoRA: gradients travel through the frozen weights.
    Ours: One pair per block, A Kaiming, B zero, scale 1, no dropout: only the paper's abstract was read. On Swin V2,
        which norms after attention, the attention's input is the block's own.
    """

    title = "Serial LoRA"
    kind = "in-backbone"
    colour = "#009E73"

    limits = {"rank": "width"}

    rank: Rank = 8
    scale: float = Field(1.0, gt=0, le=1000, description="The update is scaled by s.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the update's input while training.")

    def install(self, backbone: Backbone) -> nn.Module:
        tuner = nn.Module()
        for block in backbone.blocks:
            pair = Pair(block.width, block.width, self.rank, self.scale, self.dropout)
            graft(tuner, f"{block.path}.attn.serial", pair)
            beside = Beside([pair], [slice(None)], Source(backbone.part(block, "norm1")))
            backbone.part(block, "attn").register_forward_pre_hook(beside.before)
        return tuner

    @torch.no_grad()
    def as_lora(self, model: Any) -> dict[str, tuple[Tensor, Tensor]]:
        """For each Linear that reads x, A (r, d) and s W B (out, r), since W (x + s B A x) = W (I + s B A) x."""
        updates = {}
        for block in model.backbone.blocks:
            A, B = model.tuner.get_submodule(f"{block.path}.attn.serial").weights()
            for name, linear in model.backbone.part(block, "attn").named_children():
                if name in _READERS and isinstance(linear, nn.Linear):
                    updates[f"{block.path}.attn.{name}"] = A.clone(), self.scale * (linear.weight @ B)
        return updates


METHOD = SerialLoRA
