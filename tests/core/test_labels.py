"""Labels of points hide neither a point nor another label, and stay in their place."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from peftcore.figures import labels


def boxes(texts, points, across, down):
    found = labels.shifts(texts, points, across, down)
    return [(x + a, y + b, labels.LETTER * len(text) / 2, labels.LINE / 2 - 1)
            for (x, y), (a, b), text in zip(points, found, texts, strict=True)]  # fmt: skip


def overlap(one, other):
    return abs(one[0] - other[0]) < one[2] + other[2] and abs(one[1] - other[1]) < one[3] + other[3]


@pytest.mark.parametrize("across", [260, 850])
@pytest.mark.parametrize("spread", [0.0, 4.0, 60.0, 900.0])
def test_no_label_lies_on_another_or_on_a_point(across, spread):
    """From all points in one to points all over the place."""
    rng = np.random.default_rng(3)
    texts = ["LoRA", "Full fine-tuning", "LAST, q and k normalised", "SSF", "Linear probe", "Serial LoRA"]
    middle = np.array([across / 2, 140])
    points = [tuple(np.clip(middle + rng.uniform(-spread, spread, 2), 9, [across - 9, 271])) for _ in texts]
    found = boxes(texts, points, across, 280)
    assert not any(overlap(a, b) for a, b in combinations(found, 2))
    at = [(x, y, labels.POINT / 2 - 1, labels.POINT / 2 - 1) for x, y in points]
    assert not any(overlap(box, point) for box in found for point in at)
    assert all(x - w >= -4 and x + w <= across + 4 for x, _, w, _ in found)


def test_a_label_with_room_stands_beside_its_point():
    assert labels.shifts(["LoRA"], [(100, 100)], 400, 280) == [(9 + 3 + 2 * labels.LETTER + 3, 0.0)]
