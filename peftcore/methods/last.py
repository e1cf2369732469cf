"""LAST: a side network of low-rank attention that only reads a frozen backbone (arXiv 2402.04009)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.methods import Method, SideNetwork
from peftcore.methods._lean import EPS, Lean, folded

CROWD = 200_000  # floats of a batch's tokens; above, K networks in one call overflow a CPU's cache: slower than K calls


class LAST(Method):
    r"""Paper: Tang et al., Low-rank Attention Side-Tuning for Parameter-Efficient Fine-Tuning, arXiv 2402.04009
    Equation: u_i = F_i(u_{i-1} + z_i),\quad y = u_m - \sum_{i=0}^{m-1} z_i,\quad \mathrm{LSA}(x) = x +
        U\,\mathrm{softmax}(QK^\top/\sqrt r)\,V
    Trains: Per group of blocks, a stack of attention modules of rank r beside the backbone.
    Counts: L / gap * stack * (4 * d * rank + 3 * d)
    Choose: A large backbone on a small card, many tries on one set of frozen features, several tasks on one
        forward. Where a task needs other features than the backbone has, methods that change it reach more.
    Keeps: The frozen features between groups, and the side network's own thin activations; nothing inside the backbone.
    Ours: One head, bias on U only, U zero at the start, dropout off. On Swin each stage is a LAST of its own, and what
        one stage adds goes through the frozen patch merging into the next. qk_norm is ours too, off unless a
        recipe sets it: cosine attention as in Swin V2, without a further parameter.
    """

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
    bias_correction: bool = Field(True, description="Subtract the frozen features' sum: y = z_m + what was added.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the attention's output inside the side network.")
    qk_norm: bool = Field(
        False, description="Cosine attention (ours): q and k of length sqrt(r / heads), which no logit then exceeds."
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

    def install(self, backbone: Backbone) -> SideNetwork:
        return LASTNetwork(backbone, self)


def attend(qkv: Tensor, heads: int, qk_norm: bool) -> Tensor:
    """Q, K and V side by side, (B, N, 3r) -> softmax(Q K^T / sqrt(r)) V, (B, N, r); with h heads, r / h for r."""
    q, k, v = _by_head(qkv, heads, qk_norm)  # (B, h, N, r/h) each
    out = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, r/h)
    return out.transpose(1, 2).flatten(2)  # (B, N, r)


def _by_head(qkv: Tensor, heads: int, qk_norm: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3r) -> q, k, v of each head, (B, h, N, r/h).

    With qk_norm, each head's q and k have length sqrt(r/h). Their products, cosines times r/h, are divided by
    sqrt(r/h): logits stay within +-sqrt(r/h), however far training drives A_q and A_k.
    """
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    if qk_norm:
        length = q.shape[-1] ** 0.5
        q, k = (length * F.normalize(x, dim=-1, eps=1e-6) for x in (q, k))
    return q, k, v


class LowRankAttention(nn.Module):
    """x (B, N, d) -> what LSA adds to it: U softmax(Q K^T / sqrt(r)) V; Q, K, V = LN(x) A_q, A_k, A_v, each d -> r."""

    def __init__(self, width: int, method: LAST):
        super().__init__()
        self.heads, self.qk_norm, self.dropout = method.heads, method.qk_norm, method.dropout
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.q, self.k, self.v = (nn.Linear(width, method.rank, bias=False) for _ in range(3))
        self.up = nn.Linear(method.rank, width, bias=method.up_bias)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, maps: list[Tensor] | None = None) -> Tensor:
        """To `maps` goes what the values are weighed with: softmax(Q K^T / sqrt(r)), mean over heads, (B, N, N)."""
        qkv = F.linear(self.norm(x), torch.cat([self.q.weight, self.k.weight, self.v.weight]))  # (B, N, 3r)
        if maps is not None:
            q, k, _ = _by_head(qkv, self.heads, self.qk_norm)
            maps.append((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).mean(1))
        out = attend(qkv, self.heads, self.qk_norm)  # (B, N, r)
        return self.up(F.dropout(out, self.dropout, self.training))  # (B, N, d)


def recursion(
    z: Sequence[Tensor], side: nn.ModuleList, added: Tensor | int, maps: list[Tensor] | None = None
) -> Tensor:
    """u_0 = z_0, u_i = F_i(u_{i-1} + z_i), y = u_m - sum_{i<m} z_i, for z_0 .. z_m (B, N, d) and the stacks F_1 .. F_m.

    Each u_i is kept as two summands: `frozen`, and `added`, which alone carries gradient and is exactly zero at the
    start. Then y is z_m + added, without a difference of two large sums; `added` is returned.
    """
    frozen = z[0]  # u_0 = z_0
    for F_i, z_i in zip(side, z[1:], strict=True):
        frozen = frozen + z_i  # u_{i-1} + z_i
        for lsa in F_i:
            added = added + lsa(frozen + added, maps)  # LSA(x) = x + lsa(x); after the last one, u_i
    return added


class LASTNetwork(SideNetwork):
    """The recursion over the stages of a backbone: as it is written, or by Lean: the same, keeping less.

    Features have the K networks in front, (K, B, ...); K is 1 for one.
    """

    def __init__(self, backbone: Backbone, method: LAST):
        super().__init__()
        self.correct, self.dropout = method.bias_correction, method.dropout
        self.attend = partial(attend, heads=method.heads, qk_norm=method.qk_norm)
        self.finish = backbone.finish
        self.transitions = [backbone.transition(s).forward for s in range(1, len(backbone.stages))]
        self.groups, blocks = self.grouped(backbone, method.gap), backbone.blocks
        points = [
            [f"{blocks[stage[0]].path}:in", *(f"{blocks[end].path}:out" for end in ends)]
            for stage, ends in zip(backbone.stages, self.groups, strict=True)
        ]
        self.taps = tuple(chain(*points))  # of each stage z_0 .. z_m
        self.side = nn.ModuleList(
            nn.ModuleList(LowRankAttention(blocks[end].width, method) for _ in range(method.stack))
            for end in chain(*self.groups)
        )
        self.attended = tuple(end for end in chain(*self.groups) for _ in range(method.stack))

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        features = tuple(z[None] for z in features)
        plain = (self.dropout and self.training) or any(z.requires_grad for z in features)  # Lean knows neither
        return (self._stages(features, self._plain) if plain else self.abreast([self], features))[0]

    def attention(self, features: tuple[Tensor, ...]) -> list[Tensor]:
        maps: list[Tensor] = []
        self._stages(tuple(z[None] for z in features), partial(self._plain, maps=maps))
        return maps

    @classmethod
    def abreast(cls, networks: Sequence[LASTNetwork], features: tuple[Tensor, ...]) -> Tensor:
        """K networks of one shape, without dropout, in one call: features (K, B, ...), or (1, B, ...) where all read
        the same, to pooled features (K, B, d). Each row is what its network gives alone."""
        if len(networks) > 1 and features[0].device.type == "cpu" and features[0][0].numel() > CROWD:
            return super().abreast(networks, features)

        def added(groups: slice, z: tuple[Tensor, ...], carried: Tensor | None) -> Tensor:
            modules = [[lsa for F_i in network.side[groups] for lsa in F_i] for network in networks]
            return Lean.apply(networks[0].attend, len(z) - 1, carried, *folded(modules), *z)

        return networks[0]._stages(features, added)

    def _plain(
        self, groups: slice, z: tuple[Tensor, ...], carried: Tensor | None, maps: list[Tensor] | None = None
    ) -> Tensor:
        added = 0 if carried is None else carried[0]
        return recursion([one[0] for one in z], self.side[groups], added, maps)[None]

    def _stages(self, features: tuple[Tensor, ...], added: Callable[..., Tensor]) -> Tensor:
        """Each stage's y, carried into the next one; from the last, the pooled features (K, B, d)."""
        last, y = 0, None
        for number, ends in enumerate(self.groups):
            first, last = last, last + len(ends)
            z = features[first + number : last + number + 1]  # z_0 .. z_m, (K, B, N, d); (K, B, H, W, d) on Swin
            carried = None if y is None else _tokens(_over(self.transitions[number - 1], y) - z[0])
            more = added(slice(first, last), tuple(map(_tokens, z)), carried)  # (K, B, N, d)
            y = (z[-1] if self.correct else sum(z[1:], z[0])) + more.view(len(more), *z[-1].shape[1:])
        return _over(self.finish, y)


def _tokens(z: Tensor) -> Tensor:
    return z.flatten(2, -2)  # (K, B, N, d)


def _over(frozen: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """A frozen module on (K, B, ...), whose two leading dimensions it sees as one."""
    return frozen(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])


METHOD = LAST
