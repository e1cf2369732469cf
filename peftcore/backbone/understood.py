"""The proof that a backbone is what its anatomy describes: one image runs through it and the steps are compared."""

from __future__ import annotations

from itertools import zip_longest

import torch
from torch import Tensor, nn

from peftcore import errors
from peftcore.backbone.backbone import Backbone
from peftcore.backbone.weights import first_line


def check_understood(backbone: Backbone) -> None:
    """Every block runs once, in order, on the tokens that the anatomy describes, and `finish` of the last block's
    tokens is what the backbone computes. On the meta device, where nothing has a value: by the same layers.

    Raises:
        DoesNotFit: something else happens, which methods, caches and probes would miss.
    """
    blocks, name = backbone.blocks, backbone.name
    ran: list[str] = []
    out: list[Tensor] = []
    leaves: list[str] = []  # the layers that ran, since the last block where it has run
    handles = [
        module.register_forward_hook(lambda *_, path=path: leaves.append(path))
        for path, module in backbone.module.named_modules()
        if next(module.children(), None) is None
    ]

    def begins(path: str, tokens: Tensor) -> None:
        ran.append(path)
        block = blocks[len(ran) - 1] if len(ran) <= len(blocks) else blocks[-1]
        rows, columns = block.grid
        expected = ((backbone.prefix_tokens + rows * columns, block.width), (rows, columns, block.width))
        if tuple(tokens.shape[1:]) not in expected:
            raise errors.DoesNotFit(
                f"{name}: {path} works on tokens of shape {tuple(tokens.shape[1:])}, not on a class token and a grid "
                f"of {rows} x {columns} patches."
            )

    def ends(tokens: Tensor) -> None:
        leaves.clear()
        out.append(tokens)

    for block in blocks:
        module: nn.Module = backbone.module.get_submodule(block.path)
        handles.append(module.register_forward_pre_hook(lambda _, args, path=block.path: begins(path, args[0])))
    handles.append(module.register_forward_hook(lambda _, __, tokens: ends(tokens)))
    count = torch.tensor(backbone.input_size).prod().item()
    image = torch.linspace(-2, 2, count, device=backbone.device).view(1, *backbone.input_size)
    try:
        with torch.no_grad():
            pooled, after = backbone.pooled(image), list(leaves)
            leaves.clear()
            finished = backbone.finish(out[-1])
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise errors.DoesNotFit(
            f"{name} does not run on one image of {backbone.input_size}: {first_line(error)}."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if ran != [block.path for block in blocks]:
        raise errors.DoesNotFit(f"{name} does not run its blocks once each, in order.")
    if leaves != after:
        extra = next(path for path, known in zip_longest(after, leaves) if path != known)
        raise errors.DoesNotFit(
            f"{name} computes more after its last block than a norm and a pooling ({extra}), which Headroom's methods "
            "and probes would miss; choose a ViT or Swin architecture."
        )
    if pooled.shape != (1, backbone.width) or finished.shape != pooled.shape:
        raise errors.DoesNotFit(
            f"{name} pools an image into {tuple(pooled.shape[1:])}, not into {backbone.width} features; choose another "
            "pooling."
        )
    if not pooled.is_meta and not torch.allclose(finished, pooled, rtol=1e-3, atol=1e-5):
        raise errors.DoesNotFit(f"{name} pools something other than its last block's tokens after their norm.")
