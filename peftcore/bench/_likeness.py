"""Whether the updates of two adapters point the same way, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from peftcore.bench._spectra import cosine, overlap
from peftcore.bench._updates import Update
from peftcore.bench.xray import Adapter

DIRECTIONS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Likeness:
    """Tables (layers, projections) of what both adapted; NaN where one did not, or in another shape.

    `output`, `input`: overlap of the spaces of U and of V, by how many leading directions. `cosine`: of the updates as
    vectors. `chance`: how much random spaces of outputs overlap, per direction.
    """

    projections: tuple[str, ...]
    output: Mapping[int, np.ndarray]
    input: Mapping[int, np.ndarray]
    cosine: np.ndarray
    chance: float


def likeness(first: Adapter, second: Adapter) -> Likeness | None:
    """None where they share no projection of one shape."""
    shared = tuple(name for name in first.projections if name in second.projections)
    depth = min(len(first.layers), len(second.layers))
    pairs = {
        (layer, place): (one, two)
        for layer in range(depth)
        for place, name in enumerate(shared)
        if isinstance(one := first.at(layer, name), Update) and isinstance(two := second.at(layer, name), Update)
        and one.shape == two.shape
    }  # fmt: skip
    if not pairs:
        return None
    ranks = min(len(each.values) for pair in pairs.values() for each in pair)
    counts = [count for count in DIRECTIONS if count <= ranks]
    output, into = ({count: np.full((depth, len(shared)), np.nan) for count in counts} for _ in range(2))
    angles = np.full((depth, len(shared)), np.nan)
    for at, (one, two) in pairs.items():
        for count in counts:
            output[count][at] = overlap(one.spectrum.left, two.spectrum.left, count)
            into[count][at] = overlap(one.spectrum.right, two.spectrum.right, count)
        angles[at] = cosine(one.spectrum, two.spectrum)
    chance = float(np.mean([1 / one.shape[0] for one, _ in pairs.values()]))
    return Likeness(shared, output, into, angles, chance)
