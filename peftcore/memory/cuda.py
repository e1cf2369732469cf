"""What a CUDA device would do differently from a CPU, followed on tensors that are on neither."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

# CUDA's autocast runs these in fp32 (torch/csrc/autocast lists); the CPU's leaves them in what comes.
_IN_FP32 = {F.layer_norm, torch.layer_norm, F.group_norm, F.softmax, torch.softmax, Tensor.softmax}
_IN_FP32 |= {F.log_softmax, torch.log_softmax, Tensor.log_softmax, torch.norm, Tensor.norm}


class AsOnCuda(TorchFunctionMode):
    """Attention kernels and autocast rules of CUDA, on fake CPU tensors.

    Attention by PyTorch's order of preference: flash for half precision without a mask, memory-efficient
    else, plain matrices where neither fits. cuDNN's kernel, where it is preferred, keeps the same tensors as
    flash.
    """

    def __init__(self, half: bool):
        super().__init__()
        self.half = half

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if self.half and func in _IN_FP32:
            args = tuple(a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
            with torch.autocast("cpu", enabled=False):
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _attention(
        self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
    ):
        """query, key, value (B, heads, N, width) -> (B, heads, N, width), by the kernel CUDA would take."""
        if self.half and torch.is_autocast_enabled("cpu"):
            query, key, value = (t.to(torch.bfloat16) for t in (query, key, value))
        width, size = query.shape[-1], query.element_size()
        differs = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
        scale = width**-0.5 if scale is None else scale
        if size == 2 and attn_mask is None and width <= 256 and not enable_gqa:
            query, key, value = (F.pad(t, (0, -width % 8)) if width % 8 else t for t in (query, key, value))
            kernel = torch.ops.aten._scaled_dot_product_flash_attention
            return kernel(query, key, value, dropout_p, is_causal, scale=scale)[0][..., :width]
        if (width * size) % 16 == 0 and query.dim() == 4 and not enable_gqa:
            kernel = torch.ops.aten._scaled_dot_product_efficient_attention
            bias = _as_bias(attn_mask, query, key)
            return kernel(query, key, value, bias, differs, dropout_p, is_causal, scale=scale)[0]
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )


def _as_bias(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    """The mask as the memory-efficient kernel takes it: floating, rows padded to 16, one view per batch and
    head.
    """
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
    columns = key.shape[-2]
    if mask.shape[-1] % 16:
        mask = F.pad(mask, (0, -mask.shape[-1] % 16))[..., :columns]
    return mask.to(query.dtype).expand(*query.shape[:2], query.shape[-2], columns)
