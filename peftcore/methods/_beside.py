"""What low-rank pairs add beside frozen projections, in few passes and with few bytes kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Source:
    """Remembers what a norm read, so that its output, an adapter's input, need not be kept for backward.

    The norm keeps its own input anyway, and its output is made from it again by one cheap pass. Where the adapter turns
    out to read something else (Swin's windows are copies; some blocks norm afterwards), this stops listening for good.
    """

    def __init__(self, norm: nn.Module):
        self.norm = norm
        self._read: tuple[Tensor, Tensor] | None = None  # its last input and output, until `of` takes them
        # Another's hook may change what the norm gives, which `again` would not know.
        self._hook = None if norm._forward_hooks else norm.register_forward_hook(self._note)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_read": None}  # a copy has read nothing yet

    def _note(self, _norm: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        self._read = args[0], out

    def of(self, x: Tensor) -> Tensor | None:
        """What the norm read where `x` is what it gave, else None."""
        read, self._read = self._read, None
        if read is not None and read[1] is x:
            return read[0]
        if self._hook is not None and torch.is_grad_enabled():  # a probe reads other tokens than a step will
            self._hook.remove()
            self._hook = None
        return None

    def again(self, read: Tensor) -> Tensor:
        return type(self.norm).forward(self.norm, read)  # past the hooks


def autocast_now(like: Tensor) -> torch.autocast:
    """What backward enters in order to compute as forward does now."""
    kind = like.device.type
    return torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))


class AddPairs(torch.autograd.Function):
    """out[..., rows_i] += s_i B_i (m_i * A_i x), in place, for every pair i beside one frozen layer.

    x (..., d), out (..., D), weights A_1, B_1, A_2, ...; `masks` (..., r of all) is dropout's or None. Beside x, or
    what x is made from, nothing is kept: the low-rank vector is computed again. Other rows of `out` are not touched.
    """

    @staticmethod
    def forward(
        ctx: Any, out: Tensor, x: Tensor, read: Tensor | None, source: Source | None,
        rows: Sequence[slice], scales: Sequence[float], masks: Tensor | None, *weights: Tensor,
    ) -> Tensor:  # fmt: skip
        As, Bs = weights[::2], weights[1::2]
        flat, h = out.view(-1, out.shape[-1]), _low(x, _joint(As), masks, out.dtype)
        for B, part, where, scale in zip(Bs, _split(h, Bs), rows, scales, strict=True):
            flat[:, where].addmm_(part, B.to(out.dtype).T, alpha=scale)
        ctx.mark_dirty(out)
        ctx.save_for_backward(x if read is None else read, masks, *weights)
        ctx.source, ctx.rows, ctx.scales = None if read is None else source, rows, scales
        ctx.autocast = autocast_now(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, masks, *weights = ctx.saved_tensors
        As, Bs = weights[::2], weights[1::2]
        A = _joint(As)
        if ctx.source is not None:
            with ctx.autocast:
                x = ctx.source.again(x)
        shape, dtype = x.shape, x.dtype
        flat = grad.reshape(-1, grad.shape[-1])
        h = _low(x, A, masks, flat.dtype)  # (M, r)
        gh, dBs = torch.empty_like(h), []
        for B, part, into, where, scale in zip(Bs, _split(h, Bs), _split(gh, Bs), ctx.rows, ctx.scales, strict=True):
            own = flat[:, where]
            dBs.append((own.T @ part).to(B.dtype).mul_(scale))
            into.copy_(own @ B.to(own.dtype)).mul_(scale)
        if masks is not None:
            gh *= masks.reshape(gh.shape).to(gh.dtype)
        dA = (gh.T @ x.reshape(-1, shape[-1]).to(gh.dtype)).to(A.dtype)
        dx = (gh @ A.to(gh.dtype)).view(shape).to(dtype) if ctx.needs_input_grad[1] else None
        dAs = dA.split([A.shape[0] for A in As])
        return grad, dx, None, None, None, None, None, *(g for pair in zip(dAs, dBs, strict=True) for g in pair)


def _joint(As: Sequence[Tensor]) -> Tensor:
    """All A_i below each other, (r, d)."""
    return torch.cat(tuple(As)) if len(As) > 1 else As[0]


def _low(x: Tensor, A: Tensor, masks: Tensor | None, dtype: torch.dtype) -> Tensor:
    """m * A x, (M, r)."""
    h = (x.reshape(-1, x.shape[-1]).to(dtype) @ A.to(dtype).T).to(dtype)  # under autocast a product has its type
    return h if masks is None else h * masks.reshape(h.shape).to(dtype)


def _split(h: Tensor, Bs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return h.split([B.shape[1] for B in Bs], 1)
