"""Attention as pages show it: where a query looks, two of them to compare, and how far they differ. No torch."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from peftcore.backbone.load import Backbone

MEAN = -1  # in a head's place: the mean over all
ROLLOUT = -2  # in a layer's place: through all of them, by attention rollout


@dataclass(frozen=True)
class Look:
    """Where one query looks: `maps` (heads, rows, columns) weights over patches; `prefix` (heads,) what the class token
    and its like get, `registers` (heads,) what of it registers get. Without a grid of its own the query is `asked`,
    (row, column) of this layer's grid or None."""

    maps: np.ndarray
    prefix: np.ndarray
    asked: tuple[int, int] | None
    has_prefix: bool
    registers: np.ndarray | None = None

    def to_registers(self, head: int) -> float | None:
        """What registers get of one head's attention, or for MEAN of the mean's; None without registers."""
        if self.registers is None:
            return None
        return float(self.registers.mean() if head == MEAN else self.registers[head])

    def head(self, head: int) -> tuple[np.ndarray, float]:
        """One head's map and prefix share, or for MEAN the mean over heads."""
        if head == MEAN:
            return self.maps.mean(0), float(self.prefix.mean())
        return self.maps[head], float(self.prefix[head])


@dataclass(frozen=True)
class Pair:
    """Two attentions to compare. `titles` for the pictures, `names` for their difference; `second_head`: which head of
    the second; `remark`: why there is no second, or no difference; `note`: what is compared where it is not plain."""

    first: Look
    second: Look | None = None
    second_head: int = MEAN
    titles: tuple[str, str] = ("", "")
    names: tuple[str, str] = ("", "")
    remark: str = ""
    note: str = ""

    def elsewhere(self, head: int) -> float:
        """The share of the attention over patches that lies elsewhere in the second: total variation, 0 to 1."""
        assert self.second is not None, "only two attentions differ"
        both = self.first.head(head)[0], self.second.head(self.second_head)[0]
        a, b = (grid / (grid.sum() or 1.0) for grid in both)
        return 0.5 * float(np.abs(b - a).sum())


def recorded(kept: Mapping[str, Any]) -> Look:
    """Where the class token looks in one layer, as scripts/record_looks.py keeps it: float16 (heads, rows, columns)."""
    prefix = np.array(kept["prefix"])
    maps = np.frombuffer(base64.b64decode(kept["maps"]), "<f2").reshape(len(prefix), *kept["grid"])
    return Look(maps.astype(float), prefix, None, True)


def look_of(
    maps: np.ndarray,
    grid: tuple[int, int],
    backbone: Backbone,
    query: tuple[int, int] | None,
    looked_at: tuple[int, int] | None = None,
) -> Look:
    """One row of (heads, N, N): the query's, or the class token's where there is one. `grid`: of those that ask;
    `looked_at`: of what they look at, where that is another."""
    prefix, registers = backbone.prefix_tokens, int(getattr(backbone.module, "num_reg_tokens", 0))
    if query is None and not prefix:
        query = (grid[0] // 2, grid[1] // 2)
    row = maps[:, 0 if query is None else prefix + query[0] * grid[1] + query[1]]  # (heads, N)
    to_patches = row[:, prefix:].reshape(-1, *(looked_at or grid)).astype(float)
    to_registers = row[:, prefix - registers : prefix].sum(1).astype(float) if registers else None
    return Look(to_patches, row[:, :prefix].sum(1).astype(float), query, prefix > 0, to_registers)


def strongest(before: Look, after: Look, head: int) -> float:
    """The largest weight in two maps of one head: the end of a scale that both share."""
    return float(max(before.head(head)[0].max(), after.head(head)[0].max()))


def shift(before: Look, after: Look, head: int) -> float:
    """The share of a head's attention that lies elsewhere: total variation distance over all tokens, 0 to 1."""
    (first, first_prefix), (second, second_prefix) = before.head(head), after.head(head)
    return 0.5 * float(np.abs(second - first).sum() + abs(second_prefix - first_prefix))


def moved(query: tuple[int, int] | None, source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int] | None:
    """The patch of another grid that holds the centre of this grid's patch."""
    if query is None or source == target:
        return query
    row, column = (int((q + 0.5) * t / s) for q, s, t in zip(query, source, target, strict=True))
    return row, column
