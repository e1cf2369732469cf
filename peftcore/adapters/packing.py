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
        size = int.from_bytes(blob[:8], "little")
        about = json.loads(blob[8 : 8 + size])["__metadata__"][_KEY]
        return tensors, json.loads(about)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise errors.BadAdapter(f"This is not a file that Headroom saved, or it is damaged: {error}.") from None
