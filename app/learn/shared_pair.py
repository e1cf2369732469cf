"""One low-rank pair before several projections: the updates that it can make of them, and those that it can't. NumPy.

A pair BA on the input of W_q, W_k and W_v changes each W by W BA: with the three stacked, (3d, d), the update is W M,
M = BA of rank r. The best M for wanted updates T, by least squares, is the projection of T on what W can reach, cut to
r singular values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PARTS = ("q", "k", "v")


class Fit(NamedTuple):
    """`made`: the nearest update that a shared pair makes, of the shape of what was wanted; `missed`: the share of what
    was wanted that it misses, as length."""

    made: np.ndarray
    missed: float


def nearest(weights: np.ndarray, wanted: np.ndarray, rank: int) -> Fit:
    """The nearest W M to `wanted` (rows, d) with M (d, d) of rank `rank`; `weights` (rows, d)."""
    U, S, _ = np.linalg.svd(weights, full_matrices=False)
    U = U[:, S / S[0] > 1e-10]
    left, values, right = np.linalg.svd(U.T @ wanted, full_matrices=False)
    made = U @ (left[:, :rank] * values[:rank]) @ right[:rank]
    return Fit(made, float(np.linalg.norm(made - wanted) / np.linalg.norm(wanted)))


def example(together: float, width: int = 6, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Weights and wanted updates (3 width, width) of a small layer. One shared matrix of rank 1 is wanted of q, and of
    k and v the share `together` of it: at 1 a shared pair of rank 1 makes it, at 0 it is wanted of q alone."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(3 * width, width)) / np.sqrt(width)
    shared = np.outer(rng.normal(size=width), rng.normal(size=width)) / width
    share = np.repeat([1.0, together, together], width)[:, None]
    return weights, share * (weights @ shared)
