"""LAST: a side network of low-rank attention that only reads a frozen backbone (arXiv 2402.04009)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from .. import errors
from . import Card, Method, SideNetwork


class LAST(Method):
    name = "last"
    kind = "side"
    card = Card(
        title="LAST",
        paper="Tang et al., Low-rank Attention Side-Tuning for Parameter-Efficient Fine-Tuning, arXiv 2402.04009",
        equation=r"u_i = F_i(u_{i-1} + z_i),\quad y = u_m - \sum_{i=0}^{m-1} z_i,\quad "
        r"\mathrm{LSA}(x) = x + U\,\mathrm{softmax}(QK^\top/\sqrt r)\,V",
        trains="Per group of blocks, a stack of attention modules of rank r beside the backbone.",
        keeps="The frozen features between groups, and the side network's own thin activations; nothing inside the backbone.",
        mergeable=False,
        ours="One head, bias on U only, U zero at the start, dropout off. On Swin each stage is a LAST of its own, and "
        "what one stage adds goes through the frozen patch merging into the next.",
    )

    rank: int = Field(16, ge=1, le=1024, description="Width r of the attention in the side network.")
    gap: int = Field(2, ge=1, le=64, description="Blocks of the backbone per group.")
    stack: int = Field(2, ge=1, le=16, description="Attention modules per group.")
    heads: int = Field(1, ge=1, le=64, description="Heads of each module; they share the rank.")
    up_bias: bool = Field(True, description="A bias on the up-projection U.")
    bias_correction: bool = Field(
        True, description="Subtract the sum of the frozen features, so that y = z_m + what was added."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the attention's output inside the side network.")

    def check(self, backbone) -> None:
        narrowest, depth = min(b.width for b in backbone.blocks), backbone.depth
        if self.rank > narrowest:
            raise errors.DoesNotFit(
                f"LAST: rank {self.rank} is above the width of {backbone.name}; choose 1 to {narrowest}."
            )
        if self.gap > depth:
            raise errors.DoesNotFit(f"LAST: gap {self.gap} is above the depth of {backbone.name}; choose 1 to {depth}.")
        if self.rank % self.heads:
            raise errors.DoesNotFit(f"LAST: {self.heads} heads do not divide rank {self.rank} evenly.")

    def install(self, backbone) -> SideNetwork:
        return LASTNetwork(backbone, self)


class LowRankAttention(nn.Module):
    """x (B, N, d) -> what LSA adds to it: U softmax(Q K^T / sqrt(r)) V with Q, K, V = LN(x) A_q, A_k, A_v, each d -> r."""

    def __init__(self, width: int, rank: int, heads: int, up_bias: bool, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.q = nn.Linear(width, rank, bias=False)
        self.k = nn.Linear(width, rank, bias=False)
        self.v = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=up_bias)
        nn.init.zeros_(self.up.weight)
        if up_bias:
            nn.init.zeros_(self.up.bias)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, N, r/h)

    def mix(self, x: Tensor) -> Tensor:
        """Everything but U: (B, N, d) -> (B, N, r)."""
        weight = torch.cat([self.q.weight, self.k.weight, self.v.weight])  # one product instead of three
        q, k, v = map(self._split, F.linear(self.norm(x), weight).chunk(3, -1))  # (B, h, N, r/h) each
        out = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, r/h)
        out = out.transpose(1, 2).flatten(2)  # (B, N, r)
        return F.dropout(out, self.dropout, self.training) if self.dropout else out

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.mix(x))  # (B, N, d)

    def attention(self, normed: Tensor) -> Tensor:
        """LN(x) (B, N, d) -> softmax(Q K^T / sqrt(r)), mean over heads, (B, N, N): what the values are weighed with."""
        q, k = self._split(self.q(normed)), self._split(self.k(normed))
        return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).mean(1)


class LASTNetwork(SideNetwork):
    """The recursion of the paper, with the frozen part of each sum kept apart from what the modules add.

    u_i = sum_{j<=i} z_j + added_i: only `added` carries gradient, it is exactly zero at the start, and y = z_m + added
    is the bias correction without the cancellation of two large sums.
    """

    def __init__(self, backbone, method: LAST):
        super().__init__()
        self.correct = method.bias_correction
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
                make = (width, method.rank, method.heads, method.up_bias, method.dropout)
                self.side.append(nn.ModuleList(LowRankAttention(*make) for _ in range(method.stack)))
        self.taps = tuple(taps)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        start, first, y = 0, 0, None
        for stage, ends in enumerate(self.groups):
            z = features[start : start + len(ends) + 1]  # z_0 .. z_m, (B, N, d), or (B, H, W, d) on Swin
            groups = self.side[first : first + len(ends)]
            carried = None if y is None else (self.transitions[stage - 1](y) - z[0]).flatten(1, -2)
            added = run_stage(groups, tuple(t.flatten(1, -2) for t in z), carried).view_as(z[-1])
            y = (z[-1] if self.correct else sum(z[1:], z[0])) + added
            start, first = start + len(z), first + len(ends)
        return self.finish(y)  # (B, d)


def run_stage(groups: nn.ModuleList, z: tuple[Tensor, ...], carried: Tensor | None) -> Tensor:
    """What the modules of one stage add, (B, N, d). Dropout would have to be drawn twice, so with it autograd keeps all."""
    if any(m.dropout and m.training for group in groups for m in group):
        added = 0 if carried is None else carried
        total = z[0]
        for group, more in zip(groups, z[1:], strict=True):
            total = total + more  # sum of z_j, j <= i
            for module in group:
                added = added + module(total + added)
        return added
    return _Lean.apply(groups, len(z), *z, carried, *groups.parameters())


class _Lean(torch.autograd.Function):
    """The same sums, keeping of each module only what leaves its attention, (B, N, r), beside the frozen features.

    Backward walks the modules from the last to the first: with mixed_t at hand, added_t = added_{t+1} - U mixed_t gives
    each module its input back, and the module itself runs again for its gradient. Inputs so regained differ from the
    forward's by rounding.
    """

    @staticmethod
    def forward(ctx, groups: nn.ModuleList, n: int, *tensors: Tensor | None) -> Tensor:
        z, carried = tensors[:n], tensors[n]
        added = torch.zeros_like(z[0]) if carried is None else carried.clone()
        total, mixed = z[0].clone(), []
        for group, more in zip(groups, z[1:], strict=True):
            total += more  # sum of z_j, j <= i
            for module in group:
                mixed.append(module.mix(total + added))
                added += module.up(mixed[-1])
        ctx.groups, ctx.n, ctx.has_carried = groups, n, carried is not None
        ctx.save_for_backward(*z, *mixed, *([carried] if ctx.has_carried else []))
        ctx.autocast = torch.is_autocast_enabled(added.device.type), torch.get_autocast_dtype(added.device.type)
        return added

    @staticmethod
    def backward(ctx, grad: Tensor):
        z, rest = ctx.saved_tensors[: ctx.n], ctx.saved_tensors[ctx.n :]
        modules = [m for group in ctx.groups for m in group]
        mixed = rest[: len(modules)]
        enabled, dtype = ctx.autocast
        gradients: dict[int, tuple[Tensor, ...]] = {}
        with torch.autocast(grad.device.type, dtype, enabled=enabled):
            x = rest[-1].clone() if ctx.has_carried else torch.zeros_like(z[0])
            for more in z:
                x += more
            for module, out in zip(modules, mixed, strict=True):
                x += module.up(out)  # total + added behind the last module
            grad, t = grad.clone(), len(modules)
            for group, more in zip(reversed(ctx.groups), reversed(z[1:]), strict=True):
                for module in reversed(group):
                    t -= 1
                    x -= module.up(mixed[t])
                    dx, gradients[t] = _back_through(module, x, mixed[t], grad)
                    grad += dx  # through the residual and through the module
                x -= more
        ordered = [g for i in range(len(modules)) for g in gradients[i]]
        return None, None, *([None] * ctx.n), grad if ctx.has_carried else None, *ordered


def _back_through(module: LowRankAttention, x: Tensor, mixed: Tensor, grad: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Gradients of x and of the module's parameters, in their order, where U's are known without running it again."""
    flat = grad.flatten(0, -2)  # (B N, d)
    of_up = [flat.T @ mixed.flatten(0, -2).to(flat.dtype)] + ([flat.sum(0)] if module.up.bias is not None else [])
    of_mixed = (grad @ module.up.weight).to(mixed.dtype)  # (B, N, r)
    inner = [p for name, p in module.named_parameters() if not name.startswith("up.")]
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        again = module.mix(leaf)
    dx, *of_inner = torch.autograd.grad(again, [leaf, *inner], of_mixed)
    return dx, [*of_inner, *of_up]


METHOD = LAST
