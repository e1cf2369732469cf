"""What a CUDA device would do differently from a CPU, followed on tensors that are on neither."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

# CUDA's autocast runs these in fp32 (torch/csrc/autocast lists); the CPU's leaves them in what comes.
_IN_FP32 = {F.layer_norm, torch.layer_norm, F.group_norm, F.softmax, torch.softmax, Tensor.softmax}
_IN_FP32 |= {F.log_softmax, torch.log_softmax, Tensor.log_softmax, torch.norm, Tensor.norm}


class WithoutData(TorchFunctionMode):
    """Answers code that reads a number from a tensor without data: a single random draw is 0.5, all else 0 or false."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.rand and args == (1,):
            return torch.tensor([0.5])  # a constant, which fake tensors compute with
        try:
            return func(*args, **(kwargs or {}))
        except DataDependentOutputException:
            if func in (Tensor.item, Tensor.__bool__):
                return func(torch.tensor(0, dtype=args[0].dtype))
            raise


class AsOnCuda(WithoutData):
    """Attention kernels and autocast rules of CUDA, on fake CPU tensors.

    Attention by PyTorch's order of preference: flash for half precision without a mask, memory-efficient otherwise,
    plain matrices where neither fits. cuDNN's kernel, where it is preferred, keeps the same tensors as flash.
    """

    def __init__(self, half: bool):
        super().__init__()
        self.half = half

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if not self.half or func not in _IN_FP32:
            return super().__torch_function__(func, types, args, kwargs)
        args = tuple(a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
        with torch.autocast("cpu", enabled=False):
            return func(*args, **kwargs)

    def _attention(
        self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **options: Any
    ) -> Tensor:
        """q, k, v (B, heads, N, width) -> (B, heads, N, width), by the kernel CUDA would take."""
        if self.half and torch.is_autocast_enabled("cpu"):
            q, k, v = (t.to(torch.bfloat16) for t in (q, k, v))
        width, size = q.shape[-1], q.element_size()
        plain = q.dim() != 4 or options.get("enable_gqa")
        if size == 2 and attn_mask is None and width <= 256 and not plain:
            q, k, v = (F.pad(t, (0, -width % 8)) for t in (q, k, v)) if width % 8 else (q, k, v)
            return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p)[0][..., :width]
        if (width * size) % 16 == 0 and not plain:
            bias = None if attn_mask is None else _as_bias(attn_mask, q, k)
            differs = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v))
            return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, differs, dropout_p)[0]
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, **options)


def _as_bias(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """The mask as the memory-efficient kernel takes it: floating, rows padded to 16, one view per batch and head."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
    mask = F.pad(mask, (0, -mask.shape[-1] % 16))[..., : key.shape[-2]] if mask.shape[-1] % 16 else mask
    return mask.to(query.dtype).expand(*query.shape[:2], query.shape[-2], key.shape[-2])
