"""Tensors and what describes them as one safetensors file: never pickle."""

from __future__ import annotations

import json
from typing import Any

from torch import Tensor

from peftcore import errors

_KEY = "headroom"


def pack(tensors: dict[str, Tensor], about: dict[str, Any]) -> bytes:
    """One safetensors file as bytes, with `about` as JSON in its header."""
    from safetensors.torch import save

    return save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, {_KEY: json.dumps(about)})


def unpack(blob: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the description that `pack` wrote.

    Raises:
        BadAdapter: damaged, truncated, or written by something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(blob)
        if odd := [name for name, one in tensors.items() if one.is_complex() or not one.float().isfinite().all()]:
            raise ValueError(f"{odd[0]} holds something other than finite numbers")
        return tensors, json.loads(json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])["__metadata__"][_KEY])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise errors.BadAdapter(f"This is not a file that Headroom saved, or it is damaged: {error}.") from None
