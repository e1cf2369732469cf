"""What a link or a form may hand on to Hugging Face PEFT: names and numbers, never a pattern, a path or an address.

PEFT reads a text in `target_modules`, `layers_pattern`, the names in `rank_pattern` and more as regular expressions,
and one that is made for it matches for ever. On one's own machine the library takes them as before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peftcore.errors import HeadroomError, InvalidSetting

_PLAIN = re.compile(r"[A-Za-z0-9_.\- ]*")


def refusal(options: Any, where: str = "options") -> HeadroomError | None:
    """Why these options cannot be taken from a link; None where all their texts are plain."""
    if not isinstance(options, (Mapping, list, tuple)):
        return None  # which the schema refuses
    for path, text in _texts(options, where):
        if not _PLAIN.fullmatch(text):
            return InvalidSetting(
                f"{path} = {text!r} is not possible here; in the app it must be a plain name such as qkv or proj, a "
                'list of them such as ["qkv", "proj"], or all-linear. Regular expressions, paths and addresses can be '
                "given on the command line and in Python."
            )
    return None


def _texts(of: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text in them, names included, with its place."""
    if isinstance(of, str):
        yield path, of
    elif isinstance(of, Mapping):
        for name, value in of.items():
            yield f"a name in {path}", str(name)
            yield from _texts(value, f"{path}.{name}")
    elif isinstance(of, Sequence):
        for value in of:
            yield from _texts(value, path)
