"""Position: a crab on the beach; in which square of a four by four grid does it sit?

Sixteen squares, named as on a chart: A1 is the top left, D4 the bottom right. The crab may be of any colour and look
any way; starfish, shells, stones and weed of the same colours lie about, so that only legs and claws give it away.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from peftcore.task import Task
from peftcore.tasks.drawn import _drawing as d
from peftcore.tasks.drawn import _patterns as patterns

TITLE = "Crab on the beach"
DESCRIPTION = "In which square of a 4 x 4 grid (A1 to D4) does the crab sit, among starfish, shells and stones?"
GROUP = "structured"
CLASSES = tuple(f"{row}{column}" for row in "ABCD" for column in range(1, 5))
SOURCE = "Drawn by Headroom (peftcore/tasks/drawn/position.py), seed 1202"
SEED = 1202
SYMMETRIES = ()  # whatever moves the crab moves it to another square, or nearly

CELL = 16  # pixels on a side
MARGIN = 0.8  # the crab's middle stays in this part of its square, so that adjacent squares stay distinguishable
HUES = (0.01, 0.05, 0.09, 0.12, 0.3, 0.52, 0.6, 0.93)  # of crabs and of everything else alike


def load(argument: str = "") -> Task:
    """The task, made once per process; images are drawn when they are read."""
    return _task()


@lru_cache(maxsize=1)
def _task() -> Task:
    splits = d.draw_splits(scene, len(CLASSES), SEED)
    return Task("position", TITLE, DESCRIPTION, GROUP, CLASSES, *splits, source=SOURCE, symmetries=SYMMETRIES)


def scene(rng: np.random.Generator, square: int) -> np.ndarray:
    """One picture (64, 64, 3), float, with one crab, its middle in `square` (numbered by rows from the top left)."""
    image = _beach(rng)
    row, column = divmod(square, 4)
    cx, cy = (np.array([column, row]) + 0.5 + MARGIN * rng.uniform(-0.5, 0.5, 2)) * CELL
    size = rng.uniform(4, 6.2)
    taken = [(cx, cy, 1.7 * size)]
    for _ in range(rng.integers(4, 9)):
        (x, y), radius = rng.uniform(2, 62, 2), rng.uniform(3, 6.5)
        if any(np.hypot(x - a, y - b) < radius + r for a, b, r in taken):
            continue
        taken.append((x, y, radius))
        THINGS[rng.integers(len(THINGS))](rng, image, x, y, radius, _tint(rng))
    _crab(rng, image, cx, cy, size, _tint(rng))
    return d.photograph(rng, image)


def _tint(rng: np.random.Generator) -> np.ndarray:
    return d.hsv(rng.choice(HUES) + rng.normal(0, 0.015), rng.uniform(0.25, 0.85), rng.uniform(0.45, 0.95))


def _beach(rng: np.random.Generator) -> np.ndarray:
    """Sand (64, 64, 3), rippled by wind, with grains; often the edge of a wave with its foam."""
    sand = d.hsv(rng.uniform(0.07, 0.13), rng.uniform(0.12, 0.45), rng.uniform(0.6, 0.92))
    along, across = patterns.turned(rng, rng.uniform(0, np.pi))
    ripple = np.sin(2 * np.pi * (across + 2.5 * d.smooth_noise(rng, 4)) / rng.uniform(4, 9))
    pattern = rng.uniform(0, 0.07) * ripple + rng.uniform(0.02, 0.05) * d.fractal_noise(rng, (3, 8, 20, 50))
    image = sand * (1 + pattern + rng.uniform(0.05, 0.2) * d.gradient(rng))[..., None]
    image = image * (1 + 0.05 * rng.standard_normal((d.SIZE, d.SIZE, 1)))
    if rng.random() < 0.6:  # the wave comes in from some side
        angle = rng.uniform(0, 2 * np.pi)
        inland = (
            np.cos(angle) * (d.X - 32) + np.sin(angle) * (d.Y - 32) + rng.uniform(5, 26) + 3 * d.smooth_noise(rng, 4)
        )
        image *= (1 - 0.28 * d.cover(9 - inland, 12))[..., None]  # wet sand
        sea = d.hsv(rng.uniform(0.45, 0.58), rng.uniform(0.25, 0.6), rng.uniform(0.5, 0.85))
        light = 1 + 0.12 * np.exp(-5 * np.abs(d.smooth_noise(rng, 9))) + 0.004 * inland
        image += (0.75 * d.cover(-inland, 3))[..., None] * (sea * light[..., None] - image)
        foam = d.cover(1.6 + 0.8 * d.smooth_noise(rng, 16) - np.abs(inland), 1.5)
        image += (0.8 * foam)[..., None] * (0.96 - image)
    return image


def _crab(rng: np.random.Generator, image: np.ndarray, cx: float, cy: float, size: float, colour: np.ndarray) -> None:
    """A broad shell, eight bent legs, two claws in front, two eyes; `size` is half the shell's breadth."""
    facing = rng.uniform(0, 2 * np.pi)
    window, x, y = d.local(cx, cy, facing, 2.4 * size)  # x to the front, y to its right
    legs = np.full(x.shape, np.inf)
    for side in (-1, 1):
        for leg in range(4):
            fan = (1.5 - leg) * 0.42 + rng.normal(0, 0.08)
            knee = (size * (0.2 + 0.75 * fan), side * size * 1.25)
            foot = (size * (0.05 + 1.35 * fan), side * size * rng.uniform(1.55, 1.75))
            hip = (0.35 * fan * size, 0.7 * side * size)
            legs = np.minimum(legs, np.minimum(d.segment(x, y, hip, knee), d.segment(x, y, knee, foot) + 0.2))
    limbs = 0.13 * size - legs
    claws = np.full(x.shape, -np.inf)
    for side in (-1, 1):
        elbow, wrist = (0.75 * size, side * 1.15 * size), (1.3 * size, side * rng.uniform(0.65, 0.9) * size)
        arm = 0.17 * size - np.minimum(
            d.segment(x, y, (0.3 * size, 0.8 * side * size), elbow), d.segment(x, y, elbow, wrist)
        )
        u, v = x - wrist[0] - 0.15 * size, y - wrist[1]
        pincer = np.minimum(
            d.ellipse(u, v, 0.55 * size, 0.36 * size), np.maximum(np.abs(v) - 0.3 * np.maximum(u, 0), 0.25 - u)
        )
        claws = np.maximum(claws, np.maximum(arm, pincer))
    shell = d.ellipse(x + 0.1 * size * (y / size) ** 2, y, 0.72 * size, size)
    body = np.maximum(np.maximum(limbs, claws), shell)
    d.darken(image, window, 0.45 * np.roll(d.cover(body, 2.5), 1, axis=0))
    d.paint(image, window, d.cover(limbs), 0.75 * colour)
    d.paint(image, window, d.cover(claws), colour * (1.05 + 0.1 * np.clip(claws, 0, 2)[..., None]))
    dome = 0.68 + 0.45 * np.sqrt(np.clip(shell / (0.72 * size), 0, 1)) + 0.12 * np.cos(3.2 * y / size) * (x < 0)
    d.paint(image, window, d.cover(shell), colour * dome[..., None])
    for side in (-1, 1):
        eye = 0.16 * size + 0.15 - np.hypot(x - 0.74 * size, y - 0.28 * side * size)
        d.paint(image, window, d.cover(eye), np.array([0.06, 0.05, 0.06]))


def _starfish(
    rng: np.random.Generator, image: np.ndarray, cx: float, cy: float, radius: float, colour: np.ndarray
) -> None:
    """Five tapering arms with a row of warts along each."""
    window, x, y = d.local(cx, cy, rng.uniform(0, 2 * np.pi), radius + 3)
    tenth = np.pi / 5
    angle = np.abs((np.arctan2(y, x) + tenth) % (2 * tenth) - tenth)
    distance = np.hypot(x, y)
    along, across = distance * np.cos(angle), distance * np.sin(angle)
    edge = np.minimum(0.34 * radius * (1 - along / radius) + 0.5 - across, radius - along)
    d.darken(image, window, 0.4 * np.roll(d.cover(edge, 2.5), 1, axis=0))
    wart = 0.22 * d.cover(0.7 - across) * (np.cos(2 * np.pi * along / 2.2) > 0)
    d.paint(image, window, d.cover(edge), colour * (0.82 + 0.12 * np.clip(edge, 0, 2) + wart)[..., None])


def _scallop(
    rng: np.random.Generator, image: np.ndarray, cx: float, cy: float, radius: float, colour: np.ndarray
) -> None:
    """A fan of ribs from its hinge."""
    window, x, y = d.local(cx, cy, rng.uniform(0, 2 * np.pi), radius + 3)
    x = x + 0.75 * radius
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    rim = 1.75 * radius * (np.cos(0.9 * angle) + 0.03 * np.cos(14 * angle))
    edge = np.minimum(np.minimum(rim - distance, (1.05 - np.abs(angle)) * distance), x + 1)
    edge = np.maximum(edge, np.minimum(0.3 * radius - np.abs(y), 0.22 * radius - np.abs(x - 0.05 * radius)))  # the ears
    d.darken(image, window, 0.4 * np.roll(d.cover(edge, 2.5), 1, axis=0))
    ribs = 0.85 + 0.16 * np.cos(14 * angle) + 0.12 * np.cos(distance / radius * 5)
    pale = 0.45 + 0.55 * colour
    d.paint(image, window, d.cover(edge), pale * ribs[..., None])


def _snail(
    rng: np.random.Generator, image: np.ndarray, cx: float, cy: float, radius: float, colour: np.ndarray
) -> None:
    """A wound shell: a disc with a dark spiral."""
    window, x, y = d.local(cx, cy, rng.uniform(0, 2 * np.pi), radius + 3)
    radius = 0.75 * radius
    distance, angle = np.hypot(x, y), np.arctan2(y, x)
    edge = radius * (1 + 0.1 * angle / np.pi) - distance
    d.darken(image, window, 0.4 * np.roll(d.cover(edge, 2.5), 1, axis=0))
    turn = (3.2 * (distance / radius) ** 0.7 - rng.choice([-1, 1]) * angle / (2 * np.pi)) % 1
    groove = 0.75 + 0.4 * np.sin(np.pi * turn) ** 0.7
    d.paint(image, window, d.cover(edge), (0.25 + 0.75 * colour) * groove[..., None])


def _weed(rng: np.random.Generator, image: np.ndarray, cx: float, cy: float, radius: float, colour: np.ndarray) -> None:
    """A branching frond: as many thin limbs as a crab has, but no body."""
    window, x, y = d.local(cx, cy, rng.uniform(0, 2 * np.pi), 1.5 * radius + 2)
    fronds = np.full(x.shape, np.inf)
    bend = rng.uniform(-0.5, 0.5)
    for part in range(4):
        root = ((-1 + 0.5 * part) * radius, bend * radius * (part / 3) ** 2)
        for side in (-1, 1):
            tip = (root[0] + 0.8 * radius, root[1] + side * rng.uniform(0.3, 0.8) * radius)
            fronds = np.minimum(fronds, d.segment(x, y, root, tip))
    edge = 0.12 * radius + 0.1 - fronds
    d.darken(image, window, 0.3 * np.roll(d.cover(edge, 2), 1, axis=0))
    d.paint(image, window, 0.9 * d.cover(edge), 0.7 * colour)


THINGS = (_starfish, _scallop, _snail, _weed, d.pebble)
