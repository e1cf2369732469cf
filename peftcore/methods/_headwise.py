"""Low-rank pairs that can lose heads: what Heart-LoRA trains before and after its cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from peftcore.methods._low_rank import Pair
from peftcore.methods.bi_lora import QuantisedPair


class HeadwisePair(Pair):
    """A pair that can lose heads: lora_B holds the rows of the heads that are on, (on * head_dim, r), and no others.

    `heads_on` (heads,) bool is part of the state; rows of heads that are off are exact zeros in the B that is used.
    """

    def __init__(self, heads: int, d_in: int, d_out: int, *settings: Any):
        super().__init__(d_in, d_out, *settings)
        self.d_out, self.head_dim = d_out, d_out // heads
        self.heads_on = torch.ones(heads, dtype=torch.bool)
        self.register_buffer("rows", None, persistent=False)  # numbers of the rows that are on, where some are off

    def weights(self) -> tuple[Tensor, Tensor]:
        A, B = super().weights()  # B (on * head_dim, r)
        if self.rows is not None:
            B = B.new_zeros(self.d_out, B.shape[1]).index_copy(0, self.rows, B)  # (d_out, r)
        return A, B

    @torch.no_grad()
    def switch_off(self, off: Sequence[int]) -> Tensor:
        """Drops the rows of these heads. Returns which of the rows it had are left, (rows,) bool.

        The parameter stays the same object, with fewer rows, so the optimizer still holds it. No graph of an earlier
        forward may be alive.
        """
        keep = self.heads_on.clone()
        keep[list(off)] = False
        left = keep[self.heads_on].repeat_interleave(self.head_dim)
        self._hold(keep, self.lora_B.weight.data[left])
        return left

    def _hold(self, heads_on: Tensor, B: Tensor) -> None:
        self.used_B, self.lora_B.weight.grad = None, None
        self.lora_B.weight.data = B
        self.heads_on = heads_on.to(B.device, torch.bool)
        self.rows = None if heads_on.all() else self.heads_on.repeat_interleave(self.head_dim).nonzero()[:, 0]

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        heads_on, B = state.get(f"{prefix}heads_on", self.heads_on), self.lora_B.weight.data
        if not torch.equal(heads_on.to(B.device), self.heads_on):
            self._hold(heads_on.clone(), B.new_empty(int(heads_on.sum()) * self.head_dim, B.shape[1]))
        super()._load_from_state_dict(state, prefix, *rest)


class QuantisedHeadwisePair(HeadwisePair, QuantisedPair):
    pass
