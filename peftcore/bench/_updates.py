"""An update of one projection, and which projections of which block a Linear's path names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from peftcore.bench._spectra import Spectrum, decompose, effective_rank

# The Linear layers of a block by the names of timm and of transformers, matched at the end of a path.
_NAMES = {
    r"qkv": ("q", "k", "v"),
    r"q|query|q_proj": ("q",),
    r"k|key|k_proj": ("k",),
    r"v|value|v_proj": ("v",),
    r"attn\.proj|out_proj|o_proj|attention\.output\.dense": ("proj",),
    r"fc1|intermediate\.dense": ("fc1",),
    r"fc2|output\.dense": ("fc2",),
}
ORDER = ("q", "k", "v", "proj", "fc1", "fc2")


@dataclass(frozen=True)
class Measured:
    """What is said of an update dW (d_out, d_in) of one projection, small however large it is.

    `layer`: from 0; None outside blocks. `values`: singular values, from the largest.
    """

    path: str
    layer: int | None
    projection: str
    shape: tuple[int, int]
    rank: int
    values: np.ndarray

    @property
    def norm(self) -> float:
        """||dW||_F."""
        return float(np.linalg.norm(self.values))

    @property
    def effective_rank(self) -> float:
        return effective_rank(self.values)


@dataclass(frozen=True)
class Update(Measured):
    """With its factors, dW = B A: A (r, d_in), B (d_out, r) scale included."""

    A: np.ndarray
    B: np.ndarray
    spectrum: Spectrum

    @classmethod
    def of(cls, path: str, layer: int | None, projection: str, A: np.ndarray, B: np.ndarray) -> Update:
        found = decompose(A, B)
        return cls(path, layer, projection, (len(B), A.shape[1]), len(A), found.values, A, B, found)

    def measured(self) -> Measured:
        """Without its factors."""
        return Measured(self.path, self.layer, self.projection, self.shape, self.rank, self.values)


def numbers(path: str) -> tuple[list[int], str]:
    return [int(number) for number in re.findall(r"\d+", path)], path


def block_of(path: str) -> str:
    """A path up to its last number, where it is a layer of a block; '' elsewhere."""
    match = re.match(r"(.*\d)\.", path)
    return match[1] if match and projections_of(path) else ""


def projections_of(path: str) -> tuple[str, ...]:
    return next((names for ending, names in _NAMES.items() if re.search(rf"(^|\.)({ending})$", path)), ())


def split(path: str, A: np.ndarray, B: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The projections of a fused Linear. What was not trained in it has only zeros and is left out; so are the columns
    of B that belong to the others."""
    names = projections_of(path) or (path.rpartition(".")[2],)
    for name, rows in zip(names, np.split(B, len(names)), strict=True):
        used = rows.any(0)
        if len(names) == 1 or not B.any():
            yield name, A, rows
        elif used.any():
            yield name, A[used], rows[:, used]
