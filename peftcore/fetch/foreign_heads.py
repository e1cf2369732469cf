"""Which rows of an adapter that was trained elsewhere belong to which head: its layers' names, and its base's heads."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from peftcore import errors
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.fetch import petl_vit
from peftcore.fetch.peft_export import Pairs
from peftcore.fetch.peft_folder import read_peft
from peftcore.methods._scores import by_head

# The Linear layers whose output rows belong to heads, as timm and transformers call them.
_ROWS = {"qkv": "qkv", "query": "q", "key": "k", "value": "v"} | {
    name: name[0] for p in "qkv" for name in (p, f"{p}_proj")
}


def energies(
    source: Path,
    origin: Literal["peft", "petl_vit"],
    backbone: Backbone | str | None = None,
    heads: int | Sequence[int] | None = None,
    scale: float | None = None,
) -> Iterator[tuple[int, str, str, np.ndarray]]:
    """For each adapted projection the layer, the path of its block, q, k or v, and ||dW_h||_F of its heads, (heads,).

    Raises: as `peftcore.head_energy`.
    """
    if isinstance(backbone, str):
        backbone = load_backbone(backbone, pretrained=False, device="meta")
    if origin == "peft":
        file = read_peft(source)
        pairs, base = file.pairs(), file.base
    else:
        shape = {"depth": backbone.depth, "width": backbone.width} if backbone else {}
        pairs, base = petl_vit.read(source, scale, **shape).pairs(), "vit_base_patch16_224"
    updates = _by_block(pairs)
    if not updates:
        raise errors.NotMeasurable(
            f"{str(source)!r} has no low-rank update on q, k or v: none of its heads can be scored."
        )
    for layer, (path, count, width) in enumerate(_blocks(updates, backbone, heads, base)):
        for projection in {p for update in updates.values() for p in update}:
            dW = updates.get(path, {}).get(projection, torch.full((width, 1), torch.nan))
            if len(dW) != width:
                raise errors.InvalidSetting(
                    f"{projection} of {path} has {len(dW)} rows in {str(source)!r}, which are not {count} heads of "
                    f"{width // count}; give the backbone that it was trained on, or its heads."
                )
            yield layer, path, projection, by_head(dW, count).norm(dim=1).double().numpy()


def _by_block(pairs: Pairs) -> dict[str, dict[str, Tensor]]:
    """Path of each block with q, k or v, up to its last number -> projection -> dW, in the blocks' order."""
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for path, (A, B) in sorted(pairs.items(), key=lambda pair: [int(n) for n in re.findall(r"\d+", pair[0])]):
        block, names = re.match(r"(.*\d)\.", path), _ROWS.get(path.rpartition(".")[2], "")
        if block and names:
            if B.ndim != 2 or len(B) % len(names):
                raise errors.BadAdapter(f"lora_B of {path} is {tuple(B.shape)}, not rows of {', '.join(names)}.")
            found[block[1]] |= {
                projection: rows @ A for projection, rows in zip(names, B.chunk(len(names)), strict=True)
            }
    return found


def _blocks(
    found: dict[str, dict[str, Tensor]], backbone: Backbone | None, heads: int | Sequence[int] | None, base: str | None
) -> list[tuple[str, int, int]]:
    """Each block's path, how many heads it has, and how many rows of a projection they are."""
    if heads is not None:
        widths = [len(next(iter(updates.values()))) for updates in found.values()]
        counts = [heads] * len(widths) if isinstance(heads, int) and len({*widths}) == 1 else list(np.ravel(heads))
        if len(counts) != len(widths) or not all(isinstance(n, Integral) and int(n) > 0 for n in counts):
            raise errors.InvalidSetting(
                f"heads = {heads!r} does not fit; give one whole number for each of {len(widths)} blocks, or a single "
                "one where all are of one width."
            )
        return [(path, int(n), width // int(n) * int(n)) for path, n, width in zip(found, counts, widths, strict=True)]
    try:
        backbone = backbone or load_backbone(str(base).removeprefix("timm/"), pretrained=False, device="meta")
    except errors.HeadroomError:
        raise errors.InvalidSetting(
            f"How many heads a block has is not in the file, and its base model ({base}) is not one that timm knows; "
            "give backbone='NAME', the one that it was trained on, or heads=12."
        ) from None
    paths = [block.path for block in backbone.blocks]
    if found.keys() - {*paths} and len(found) != len(paths):
        raise errors.InvalidSetting(
            f"The file adapts {len(found)} blocks ({next(iter(found))} first); {backbone.name} has {len(paths)}, under "
            "other names. Give the backbone that it was trained on, or heads=12."
        )
    paths = list(found) if found.keys() - {*paths} else paths
    return [(path, b.heads, b.heads * b.head_dim) for path, b in zip(paths, backbone.blocks, strict=True)]
