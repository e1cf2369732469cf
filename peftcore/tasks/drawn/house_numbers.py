"""House numbers: real handwriting as numbers on a wall; which digit is in the middle?

scikit-learn's digits, painted, cast or enamelled on plates and walls. As in street view, the digits to the left and
right belong to the same number and do not count. The digits themselves are split as in the task `digits`: none that
either task trains on is in the test pictures of the other. Each of the 797 test digits is drawn once or twice.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from peftcore.task import Task
from peftcore.tasks.drawn import _drawing as d
from peftcore.tasks.drawn import _patterns as patterns
from peftcore.tasks.drawn import digits
from peftcore.uploads.division import stratified_split

TITLE = "House numbers"
DESCRIPTION = "Which digit is in the middle of the number on the wall? Real handwriting in drawn streets."
GROUP = "natural"
CLASSES = digits.CLASSES
SOURCE = f"{digits.SOURCE}; streets drawn by Headroom (peftcore/tasks/drawn/house_numbers.py), seed 2217"
SEED = 2217
SYMMETRIES = ("shift",)  # moved farther, a neighbour would be in the middle


def load(argument: str = "") -> Task:
    """The task, made once per process; images are drawn when they are read."""
    return _task()


@lru_cache(maxsize=1)
def _task() -> Task:
    train, val, test = (
        d.draw_split(partial(picture, *handwriting(number)), SEED, number, count, len(CLASSES))
        for number, count in enumerate(d.SIZES.values())
    )
    return Task(
        "house_numbers", TITLE, DESCRIPTION, GROUP, CLASSES, train, val, test, source=SOURCE, symmetries=SYMMETRIES
    )


def handwriting(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The digits (n, 8, 8) in 0..1 that split `number` may show, and the index of the middle one of each picture."""
    from sklearn.datasets import load_digits

    data = load_digits()
    part = stratified_split(data.target, digits.SIZES, digits.SEED)[number]
    labels = d.split_labels(SEED, number, tuple(d.SIZES.values())[number], len(CLASSES))
    middles = np.empty(len(labels), dtype=np.int64)
    for label in range(len(CLASSES)):  # every digit once before any is repeated
        places, own = np.flatnonzero(labels == label), np.flatnonzero(data.target[part] == label)
        middles[places] = own[np.arange(len(places)) % len(own)]
    return data.images[part] / 16, middles


def picture(
    written: np.ndarray, middles: np.ndarray, rng: np.random.Generator, index: int, label: int | None = None
) -> np.ndarray:
    """Picture number `index` (64, 64, 3), float, of the split with this `handwriting`; random digits beside it."""
    return scene(rng, written[middles[index]], *written[rng.choice(len(written), 2)])


def scene(rng: np.random.Generator, middle: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """One picture (64, 64, 3), float, of a number with these digits (8, 8); the outer two may be missing."""
    wall, dark = _wall(rng)
    high = rng.uniform(32, 48)  # of a digit, in pixels
    wide = high * rng.uniform(0.72, 0.95)
    cx, cy = 32 + rng.uniform(-3, 3, 2)
    slant, turn, rise = rng.uniform(-0.2, 0.2), rng.normal(0, 0.07), rng.normal(0, 0.05)
    step = wide * rng.uniform(0.74, 0.98)
    shown = [(middle, 0.0)]
    there = rng.choice(4, p=[0.2, 0.27, 0.27, 0.26])  # alone, left, right, both
    shown += [(left, -step)] * (there in (1, 3)) + [(right, step)] * (there in (2, 3))

    ground = dark
    if rng.random() < 0.6:
        ground = _plate(rng, wall, cx, cy, turn, high, wide, [off for _, off in shown])
    ink = _ink(rng, ground)
    coverage = np.zeros((d.SIZE, d.SIZE))
    weight = rng.uniform(0.3, 0.5)  # threshold: bold if low, thin if high
    for image, off in shown:
        drop = off * rise + rng.normal(0, 0.6)
        at = cx + np.cos(turn) * off - np.sin(turn) * drop, cy + np.sin(turn) * off + np.cos(turn) * drop
        coverage = np.maximum(coverage, _stamp(image, at, high, wide, turn, slant, weight))
    return d.photograph(rng, _fix(rng, wall, coverage, ink))


def _stamp(
    image: np.ndarray, at: tuple[float, float], high: float, wide: float, turn: float, slant: float, weight: float
) -> np.ndarray:
    """Coverage (64, 64) of a digit (8, 8) scaled to high x wide pixels around `at`, slanted and turned."""
    from PIL import Image

    cos, sin = np.cos(turn), np.sin(turn)
    # From a pixel to the digit's own 8 x 8 grid (with a border of one): turn back, slant back, shrink.
    down = np.array([-sin, cos]) * 8 / high
    across = np.array([cos, sin]) * 8 / wide + slant * down
    rows = [(*line, 5 - line @ np.array(at)) for line in (across, down)]
    padded = Image.fromarray(np.pad(image, 1).astype(np.float32))
    value = padded.transform((d.SIZE, d.SIZE), Image.Transform.AFFINE, (*rows[0], *rows[1]), Image.Resampling.BICUBIC)
    return d.cover(np.asarray(value, dtype=np.float64) - weight, 0.28)


def _fix(rng: np.random.Generator, wall: np.ndarray, coverage: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """The digits on the wall: painted flat and worn, or cast in metal with a light edge and a shadow."""
    image = wall
    if rng.random() < 0.5:
        worn = np.clip(1 - rng.uniform(0, 0.4) * np.clip(d.fractal_noise(rng, (8, 20, 40)), 0, 1.5), 0, 1)
        cover = coverage * worn * rng.uniform(0.75, 1)
        return image + cover[..., None] * (ink - image)
    shift = rng.integers(1, 3)
    shadow = np.roll(coverage, (shift, rng.integers(-1, 2)), (0, 1))
    image = image * (1 - rng.uniform(0.25, 0.55) * shadow[..., None])
    edge = coverage - np.roll(coverage, (1, 1), (0, 1))
    tone = ink * (0.95 + 0.18 * np.clip(edge, -1, 1) + 0.12 * d.gradient(rng))[..., None]
    return image + coverage[..., None] * (tone - image)


def _ink(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour (3,) that stands out from the ground, sometimes only just."""
    while True:
        ink = d.hsv(rng.random(), rng.choice([0.08, 0.3, 0.8]) * rng.uniform(0.5, 1.1), rng.uniform(0.05, 1))
        if np.abs((ink - ground) @ np.array([0.3, 0.59, 0.11])) > 0.27:
            return ink


def _wall(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A wall (64, 64, 3) of bricks, boards, plaster or stones, and its mean colour (3,)."""
    kind = rng.integers(4)
    base = d.hsv(
        rng.choice([0.03, 0.09, 0.12, 0.3, 0.58, rng.random()]), rng.uniform(0.05, 0.6), rng.uniform(0.25, 0.9)
    )
    x, y = patterns.turned(rng, rng.normal(0, 0.04))
    if kind == 0:
        joint, tone = patterns.bond(rng, x, y, rng.uniform(6, 11), rng.uniform(14, 24))
        pattern = 0.3 * (tone - 0.5) + rng.uniform(-0.3, 0.3) * d.cover(0.7 - joint)
    elif kind == 1:
        board = rng.uniform(7, 15)
        place = y / board % 1
        pattern = 0.06 * patterns.noise_at(rng, x / 14, y / 1.2) + 0.1 * place - 0.35 * d.cover((0.06 - place) * board)
    elif kind == 2:
        pattern = rng.uniform(0.03, 0.09) * d.fractal_noise(rng, (4, 12, 30, 60))
    else:
        size = rng.uniform(10, 18)
        near, other, tone = patterns.mosaic(rng, x / size, y / size * 1.3)
        pattern = 0.3 * (tone - 0.5) - 0.28 * d.cover(1.2 - (other - near) * size * 0.6)
    pattern = pattern + 0.03 * d.fractal_noise(rng) + rng.uniform(0.05, 0.3) * d.gradient(rng)
    return base * (1 + pattern)[..., None], base


def _plate(
    rng: np.random.Generator, image: np.ndarray, cx: float, cy: float, turn: float, high: float, wide: float,
    offsets: list[float],
) -> np.ndarray:  # fmt: skip
    """A plate under the digits, with a rim, screws and a shadow, painted in place; its colour (3,)."""
    colour = d.hsv(rng.choice([0.0, 0.12, 0.35, 0.6, 0.63]), rng.choice([0.06, 0.5, 0.85]), rng.uniform(0.15, 0.95))
    left, right = min(offsets) - 0.55 * wide, max(offsets) + 0.55 * wide
    half_w, half_h = (right - left) / 2 + rng.uniform(0, 3), high / 2 + rng.uniform(1, 5)
    along = (left + right) / 2
    x = np.cos(turn) * (d.X - cx) + np.sin(turn) * (d.Y - cy) - along
    y = -np.sin(turn) * (d.X - cx) + np.cos(turn) * (d.Y - cy)
    radius = rng.choice([1.0, 4.0, 0.8 * half_h])
    qx, qy = np.abs(x) - half_w + radius, np.abs(y) - half_h + radius
    edge = radius - np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) - np.minimum(np.maximum(qx, qy), 0)
    image *= (1 - 0.4 * np.roll(d.cover(edge, 3), (2, 1), (0, 1)))[..., None]
    sheen = 1 + rng.uniform(0.05, 0.25) * d.gradient(rng) + 0.02 * d.fractal_noise(rng)
    image += d.cover(edge)[..., None] * (colour * sheen[..., None] - image)
    if rng.random() < 0.6:
        rim = d.hsv(rng.random(), rng.uniform(0, 0.4), rng.uniform(0.1, 1))
        image += 0.9 * d.cover(rng.uniform(0.4, 0.9) - np.abs(edge - rng.uniform(1, 2.5)))[..., None] * (rim - image)
    for sx in (-1, 1):
        screw = d.cover(1.1 - np.hypot(x - sx * (half_w - 2.6), y))
        image += screw[..., None] * (0.45 - image)
    return colour
