"""Files that torch.save or pickle wrote: reading one runs what code it holds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from peftcore import errors

_PICKLES = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc", b"\x80\x02}q", b"\x80\x04\x95", b"\x80\x05\x95")  # their first bytes


def refuse_pickle(file: Path) -> None:
    """Raises BadAdapter where a file was written by torch.save or pickle."""
    with suppress(OSError), file.open("rb") as stream:
        if stream.read(8).startswith(_PICKLES):
            raise errors.BadAdapter(
                f"{str(file)!r} is a pickle, which may run any code, so Headroom does not read it. If you trust it, "
                f"convert it: from safetensors.torch import save_file; save_file(torch.load({file.name!r}, "
                f"weights_only=True), {file.with_suffix('.safetensors').name!r})."
            )
