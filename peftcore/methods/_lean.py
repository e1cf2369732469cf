"""LAST's modules in the space of their rank: several networks in one call, and a backward that keeps little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from peftcore.methods._beside import autocast_now

Attend = Callable[[Tensor], Tensor]  # q, k, v side by side (B, N, 3r) -> what attention makes of them (B, N, r)

EPS = 1e-5  # of LayerNorm


def folded(networks: Sequence[Sequence[nn.Module]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """K networks' T modules of one stage as W (T, K, 3r, d), c (T, K, 3r), U (T, K, d, r) and U's bias (T, K, d).

    q, k, v = LN(x) A^T = (x W^T) / sigma + c: the norm's affine part is folded into A, and since the rows of W sum to
    zero, x need not be centred.
    """

    def stacked(path: str) -> Tensor:
        every = torch.stack([attrgetter(path)(module) for modules in networks for module in modules])
        return every.unflatten(0, (len(networks), -1)).transpose(0, 1)  # (T, K, ...)

    A = torch.cat([stacked(f"{name}.weight") for name in "qkv"], 2)
    W = A * stacked("norm.weight")[:, :, None]
    c = (A * stacked("norm.bias")[:, :, None]).sum(-1)  # elementwise: autocast leaves it alone
    U = stacked("up.weight")
    bias = U.new_zeros(U.shape[:3]) if networks[0][0].up.bias is None else stacked("up.bias")
    return W - W.mean(-1, keepdim=True), c, U, bias


class Lean(torch.autograd.Function):
    """What the T modules of one stage add to the tokens of K networks: features (K or 1, B, N, d) -> (K, B, N, d).

    Beside the frozen features it keeps of each module what enters and leaves its attention, (K, B N, 4r) in all.
    Backward walks the modules from the last to the first: x_t = x_{t+1} - U out_t gives each module its input back,
    rounded differently from the forward's, and LayerNorm's gradient is taken in the space of rank r, where it needs
    two sums per token instead of passes over the width.
    """

    @staticmethod
    def forward(
        ctx: Any, attend: Attend, groups: int, carried: Tensor | None,
        W: Tensor, c: Tensor, U: Tensor, bias: Tensor, *z: Tensor,
    ) -> Tensor:  # fmt: skip
        T, per_group, inner = len(W), len(W) // groups, []
        x = _start(z[:1], carried, W)  # (K, B N, d)
        for t in range(T):
            if t % per_group == 0:
                x += z[t // per_group + 1].flatten(1, 2)
            # For mean and 1 / sigma alone, (K, B N, 1) each: on a CPU in a sixth of the time that var_mean takes.
            _, mean, spread = torch.native_layer_norm(x, x.shape[-1:], None, None, EPS)
            qkv = _mm(x, W[t].mT) * spread + c[t][:, None]  # (K, B N, 3r)
            out = _mixed(attend, qkv, z[0].shape[1])  # (K, B N, r)
            _add(x, out, U[t].mT)
            x += bias[t][:, None]
            inner += [mean, spread, qkv, out]
        added = _added(inner[3::4], U, bias, carried)
        ctx.save_for_backward(carried, W, c, U, bias, *z, *inner)
        ctx.attend, ctx.per_group, ctx.autocast = attend, per_group, autocast_now(W)
        return added.unflatten(1, z[0].shape[1:3])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with ctx.autocast:
            return _gradients(ctx, grad)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    carried, W, c, U, bias, *rest = ctx.saved_tensors
    T, K, _, d = W.shape
    z, inner = rest[: -4 * T], rest[-4 * T :]
    x = _added(inner[3::4], U, bias, None)
    x += _start(z, carried, W)
    shape = grad.shape
    grad = grad.flatten(1, 2).to(x.dtype, copy=True)  # (K, B N, d)
    dW, dc, dU, dbias = (torch.empty_like(weight) for weight in (W, c, U, bias))
    one = W.new_ones(K, 1, d)
    for t in reversed(range(T)):
        mean, spread, qkv, out = inner[4 * t : 4 * t + 4]
        _add(x, out, U[t].mT, sign=-1)
        x -= bias[t][:, None]
        dbias[t] = grad.sum(1)
        dU[t] = _mm(grad.mT, out)
        leaf = qkv.detach().requires_grad_()
        with torch.enable_grad():
            again = _mixed(ctx.attend, leaf, z[0].shape[1])
        (dqkv,) = torch.autograd.grad(again, leaf, _mm(grad, U[t]).to(again.dtype))
        dc[t] = dqkv.sum(1)
        # With n = LN(x): dx = (dn - n mean(dn n)) / sigma, and mean(dn n) = <dqkv, qkv - c> / d.
        pull = ((qkv - c[t][:, None]) * dqkv).sum(-1, keepdim=True) * spread.square() / d
        dqkv = dqkv * spread
        dW[t] = _mm(dqkv.mT, x)
        _add(grad, torch.cat([dqkv, pull * mean], -1), torch.cat([W[t], one], 1))
        grad.addcmul_(x, pull, value=-1)
        if t % ctx.per_group == 0:
            x -= z[t // ctx.per_group + 1].flatten(1, 2)
    dcarried = None if carried is None else grad.view(shape)
    return None, None, dcarried, dW, dc, dU, dbias, *([None] * len(z))


def _mm(a: Tensor, b: Tensor) -> Tensor:
    """The product in autocast's type where it is on; sums stay in float32."""
    product = torch.bmm(a, b)
    return product.float() if torch.is_autocast_enabled(a.device.type) else product


def _add(to: Tensor, a: Tensor, b: Tensor, sign: int = 1) -> None:
    """to += sign a b, in place."""
    if torch.is_autocast_enabled(a.device.type):
        to.add_(_mm(a, b), alpha=sign)
    else:
        to.baddbmm_(a, b, alpha=sign)


def _start(z: Sequence[Tensor], carried: Tensor | None, like: Tensor) -> Tensor:
    """A new tensor: the sum of the features and of what the stage before carries over, (K, B N, d)."""
    first = z[0].flatten(1, 2).to(like.dtype)
    x = first.expand(like.shape[1], -1, -1).clone() if carried is None else first + carried.flatten(1, 2)
    for more in z[1:]:
        x += more.flatten(1, 2)
    return x


def _added(outs: Sequence[Tensor], U: Tensor, bias: Tensor, carried: Tensor | None) -> Tensor:
    """carried + sum_t (U_t out_t + bias_t) as one product over all modules, (K, B N, d)."""
    added = _mm(torch.cat([*outs], -1), U.permute(1, 0, 3, 2).flatten(1, 2))  # (K, B N, T r) (K, T r, d)
    added += bias.sum(0)[:, None]
    return added if carried is None else added.add_(carried.flatten(1, 2))


def _mixed(attend: Attend, qkv: Tensor, batch: int) -> Tensor:
    """`attend` over K networks at once, (K, B N, 3r) -> (K, B N, r)."""
    out = attend(qkv.unflatten(1, (batch, -1)).flatten(0, 1))  # (K B, N, r)
    return out.unflatten(0, (len(qkv), batch)).flatten(1, 2)
