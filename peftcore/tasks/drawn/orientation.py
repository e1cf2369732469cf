"""Orientation: a koi seen from above in its pond; towards which hour of the clock does it swim?

Twelve directions of 30 degrees. The fish bends, its patches and fins differ, it may be large or small and anywhere
in the pond; lily pads, fallen leaves and stones are in the way. Head and tail must be told apart: the slope
of the body is only half of the answer.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from peftcore.task import Task
from peftcore.tasks.drawn import _drawing as d

TITLE = "Koi heading"
DESCRIPTION = "Towards which hour of the clock does the fish swim, seen from above?"
GROUP = "structured"
CLASSES = ("12 o'clock",) + tuple(f"{hour} o'clock" for hour in range(1, 12))
SOURCE = "Drawn by Headroom (peftcore/tasks/drawn/orientation.py), seed 3301"
SYMMETRIES = ("shift",)
SEED = 3301

BIN = 2 * np.pi / len(CLASSES)
MARGIN = 0.9  # headings fill this part of their bin, so that adjacent hours stay distinguishable


def load(argument: str = "") -> Task:
    """The task, made once per process; images are drawn when they are read."""
    return _task()


@lru_cache(maxsize=1)
def _task() -> Task:
    splits = d.draw_splits(scene, len(CLASSES), SEED)
    return Task("orientation", TITLE, DESCRIPTION, GROUP, CLASSES, *splits, source=SOURCE, symmetries=SYMMETRIES)


def scene(rng: np.random.Generator, hour: int) -> np.ndarray:
    """One picture (64, 64, 3), float, of a koi that swims towards `hour` (0 is up, clockwise)."""
    image, water = _pond(rng)
    for _ in range(rng.integers(0, 4)):  # stones on the ground, seen through the water
        grey = d.hsv(rng.uniform(0.05, 0.6), rng.uniform(0.0, 0.3), rng.uniform(0.3, 0.8))
        cx, cy = rng.uniform(0, 64, 2)
        d.pebble(rng, image, cx, cy, rng.uniform(2.5, 6), 0.5 * grey + 0.5 * water)

    heading = (hour + MARGIN * rng.uniform(-0.5, 0.5)) * BIN - np.pi / 2  # from the clock to the x axis
    length = rng.uniform(32, 50)
    cx, cy = rng.uniform(length * 0.5, 64 - length * 0.5, 2)
    _koi(rng, image, (cx, cy), heading, length, water)

    # What floats on top may hide a bit of the tail, never the middle or the head.
    nose_x, nose_y = cx + 0.3 * length * np.cos(heading), cy + 0.3 * length * np.sin(heading)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0, 64, 2)
        size = rng.uniform(5, 10)
        if min(np.hypot(x - cx, y - cy), np.hypot(x - nose_x, y - nose_y)) < 0.25 * length + size:
            continue
        if rng.random() < 0.5:
            _lily(rng, image, x, y, size)
        else:
            colour = d.hsv(rng.uniform(0.02, 0.3), rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.9))
            d.leaf(rng, image, x, y, size * 2, colour)
    glints = d.smooth_noise(rng, 10, 14)
    image += (rng.uniform(0.05, 0.22) * np.clip(glints - 1.5, 0, 1))[..., None]
    return d.photograph(rng, image)


def _pond(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Water (64, 64, 3) with depth, light nets and ripples, and its mean colour (3,)."""
    water = d.hsv(rng.uniform(0.3, 0.62), rng.uniform(0.25, 0.75), rng.uniform(0.28, 0.7))
    net = np.abs(d.smooth_noise(rng, int(rng.integers(5, 9)), int(rng.integers(5, 9))))
    pattern = rng.uniform(0.05, 0.25) * np.exp(-6 * net)  # caustics: bright where the noise crosses zero
    pattern = pattern + rng.uniform(0.05, 0.15) * d.fractal_noise(rng)
    if rng.random() < 0.5:  # rings from a drop
        x, y = rng.uniform(-10, 74, 2)
        distance = np.hypot(d.X - x, d.Y - y)
        rings = np.sin(2 * np.pi * distance / rng.uniform(4, 8)) * np.exp(-distance / 22)
        pattern = pattern + rng.uniform(0.05, 0.18) * rings
    pattern = pattern + rng.uniform(0.05, 0.3) * d.gradient(rng)
    return water * (1 + pattern)[..., None], water


def _koi(
    rng: np.random.Generator,
    image: np.ndarray,
    place: tuple[float, float],
    heading: float,
    length: float,
    water: np.ndarray,
) -> None:
    """Shadow, tail, side fins, body with patches, eyes. t runs along the body from the tail (-1) to the nose (1)."""
    (cx, cy), half = place, length / 2
    width = length * rng.uniform(0.115, 0.15)
    bend = rng.uniform(-0.22, 0.22)  # sideways, in half lengths, at the tip of the tail
    wave = rng.uniform(-0.1, 0.1)
    depth = rng.uniform(0.0, 0.25)  # how much water colour lies over the fish

    def spine(dx: float = 0.0, dy: float = 0.0) -> tuple[d.Window, np.ndarray, np.ndarray]:
        window, x, y = d.local(cx + dx, cy + dy, heading, half * 1.5)
        t = x / half
        behind = np.maximum(0.4 - t, 0)  # the head is straight, the rest swings
        return window, t, y - half * (bend * behind**2 / 2 + wave * np.sin(3 * behind))

    def outline(t: np.ndarray, y: np.ndarray) -> np.ndarray:
        # A slim root of the tail at t = -0.75, broadest just before the middle, a round nose.
        s = np.minimum(np.maximum((t + 0.75) / 1.75, 0), 1)
        belly = 0.22 + 0.78 * s * (1 - s) * (3.1 + 1.6 * s)
        nose = np.minimum(np.maximum((1 - t) / 0.4, 0), 1)
        reach = width * np.minimum(belly, np.sqrt(nose * (2 - nose)))
        return np.minimum(reach - np.abs(y), np.minimum(1 - t, t + 0.75) * half)

    def tail(t: np.ndarray, y: np.ndarray) -> np.ndarray:
        back = np.maximum(-0.6 - t, 0) / 0.5  # 0 at the root, 1 at the rim of the fan
        notch = 0.5 * np.maximum(1 - np.abs(y) / (width * 1.1), 0)
        rim = np.minimum(-0.6 - t, t + 1.15 - 0.3 * notch) * half
        return np.minimum(width * (0.2 + 1.1 * back) - np.abs(y), rim)

    window, t, y = spine(length * 0.06, length * 0.1)
    d.darken(image, window, rng.uniform(0.25, 0.5) * d.cover(np.maximum(outline(t, y), tail(t, y)), 3.5))

    base, patch = _coat(rng)
    fin = 0.5 * base + 0.35 * water + 0.15
    window, t, y = spine()
    rays = 1 + 0.12 * np.sin(y * 2 * np.pi / 1.7)
    d.paint(image, window, 0.75 * d.cover(tail(t, y)), fin * rays[..., None])
    for side in (-1, 1):  # the pair of fins behind the head, swept back
        sweep = heading + side * rng.uniform(1.9, 2.5)
        fx = cx + half * 0.35 * np.cos(heading) + np.cos(sweep) * width * 1.35
        fy = cy + half * 0.35 * np.sin(heading) + np.sin(sweep) * width * 1.35
        root, x, across = d.local(fx, fy, sweep, width * 1.5)
        d.paint(image, root, 0.7 * d.cover(d.ellipse(x, across, width * 0.95, width * 0.5)), fin)

    marks = d.smooth_noise(rng, int(rng.integers(5, 10)))[window]
    coat = base + d.cover(marks - rng.uniform(-0.4, 1.0), 0.3)[..., None] * (patch - base)
    light = 0.7 + 0.35 * np.sqrt(np.maximum(1 - (y / (1.15 * width)) ** 2, 0))  # a round back
    coat = coat * light[..., None]
    coat += 0.18 * (d.cover(0.5 - np.abs(y)) * (np.abs(t) < 0.5))[..., None]  # light on the back
    d.paint(image, window, d.cover(outline(t, y)), (1 - depth) * coat + depth * water)
    for side in (-1, 1):
        eye = 0.55 - np.hypot((t - 0.74) * half, y - side * width * 0.55) + 0.25
        d.paint(image, window, (1 - depth) * d.cover(eye), np.array([0.05, 0.05, 0.06]))


def _coat(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Colours (3,) of the body and of its patches, as in varieties of koi."""
    white, black = np.array([0.95, 0.93, 0.88]), np.array([0.14, 0.14, 0.16])
    orange, gold, red = np.array([0.95, 0.5, 0.12]), np.array([0.93, 0.76, 0.3]), np.array([0.85, 0.22, 0.12])
    grey = np.array([0.55, 0.6, 0.66])
    pairs = ((white, orange), (white, red), (orange, white), (gold, gold), (white, black), (orange, black),
             (red, red), (grey, white), (grey, orange), (black, gold))  # fmt: skip
    base, patch = pairs[rng.integers(len(pairs))]
    shift = rng.normal(0, 0.03, 3)
    return np.clip(base + shift, 0, 1), np.clip(patch + shift, 0, 1)


def _lily(rng: np.random.Generator, image: np.ndarray, cx: float, cy: float, radius: float) -> None:
    """A lily pad: a green disc with a notch and veins, its shadow, sometimes a flower."""
    angle = rng.uniform(0, 2 * np.pi)
    window, x, y = d.local(cx + 0.8, cy + 1.4, angle, radius + 3)
    d.darken(image, window, 0.35 * d.cover(radius - np.hypot(x, y), 3))
    window, x, y = d.local(cx, cy, angle, radius + 2)
    around = np.arctan2(y, x)
    edge = np.minimum(radius - np.hypot(x, y), (np.abs(around) - 0.22) * np.hypot(x, y))
    colour = d.hsv(rng.uniform(0.22, 0.4), rng.uniform(0.4, 0.75), rng.uniform(0.3, 0.7))
    d.paint(image, window, d.cover(edge), colour * (1 + 0.1 * np.cos(9 * around))[..., None])
    if rng.random() < 0.3:
        petals = radius * 0.4 * (1 + 0.25 * np.cos(6 * around))
        d.paint(image, window, d.cover(petals - np.hypot(x, y)), d.hsv(0.92, rng.uniform(0.1, 0.5), 0.95))
        d.paint(image, window, d.cover(radius * 0.13 - np.hypot(x, y)), np.array([0.95, 0.8, 0.2]))
