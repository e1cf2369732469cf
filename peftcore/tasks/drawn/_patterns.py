"""Endless patterns, computed at any coordinates: the walls, cloth and stone of the drawn tasks."""

from __future__ import annotations

import numpy as np

from peftcore.tasks.drawn._drawing import X, Y


def turned(rng: np.random.Generator, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (SIZE, SIZE) in pixels along and across `angle`, with a random origin."""
    (ox, oy), cos, sin = rng.uniform(0, 1000, 2), np.cos(angle), np.sin(angle)
    return cos * X + sin * Y + ox, -sin * X + cos * Y + oy


def noise_at(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Smooth noise of mean 0 and variance about 1 at any coordinates, one bump per unit; it repeats after 64."""
    table = rng.standard_normal((64, 64)) * 1.45  # makes up for the deviation lost by blending four
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    u, v = x - column, y - row
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    left, right, top, below = column & 63, (column + 1) & 63, row & 63, (row + 1) & 63
    upper = (1 - u) * table[top, left] + u * table[top, right]
    return (1 - v) * upper + v * ((1 - u) * table[below, left] + u * table[below, right])


def mosaic(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, jitter: float = 0.9
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stones of about unit size around jittered lattice points (Worley 1996): the distances to the nearest and the
    second nearest point, and a random number in 0..1 for the stone, each of the shape of x and y."""
    points = 0.5 + jitter * (rng.random((16, 16, 2)) - 0.5)
    tones = rng.random((16, 16))
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    first = second = np.full(x.shape, np.inf)
    tone = np.zeros(x.shape)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            at = ((row + down) & 15, (column + right) & 15)
            point = points[at]
            distance = (column + right + point[..., 0] - x) ** 2 + (row + down + point[..., 1] - y) ** 2
            tone = np.where(distance < first, tones[at], tone)
            second = np.minimum(second, np.maximum(first, distance))
            first = np.minimum(first, distance)
    return np.sqrt(first), np.sqrt(second), tone


def bond(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, high: float, long: float
) -> tuple[np.ndarray, np.ndarray]:
    """A wall of bricks high x long, every other course half a brick aside: the distance to the nearest joint, in the
    unit of x and y, and a random number in 0..1 for the brick."""
    course = np.floor(y / high)
    along = x / long + course % 2 / 2
    joint = np.minimum((0.5 - np.abs(along % 1 - 0.5)) * long, (0.5 - np.abs(y / high % 1 - 0.5)) * high)
    return joint, rng.random((64, 64))[course.astype(int) & 63, np.floor(along).astype(int) & 63]
