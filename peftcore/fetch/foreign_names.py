"""Other libraries' names for a backbone's tensors, rewritten to timm's by the tables of foreign_names.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

# ^^ stands for the beginning of a name's component.
_LIBRARIES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text().replace("^^", r"(?:^|(?<=\.))"))
_JOINED: dict[str, list[str]] = _LIBRARIES.pop("joined")


def library_of(names: Collection[str]) -> str | None:
    """Whose names these are: 'transformers', 'torchvision', or None where they may be timm's."""
    signs = {library: re.compile("|".join(tables["signs"])) for library, tables in _LIBRARIES.items()}
    return next((library for library, sign in signs.items() if any(map(sign.search, names))), None)


def to_timms(state: dict[str, Tensor], library: str) -> dict[str, Tensor]:
    """A library's tensors by timm's names, q, k and v joined. Names that no rewriting knows stay."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, new in _LIBRARIES[library]["rewritings"]:
            name = re.sub(pattern, new, name)
        renamed[name] = tensor
    for whole, parts in _JOINED.items():
        for name in [name for name in renamed if f"{parts[0]}." in name]:
            names = [name.replace(f"{parts[0]}.", f"{part}.") for part in parts]
            if all(part in renamed for part in names):
                renamed[name.replace(f"{parts[0]}.", f"{whole}.")] = torch.cat([renamed.pop(part) for part in names])
    return renamed
