"""LAST: a side network of low-rank attention that only reads a frozen backbone (arXiv 2402.04009)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from peftcore import errors
from peftcore.methods import Method, SideNetwork
from peftcore.methods._lean import EPS, Lean, folded

CROWD = 200_000  # floats of a batch's tokens above which K networks in one call fall out of a CPU's cache: slower than K calls


class LAST(Method):
    r"""Paper: Tang et al., Low-rank Attention Side-Tuning for Parameter-Efficient Fine-Tuning, arXiv 2402.04009
    Equation: u_i = F_i(u_{i-1} + z_i),\quad y = u_m - \sum_{i=0}^{m-1} z_i,\quad \mathrm{LSA}(x) = x +
        U\,\mathrm{softmax}(QK^\top/\sqrt r)\,V
    Trains: Per group of blocks, a stack of attention modules of rank r beside the backbone.
    Keeps: The frozen features between groups, and the side network's own thin activations; nothing inside the backbone.
    Ours: One head, bias on U only, U zero at the start, dropout off. On Swin each stage is a LAST of its own, and what
        one stage adds goes through the frozen patch merging into the next. qk_norm, off by default, is ours too: cosine
        attention as in Swin V2, without a further parameter.
    """

    name = "last"
    title = "LAST"
    kind = "side"
    colour = "#CC79A7"
    shows = "attention"
    limits = {"rank": "width", "gap": "depth"}
    later = {"qk_norm": False}

    rank: int = Field(16, ge=1, le=1024, description="Width r of the attention in the side network.")
    gap: int = Field(2, ge=1, le=64, description="Blocks of the backbone per group.")
    stack: int = Field(2, ge=1, le=16, description="Attention modules per group.")
    heads: int = Field(1, ge=1, le=64, description="Heads of each module; they share the rank.")
    up_bias: bool = Field(True, description="A bias on the up-projection U.")
    bias_correction: bool = Field(
        True, description="Subtract the sum of the frozen features, so that y = z_m + what was added."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the attention's output inside the side network.")
    qk_norm: bool = Field(
        False,
        description="Cosine attention: each head's q and k normalised to length sqrt(r / heads), so that no learning rate "
        "drives the attention to one-hot. Off in the paper.",
    )

    @model_validator(mode="after")
    def _heads_share_the_rank(self) -> LAST:
        if self.rank % self.heads:
            fits = [h for h in range(1, 65) if self.rank % h == 0]
            raise errors.InvalidSetting(
                f"LAST: {self.heads} heads do not divide rank {self.rank} evenly; choose "
                f"{', '.join(map(str, fits))} heads, or a rank that is a multiple of {self.heads}."
            )
        return self

    def install(self, backbone) -> SideNetwork:
        return LASTNetwork(backbone, self)


def attend(qkv: Tensor, heads: int, qk_norm: bool) -> Tensor:
    """Q, K and V beside each other, (B, N, 3r) -> softmax(Q K^T / sqrt(r)) V, (B, N, r); with h heads, r / h for r."""
    q, k, v = _by_head(qkv, heads, qk_norm)  # (B, h, N, r/h) each
    out = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, r/h)
    return out.transpose(1, 2).flatten(2)  # (B, N, r)


def _by_head(qkv: Tensor, heads: int, qk_norm: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3r) -> q, k, v of each head, (B, h, N, r/h).

    With qk_norm, each head's q and k have length sqrt(r/h): divided by sqrt(r/h), their products, cosines times r/h, lie
    within +-sqrt(r/h), however far training drives A_q and A_k.
    """
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    if qk_norm:
        length = q.shape[-1] ** 0.5
        q, k = (length * F.normalize(x, dim=-1, eps=1e-6) for x in (q, k))
    return q, k, v


class LowRankAttention(nn.Module):
    """x (B, N, d) -> what LSA adds to it: U softmax(Q K^T / sqrt(r)) V with Q, K, V = LN(x) A_q, A_k, A_v, each d -> r."""

    def __init__(self, width: int, method: LAST):
        super().__init__()
        self.heads, self.qk_norm, self.dropout = method.heads, method.qk_norm, method.dropout
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.q = nn.Linear(width, method.rank, bias=False)
        self.k = nn.Linear(width, method.rank, bias=False)
        self.v = nn.Linear(width, method.rank, bias=False)
        self.up = nn.Linear(method.rank, width, bias=method.up_bias)
        nn.init.zeros_(self.up.weight)
        if method.up_bias:
            nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        out = attend(self._qkv(self.norm(x)), self.heads, self.qk_norm)  # (B, N, r)
        return self.up(F.dropout(out, self.dropout, self.training))  # (B, N, d)

    def _qkv(self, normed: Tensor) -> Tensor:
        return F.linear(normed, torch.cat([self.q.weight, self.k.weight, self.v.weight]))  # (B, N, 3r) in one product

    def attention(self, normed: Tensor) -> Tensor:
        """LN(x) (B, N, d) -> softmax(Q K^T / sqrt(r)), mean over heads, (B, N, N): what the values are weighed with."""
        q, k, _ = _by_head(self._qkv(normed), self.heads, self.qk_norm)
        return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).mean(1)


class LASTNetwork(SideNetwork):
    """The recursion of the paper, with the frozen part of each sum kept apart from what the modules add.

    u_i = sum_{j<=i} z_j + added_i: only `added` carries gradient, it is exactly zero at the start, and y = z_m + added
    is the bias correction without the cancellation of two large sums.
    """

    def __init__(self, backbone, method: LAST):
        super().__init__()
        self.correct = method.bias_correction
        self.attend = partial(attend, heads=method.heads, qk_norm=method.qk_norm)
        self.finish: Callable[[Tensor], Tensor] = backbone.finish
        self.groups: list[list[int]] = []  # per stage, the last block of each group
        self.transitions = [backbone.transition(s).forward for s in range(1, len(backbone.stages))]
        self.side = nn.ModuleList()
        taps = []
        for stage in backbone.stages:
            ends = [*stage[method.gap - 1 :: method.gap]]
            if ends[-1:] != [stage[-1]]:
                ends.append(stage[-1])  # a depth that the gap does not divide leaves a shorter last group
            taps += [f"{backbone.blocks[stage[0]].path}:in", *(f"{backbone.blocks[e].path}:out" for e in ends)]
            self.groups.append(ends)
            for end in ends:
                width = backbone.blocks[end].width
                self.side.append(nn.ModuleList(LowRankAttention(width, method) for _ in range(method.stack)))
        self.taps = tuple(taps)
        self.attended = tuple(end for ends in self.groups for end in ends for _ in range(method.stack))

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        dropped = any(m.dropout and m.training for group in self.side for m in group)
        if dropped or any(z.requires_grad for z in features):  # the lean way has no gradient for features
            return self._walk(features, self._stage_by_modules)
        return self.abreast([self], tuple(z[None] for z in features))[0]

    def attention(self, features: tuple[Tensor, ...]) -> list[Tensor]:
        maps: list[Tensor] = []
        modules = [m for group in self.side for m in group]
        look = [
            m.norm.register_forward_hook(lambda _, __, normed, m=m: maps.append(m.attention(normed))) for m in modules
        ]
        try:
            self._walk(features, self._stage_by_modules)  # the modules as they are written: hooks are called
        finally:
            for handle in look:
                handle.remove()
        return maps

    @classmethod
    def abreast(cls, networks: Sequence[LASTNetwork], features: tuple[Tensor, ...]) -> Tensor:
        """K networks of one shape, without dropout, in one call: features (K, B, ...), or (1, B, ...) where all read the
        same, to pooled features (K, B, d). Each row is what its network gives alone."""
        if len(networks) > 1 and features[0].device.type == "cpu" and features[0][0].numel() > CROWD:
            return super().abreast(networks, features)

        def stage(first: int, last: int, z: tuple[Tensor, ...], carried: Tensor | None) -> Tensor:
            modules = [[m for group in n.side[first:last] for m in group] for n in networks]
            return Lean.apply(networks[0].attend, last - first, carried, *folded(modules), *z)

        return networks[0]._walk(features, stage)

    def _walk(self, features: tuple[Tensor, ...], stage: Callable[..., Tensor]) -> Tensor:
        """The stages one after the other, `stage` giving what the groups [first, last) add to the tokens."""
        start, first, y = 0, 0, None
        lead = features[0].ndim - (4 if self.transitions else 3)  # 1 where networks run abreast
        for number, ends in enumerate(self.groups):
            z = features[start : start + len(ends) + 1]  # z_0 .. z_m, (B, N, d), or (B, H, W, d) on Swin
            last = first + len(ends)
            carried = None if y is None else self._tokens(_over(lead, self.transitions[number - 1], y) - z[0], lead)
            added = stage(first, last, tuple(self._tokens(t, lead) for t in z), carried)
            shape = (*added.shape[:lead], *z[-1].shape[lead:])
            y = (z[-1] if self.correct else sum(z[1:], z[0])) + added.view(shape)
            start, first = start + len(z), last
        return _over(lead, self.finish, y)  # (B, d)

    @staticmethod
    def _tokens(z: Tensor, lead: int) -> Tensor:
        return z.flatten(1 + lead, -2)

    def _stage_by_modules(self, first: int, last: int, z: tuple[Tensor, ...], carried: Tensor | None) -> Tensor:
        added, total = 0 if carried is None else carried, z[0]
        for group, more in zip(self.side[first:last], z[1:], strict=True):
            total = total + more  # sum of z_j, j <= i
            for module in group:
                added = added + module(total + added)
        return added


def _over(lead: int, frozen: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """A frozen module on (K, B, ...), whose two leading dimensions it sees as one."""
    return frozen(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2]) if lead else frozen(tokens)


METHOD = LAST
