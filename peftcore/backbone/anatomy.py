"""What a timm transformer is made of: its attention blocks, and the Linear layers that methods adapt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from peftcore import errors

# Where each projection lives in timm's transformers: the path below a block, and which third of a fused Linear it is.
PROJECTIONS = {
    "q": (("attn.qkv", 0), ("attn.q_proj", None), ("attn.q", None)),
    "k": (("attn.qkv", 1), ("attn.k_proj", None)),
    "v": (("attn.qkv", 2), ("attn.v_proj", None)),
    "proj": (("attn.proj", None),), "fc1": (("mlp.fc1", None),), "fc2": (("mlp.fc2", None),),
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One transformer block: where it is, and what its attention looks like. `grid` is (rows, columns) of tokens."""

    path: str
    stage: int
    width: int
    heads: int
    head_dim: int
    grid: tuple[int, int]


@dataclass(frozen=True)
class Site:
    """One projection of one block: the Linear that computes it, and which rows of that Linear's output it is."""

    path: str
    linear: nn.Linear
    rows: slice

    @property
    def out_features(self) -> int:
        return self.rows.stop - self.rows.start


def anatomy(module: Any, name: str) -> tuple[Block, ...]:
    """The attention blocks of a timm transformer.

    Raises:
        DoesNotFit: the architecture has no sequence of attention blocks on a grid of patches, or blocks of
            other parts.
    """
    if hasattr(module, "blocks"):
        stages = [("blocks", module)]
    else:
        stages = [(f"layers.{s}.blocks", layer) for s, layer in enumerate(getattr(module, "layers", ()))]
    paths = [(f"{at}.{i}", s) for s, (at, part) in enumerate(stages) for i in range(len(getattr(part, "blocks", ())))]
    if not paths:
        raise errors.DoesNotFit(f"{name} has no attention blocks; choose a ViT or Swin architecture.")
    patches: Any = getattr(module, "patch_embed", None)
    if not (getattr(patches, "grid_size", None) and getattr(patches, "img_size", None) and hasattr(module, "norm")):
        raise errors.DoesNotFit(
            f"{name} has no fixed grid of patches before its blocks or no norm after them; Headroom works on ViT and "
            "Swin families."
        )
    blocks = []
    for path, stage in paths:
        block = module.get_submodule(path)
        attention: Any = getattr(block, "attn", None)
        if not hasattr(attention, "num_heads"):
            raise errors.DoesNotFit(
                f"{name}: {path} has no attention with heads; Headroom works on ViT and Swin families."
            )
        width = next(p.shape[0] for p in block.norm1.parameters())
        grid = getattr(block, "input_resolution", None) or patches.grid_size
        # Of what the heads put out: in differential attention `head_dim` is half of a head.
        heads, out = attention.num_heads, getattr(getattr(attention, "proj", None), "in_features", width)
        blocks.append(Block(path, stage, width, heads, out // heads, tuple(grid)))
    return tuple(blocks)
