"""VPT: learned prompt tokens among the image's tokens (Jia et al., arXiv 2203.12119)."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.methods import Method


class VPT(Method):
    r"""Paper: Jia et al., Visual Prompt Tuning, arXiv 2203.12119
    Equation: [c_i, \_, E_i] = L_i([c_{i-1}, P_{i-1}, E_{i-1}])\ \text{(deep)},\quad [c_1, Z_1, E_1] = L_1([c_0, P,
        E_0])\ \text{(shallow)}
    Trains: Prompt tokens: one set before the first block (shallow), or a fresh set before every block (deep).
    Counts: L * tokens * d
    Choose: Where the input may change and no weight may. More tokens make every step dearer, in training and later.
    Keeps: The activations of every block, over the image's tokens and the prompts: prompts act through attention, from
        the first block on.
    Ours: 10 tokens, deep, no dropout (the paper searches all three per task). Prompts stand after the class and
        register tokens and are dropped after the last block, so that average or attention pooling sees image tokens
        only. With rotary positions (EVA), prompts carry none, like the class token.
    """

    title = "VPT"
    kind = "in-backbone"
    colour = "#00838F"

    tokens: int = Field(10, ge=1, le=1024, description="Prompt tokens per set.")
    depth: Literal["shallow", "deep"] = Field("deep", description="One set before the first block, or before each.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the prompts while training.")

    def check(self, backbone: Backbone) -> None:
        blocks = [backbone.module.get_submodule(block.path) for block in backbone.blocks]
        if any(hasattr(block, "window_size") for block in blocks):
            raise errors.DoesNotFit(
                f"VPT: the windows of {backbone.name} have no place for prompt tokens; choose a plain ViT or another "
                "method."
            )
        if any(getattr(block.attn, table, None) is not None for block in blocks for table in _TABLES):
            raise errors.DoesNotFit(
                f"VPT: the attention of {backbone.name} adds a table of relative positions that has no entries for "
                "prompt tokens; choose a plain ViT with absolute positions, or another method."
            )

    def install(self, backbone: Backbone) -> nn.Module:
        sets = backbone.depth if self.depth == "deep" else 1
        tuner = Prompts(sets, self.tokens, backbone, self.dropout)
        blocks = [backbone.module.get_submodule(block.path) for block in backbone.blocks]
        for i in range(sets):
            blocks[i].register_forward_pre_hook(partial(tuner.insert, i))
        for block in blocks if self.depth == "deep" else blocks[-1:]:
            block.register_forward_hook(tuner.drop)
        for block in blocks:
            if hasattr(block.attn, "num_prefix_tokens"):  # how many leading tokens rotary attention leaves unrotated
                block.attn.num_prefix_tokens += self.tokens
        return tuner


_TABLES = ("relative_position_bias_table", "rel_pos")  # BEiT; timm's relpos ViTs


class Prompts(nn.Module):
    """Sets of prompt tokens (n, d), and where they go: after the `prefix` class and register tokens."""

    def __init__(self, sets: int, tokens: int, backbone: Backbone, dropout: float):
        super().__init__()
        self.prefix, self.tokens, self.dropout = backbone.prefix_tokens, tokens, dropout
        self.fresh = slice(self.prefix, self.prefix + tokens) if sets > 1 else None  # tokens that no block hands on
        width, patch = backbone.blocks[0].width, backbone.module.patch_embed.patch_size
        bound = math.sqrt(6 / (backbone.input_size[0] * math.prod(patch) + width))  # Xavier of the patch embedding
        self.prompts = nn.ParameterList(torch.empty(tokens, width).uniform_(-bound, bound) for _ in range(sets))

    def insert(self, i: int, _block: nn.Module, args: tuple) -> tuple:
        """A forward pre-hook: the block's tokens x (B, P + N, d) -> (B, P + n + N, d)"""
        x, *rest = args
        prompts = self.prompts[i].to(x.dtype).expand(x.shape[0], -1, -1)
        if self.dropout:
            prompts = F.dropout(prompts, self.dropout, self.training)
        return torch.cat((x[:, : self.prefix], prompts, x[:, self.prefix :]), dim=1), *rest

    def drop(self, _block: nn.Module, _args: tuple, x: Tensor) -> Tensor:
        """A forward hook: the block's output x (B, P + n + N, d) -> (B, P + N, d)"""
        return torch.cat((x[:, : self.prefix], x[:, self.prefix + self.tokens :]), dim=1)


METHOD = VPT
