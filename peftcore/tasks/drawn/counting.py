"""Counting: how many berries lie on the table? Leaves, stones and twigs in the same colours do not count.

One to eight berries, each a glossy ball with a star-shaped crown; they may touch but hardly overlap. Few
berries are mostly large, with more leaves and stones around them, and many are mostly small, so that neither the
coloured area nor the mean and spread of the colours gives the number away: one has to count.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from peftcore.task import Task
from peftcore.tasks.drawn import _drawing as d

TITLE = "Counting berries"
DESCRIPTION = "How many berries lie among the leaves, stones and twigs: one to eight?"
GROUP = "structured"
CLASSES = ("one", "two", "three", "four", "five", "six", "seven", "eight")
SOURCE = "Drawn by Headroom (peftcore/tasks/drawn/counting.py), seed 8128"
SYMMETRIES = ("mirror", "shift")
SEED = 8128

AREA = np.log((240, 760))  # square pixels that all berries cover together, however many they are
BERRIES = (0.98, 0.02, 0.06, 0.13, 0.27, 0.62, 0.68, 0.78, 0.92)  # hues: reds, yellows, green, blues, plums


def load(argument: str = "") -> Task:
    """The task, made once per process; images are drawn when they are read."""
    return _task()


@lru_cache(maxsize=1)
def _task() -> Task:
    splits = d.draw_splits(lambda rng, label: scene(rng, label + 1), len(CLASSES), SEED)
    return Task("counting", TITLE, DESCRIPTION, GROUP, CLASSES, *splits, source=SOURCE, symmetries=SYMMETRIES)


def scene(rng: np.random.Generator, berries: int) -> np.ndarray:
    """One picture (64, 64, 3), float, with exactly `berries` berries."""
    image = _table(rng)
    hues = rng.permutation(BERRIES)[:2]
    light = rng.uniform(np.pi, 2 * np.pi)  # where the lamp stands: somewhere above the middle
    size = float(np.clip(np.sqrt(np.exp(rng.uniform(*AREA)) / np.pi / berries), 4.0, 11.0))
    spots = _places(rng, berries, size)

    few = (8 - berries) // 2
    for _ in range(rng.integers(0, 2 + few)):  # leaves may lie anywhere, under the berries
        hue = rng.choice([rng.uniform(0.2, 0.36), hues[0] + rng.normal(0, 0.02), rng.uniform(0.05, 0.12)])
        colour = d.hsv(hue, rng.uniform(0.35, 0.8), rng.uniform(0.3, 0.75))
        cx, cy = rng.uniform(4, 60, 2)
        d.leaf(rng, image, cx, cy, rng.uniform(12, 26), colour)
    for _ in range(rng.integers(0, 2)):
        _twig(rng, image)
    for _ in range(rng.integers(0, 2 + few)):  # stones keep off the berries
        x, y, radius = rng.uniform(3, 61), rng.uniform(3, 61), rng.uniform(3, 8)
        if all(np.hypot(x - bx, y - by) > radius * 1.1 + br for bx, by, br in spots):
            hue = rng.choice([rng.uniform(0.05, 0.13), hues[1]])
            d.pebble(rng, image, x, y, radius, d.hsv(hue, rng.uniform(0.0, 0.6), rng.uniform(0.35, 0.85)))
    value = rng.uniform(0.55, 0.95)
    for spot in spots:
        hue = hues[int(rng.random() < 0.25)] + rng.normal(0, 0.012)
        colour = d.hsv(hue, rng.uniform(0.65, 0.92), min(max(value + rng.normal(0, 0.07), 0.4), 1))
        _berry(rng, image, spot, colour, light)
    return d.photograph(rng, image)


def _places(rng: np.random.Generator, count: int, size: float) -> list[tuple[float, float, float]]:
    """(x, y, radius) of berries that may touch; half of the time they huddle together, else they spread."""
    huddle = rng.random() < 0.5
    middle, spread = rng.uniform(22, 42, 2), rng.uniform(9, 14)
    spots: list[tuple[float, float, float]] = []
    tries = 0
    while len(spots) < count:
        tries += 1
        if tries % 200 == 0:  # no room is left for the next one: begin again, on a wider spot
            spots, spread = [], spread * 1.2
        x, y = rng.normal(middle, spread) if huddle else rng.uniform(0, 64, 2)
        radius = size * rng.uniform(0.82, 1.18)
        inside = radius < x < 64 - radius and radius < y < 64 - radius
        if inside and all((x - a) ** 2 + (y - b) ** 2 > (0.92 * (radius + r)) ** 2 for a, b, r in spots):
            spots.append((x, y, radius))
    return spots


def _table(rng: np.random.Generator) -> np.ndarray:
    """A surface (64, 64, 3): planks of wood, woven cloth, or soil and stone."""
    kind = rng.integers(3)
    if kind == 0:  # wood: long grain, and a seam between the planks
        base = d.hsv(rng.uniform(0.04, 0.11), rng.uniform(0.2, 0.65), rng.uniform(0.35, 0.85))
        pattern = 0.07 * d.smooth_noise(rng, 3, 40) + 0.05 * d.smooth_noise(rng, 2, 12)
        plank = rng.uniform(14, 30)
        pattern = pattern - 0.22 * (np.abs((d.X + rng.uniform(0, plank)) % plank - plank / 2) < 0.7)
    elif kind == 1:  # cloth: two threads over each other
        base = d.hsv(rng.random(), rng.uniform(0.05, 0.4), rng.uniform(0.45, 0.95))
        pitch = rng.uniform(2.2, 5)
        weave = np.sin(2 * np.pi * d.X / pitch) * np.sin(2 * np.pi * d.Y / pitch)
        pattern = rng.uniform(0.02, 0.07) * weave + 0.06 * d.smooth_noise(rng, 4)
    else:
        base = d.hsv(rng.uniform(0.05, 0.6), rng.uniform(0.03, 0.35), rng.uniform(0.25, 0.8))
        pattern = rng.uniform(0.04, 0.12) * d.fractal_noise(rng, (4, 10, 24, 48))
    if rng.random() < 0.5:
        pattern = pattern.T
    pattern = pattern + rng.uniform(0.03, 0.15) * d.gradient(rng)
    return base * (1 + pattern)[..., None] + 0.01 * d.smooth_noise(rng, 5)[..., None] * rng.standard_normal(3)


def _twig(rng: np.random.Generator, image: np.ndarray) -> None:
    """A thin, slightly bent stick with a shadow."""
    half, thick = rng.uniform(6, 16), rng.uniform(0.5, 1.1)
    (cx, cy), angle, bend = rng.uniform(4, 60, 2), rng.uniform(0, np.pi), rng.uniform(-0.02, 0.02)
    colour = d.hsv(rng.uniform(0.05, 0.1), rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.5))
    for shift in (1.1, 0.0):
        window, x, y = d.local(cx + 0.5 * shift, cy + shift, angle, half + 3)
        edge = np.minimum(thick - np.abs(y - bend * x**2), half - np.abs(x))
        if shift:
            d.darken(image, window, 0.3 * d.cover(edge, 2))
        else:
            d.paint(image, window, d.cover(edge), colour)


def _berry(
    rng: np.random.Generator,
    image: np.ndarray,
    spot: tuple[float, float, float],
    colour: np.ndarray,
    light: float,
) -> None:
    """A glossy ball, lit from `light`, with a dark five-pointed crown and a shadow away from the lamp."""
    cx, cy, radius = spot
    window, x, y = d.local(cx, cy, light, radius + 4)  # x points to the lamp, y across
    d.darken(image, window, 0.5 * d.cover(radius - np.hypot(x + 1.6, y), 3))
    distance = np.hypot(x, y * rng.uniform(1, 1.1))
    ball = d.cover(radius - distance)
    up = np.sqrt(np.maximum(1 - (distance / radius) ** 2, 0))  # the ball's normal is (x / radius, ., up)
    facing = np.maximum(0.55 * x / radius + 0.83 * up, 0)
    d.paint(image, window, ball, colour * (0.3 + 0.75 * facing)[..., None])

    # The crown sits where the stem was: off the middle, and foreshortened towards the rim.
    where, turn, off = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.55)
    cos, sin = np.cos(where), np.sin(where)
    out, side = (cos * x + sin * y - off * radius) / np.sqrt(1 - off**2), cos * y - sin * x
    star = radius * 0.3 * (1 + 0.4 * np.cos(5 * (np.arctan2(side, out) - turn)))
    crown = 0.85 * d.cover(star - np.hypot(out, side))
    d.paint(image, window, crown, colour * 0.25 + np.array([0.02, 0.05, 0.0]))
    shine = np.maximum(0.3 * x / radius + 0.95 * up, 0) ** 40
    d.paint(image, window, 0.75 * shine * ball, np.ones(3))
