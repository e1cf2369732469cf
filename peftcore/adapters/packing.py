"""Tensors and what describes them as one safetensors file: never pickle."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from peftcore import errors

_KEY = "headroom"
_PICKLES = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc", b"\x80\x02}q", b"\x80\x04\x95", b"\x80\x05\x95")  # their first bytes


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
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise errors.BadAdapter(f"This is not a file that Headroom saved, or it is damaged: {error}.") from None


def refuse_pickle(file: Path) -> None:
    """Raises BadAdapter where a file was written by torch.save or pickle: reading one runs what code it holds."""
    with suppress(OSError), file.open("rb") as stream:
        if stream.read(8).startswith(_PICKLES):
            raise errors.BadAdapter(
                f"{str(file)!r} is a pickle, which may run any code, so Headroom does not read it. If you trust it, "
                f"convert it: from safetensors.torch import save_file; save_file(torch.load({file.name!r}, "
                f"weights_only=True), {file.with_suffix('.safetensors').name!r})."
            )
