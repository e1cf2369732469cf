"""LAST: a side network of low-rank attention that only reads a frozen backbone (arXiv 2402.04009)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .. import errors
from . import Card, Method, SideNetwork

EPS = 1e-5  # of LayerNorm
CROWD = 200_000  # floats of a batch's tokens above which K networks in one call fall out of a CPU's cache: slower than K calls


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

    @model_validator(mode="after")
    def _heads_share_the_rank(self) -> LAST:
        if self.rank % self.heads:
            fits = [h for h in range(1, 65) if self.rank % h == 0]
            raise errors.InvalidSetting(
                f"LAST: {self.heads} heads do not divide rank {self.rank} evenly; choose "
                f"{', '.join(map(str, fits))} heads, or a rank that is a multiple of {self.heads}."
            )
        return self

    def check(self, backbone) -> None:
        narrowest, depth = min(b.width for b in backbone.blocks), backbone.depth
        if self.rank > narrowest:
            raise errors.DoesNotFit(
                f"LAST: rank {self.rank} is above the width of {backbone.name}; choose 1 to {narrowest}."
            )
        if self.gap > depth:
            raise errors.DoesNotFit(f"LAST: gap {self.gap} is above the depth of {backbone.name}; choose 1 to {depth}.")

    def install(self, backbone) -> SideNetwork:
        return LASTNetwork(backbone, self)


class LowRankAttention(nn.Module):
    """x (B, N, d) -> what LSA adds to it: U softmax(Q K^T / sqrt(r)) V with Q, K, V = LN(x) A_q, A_k, A_v, each d -> r."""

    def __init__(self, width: int, rank: int, heads: int, up_bias: bool, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width, eps=EPS)
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

    plain = False  # by the modules as they are written, which a probe listens to; slower, the same numbers

    def __init__(self, backbone, method: LAST):
        super().__init__()
        self.correct, self.heads = method.bias_correction, method.heads
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
        dropped = any(m.dropout and m.training for group in self.side for m in group)
        if self.plain or dropped or any(z.requires_grad for z in features):  # the lean way has no gradient for features
            return self._walk(features, self._stage_by_modules)
        return self.abreast([self], tuple(z[None] for z in features))[0]

    @classmethod
    def abreast(cls, networks: Sequence[LASTNetwork], features: tuple[Tensor, ...]) -> Tensor:
        """K networks of one shape, without dropout, in one call: features (K, B, ...), or (1, B, ...) where all read the
        same, to pooled features (K, B, d). Each row is what its network gives alone."""
        if len(networks) > 1 and features[0].device.type == "cpu" and features[0][0].numel() > CROWD:
            return super().abreast(networks, features)

        def stage(first: int, last: int, z: tuple[Tensor, ...], carried: Tensor | None) -> Tensor:
            modules = [[m for group in n.side[first:last] for m in group] for n in networks]
            return _Lean.apply(networks[0].heads, last - first, carried, *_folded(modules), *z)

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


def _folded(networks: list[list[LowRankAttention]]) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """K networks' T modules of one stage as W (T, K, 3r, d), c (T, K, 3r), U (T, K, d, r) and U's bias (T, K, d).

    q, k, v = LN(x) A^T = (x W^T) / sigma + c: the norm's affine part is folded into A, and since the rows of W sum to
    zero, x need not be centred.
    """

    def stacked(get: Callable[[LowRankAttention], Tensor]) -> Tensor:
        both = torch.stack([get(m) for modules in networks for m in modules])
        return both.unflatten(0, (len(networks), -1)).transpose(0, 1)

    A = torch.cat([stacked(lambda m, n=n: getattr(m, n).weight) for n in "qkv"], 2)
    W = A * stacked(lambda m: m.norm.weight)[:, :, None]
    c = (A * stacked(lambda m: m.norm.bias)[:, :, None]).sum(-1)  # elementwise: autocast leaves it alone
    bias = stacked(lambda m: m.up.bias) if networks[0][0].up.bias is not None else None
    return W - W.mean(-1, keepdim=True), c, stacked(lambda m: m.up.weight), bias


class _Lean(torch.autograd.Function):
    """What the T modules of one stage add to the tokens of K networks: features (K or 1, B, N, d) -> (K, B, N, d).

    Beside the frozen features it keeps of each module what enters and leaves its attention, (K, B N, 4r) in all.
    Backward walks the modules from the last to the first: x_t = x_{t+1} - U out_t gives each module its input back
    (by rounding other than the forward's), and LayerNorm's gradient is taken in the space of rank r, where it needs two
    sums per token instead of passes over the width.
    """

    @staticmethod
    def forward(ctx, heads: int, groups: int, carried, W, c, U, bias, *z: Tensor) -> Tensor:
        T, K, _, d = W.shape
        lean = _Arithmetic(W)
        x = _start(z[:1], carried, W)  # (K, B N, d)
        per_group, inner = T // groups, []
        for t in range(T):
            if t % per_group == 0:
                x += z[t // per_group + 1].flatten(1, 2)
            spread, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
            spread = spread.add_(EPS).rsqrt_()  # 1 / sigma, (K, B N, 1)
            qkv = lean.mm(x, W[t].mT) * spread + c[t][:, None]  # (K, B N, 3r)
            out = _attend(qkv, heads, z[0].shape[1])  # (K, B N, r)
            lean.add(x, out, U[t].mT)
            if bias is not None:
                x += bias[t][:, None]
            inner += [mean, spread, qkv, out]
        added = _added(lean, inner[3::4], U, bias, carried)
        ctx.save_for_backward(carried, W, c, U, bias, *z, *inner)
        ctx.heads, ctx.per_group, ctx.lean = heads, per_group, lean
        return added.unflatten(1, z[0].shape[1:3])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        carried, W, c, U, bias, *rest = ctx.saved_tensors
        T, K, _, d = W.shape
        z, inner = rest[: -4 * T], rest[-4 * T :]
        lean, B = ctx.lean, z[0].shape[1]
        x = _added(lean, inner[3::4], U, bias, None)
        x += _start(z, carried, W)
        shape = grad.shape
        grad = grad.flatten(1, 2).to(x.dtype, copy=True)  # (K, B N, d)
        dW, dc, dU = torch.empty_like(W), torch.empty_like(c), torch.empty_like(U)
        dbias = None if bias is None else torch.empty_like(bias)
        one = W.new_ones(K, 1, d)
        for t in reversed(range(T)):
            mean, spread, qkv, out = inner[4 * t : 4 * t + 4]
            lean.add(x, out, U[t].mT, sign=-1)
            if bias is not None:
                x -= bias[t][:, None]
                dbias[t] = grad.sum(1)
            dU[t] = lean.mm(grad.mT, out)
            leaf = qkv.detach().requires_grad_()
            with torch.enable_grad(), lean.cast():
                again = _attend(leaf, ctx.heads, B)
            (dqkv,) = torch.autograd.grad(again, leaf, lean.mm(grad, U[t]).to(again.dtype))
            dc[t] = dqkv.sum(1)
            # With n = LN(x): dx = (dn - n mean(dn n)) / sigma, and mean(dn n) = <dqkv, qkv - c> / d.
            pull = ((qkv - c[t][:, None]) * dqkv).sum(-1, keepdim=True) * spread.square() / d
            dqkv = dqkv * spread
            dW[t] = lean.mm(dqkv.mT, x)
            lean.add(grad, torch.cat([dqkv, pull * mean], -1), torch.cat([W[t], one], 1))
            grad.addcmul_(x, pull, value=-1)
            if t % ctx.per_group == 0:
                x -= z[t // ctx.per_group + 1].flatten(1, 2)
        dcarried = None if carried is None else grad.view(shape)
        return None, None, dcarried, dW, dc, dU, dbias, *([None] * len(z))


class _Arithmetic:
    """Batched products in autocast's type where it is on; sums stay in that of the weights."""

    def __init__(self, like: Tensor):
        kind = like.device.type
        self.type = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        self.kind = kind

    def cast(self) -> torch.autocast:
        return torch.autocast(self.kind, self.type, enabled=self.type is not None)

    def mm(self, a: Tensor, b: Tensor) -> Tensor:
        if self.type is None:
            return torch.bmm(a, b)
        with torch.autocast(self.kind, enabled=False):
            return torch.bmm(a.to(self.type), b.to(self.type)).float()

    def add(self, to: Tensor, a: Tensor, b: Tensor, sign: int = 1) -> None:
        """to += sign a b, in place."""
        if self.type is None:
            to.baddbmm_(a, b, alpha=sign)
        else:
            to.add_(self.mm(a, b), alpha=sign)


def _start(z: Sequence[Tensor], carried: Tensor | None, like: Tensor) -> Tensor:
    """The sum of the features and of what came from the stage before, anew, (K, B N, d)."""
    first = z[0].flatten(1, 2).to(like.dtype)
    x = first.expand(like.shape[1], -1, -1).clone() if carried is None else first + carried.flatten(1, 2)
    for more in z[1:]:
        x += more.flatten(1, 2)
    return x


def _added(lean: _Arithmetic, outs: Sequence[Tensor], U: Tensor, bias: Tensor | None, carried: Tensor | None) -> Tensor:
    """carried + sum_t (U_t out_t + bias_t) as one product over all modules, (K, B N, d)."""
    U = U.permute(1, 0, 3, 2).flatten(1, 2)  # (K, T r, d)
    added = lean.mm(torch.cat([*outs], -1), U)
    if bias is not None:
        added += bias.sum(0)[:, None]
    return added if carried is None else added.add_(carried.flatten(1, 2))


def _attend(qkv: Tensor, heads: int, batch: int) -> Tensor:
    """(K, B N, 3r) -> softmax(q k^T / sqrt(r / heads)) v, (K, B N, r)."""
    K = len(qkv)
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).unflatten(1, (batch, -1)).flatten(0, 1).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(q, k, v)  # (K B, h, N, r/h)
    return out.transpose(1, 2).flatten(2).unflatten(0, (K, batch)).flatten(1, 2)


METHOD = LAST
