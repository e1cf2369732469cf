"""What a low-rank update dW = B A is made of: singular values, effective rank, and how two updates lie to each other.

Everything here takes the small factors as plain arrays, A (r, d_in) and B (d_out, r), and never forms dW: with
B = Q_B R_B and A^T = Q_A R_A, dW = Q_B (R_B R_A^T) Q_A^T has the singular values of an r x r matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from peftcore.errors import BadData


class Spectrum(NamedTuple):
    """dW = left @ diag(values) @ right.T: left (d_out, k), values (k,) from the largest, right (d_in, k), k <= r."""

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray


def decompose(A: np.ndarray, B: np.ndarray) -> Spectrum:
    """The singular value decomposition of B A.

    Raises:
        BadData: A and B do not share a rank, or hold something other than finite numbers.
    """
    A, B = np.asarray(A, float), np.asarray(B, float)
    if A.ndim != 2 or B.ndim != 2 or len(A) != B.shape[1]:
        raise BadData(f"An update B A needs A (r, d_in) and B (d_out, r); given were {A.shape} and {B.shape}.")
    if not (np.isfinite(A).all() and np.isfinite(B).all()):
        raise BadData(
            "An update B A needs finite numbers; a file that holds others is damaged, or its scale too large."
        )
    out, above = np.linalg.qr(B)  # (d_out, k), (k, r)
    into, beside = np.linalg.qr(A.T)  # (d_in, l), (l, r)
    left, values, right = np.linalg.svd(above @ beside.T, full_matrices=False)
    return Spectrum(out @ left, values, into @ right.T)


def effective_rank(values: np.ndarray) -> float:
    """exp of the entropy of the normalised singular values, p_i = s_i / sum s: 1 for one direction, n for n equal ones.

    Source: Roy and Vetterli, The effective rank: a measure of effective dimensionality, EUSIPCO 2007. 0 where dW = 0.
    """
    values = np.asarray(values, float)
    if not values.sum() > 0:
        return 0.0
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def overlap(first: np.ndarray, second: np.ndarray, directions: int) -> float:
    """How much the first `directions` columns of two orthonormal bases (d, k) span the same space: 0 to 1.

    ||U^T V||_F^2 / k, as in LoRA (Hu et al. 2021, arXiv 2106.09685, section 7.2). Random spaces overlap by k / d.
    NaN where one of them has fewer columns.
    """
    if min(first.shape[1], second.shape[1]) < directions or len(first) != len(second):
        return float("nan")
    return float(np.square(first[:, :directions].T @ second[:, :directions]).sum() / directions)


def cosine(one: Spectrum, two: Spectrum) -> float:
    """The cosine between two updates as vectors: <dW, dW'> / (||dW|| ||dW'||); 0 where one is zero."""
    sizes = np.linalg.norm(one.values) * np.linalg.norm(two.values)
    inner = one.values @ ((one.left.T @ two.left) * (one.right.T @ two.right)) @ two.values
    return float(inner / sizes) if sizes else 0.0
