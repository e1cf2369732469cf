"""Syllables: signs of an invented script; which of 32 stands in the middle?

Eight consonants, each a letter of two or three strokes, times four vowels, each a mark on it. They are carved, inked,
chalked, painted, or glow in neon, by hands that slant, squeeze and wobble; other signs stand before and after.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np

from peftcore.task import Task
from peftcore.tasks.drawn import _drawing as d
from peftcore.tasks.drawn import _patterns as patterns

TITLE = "Syllable signs"
DESCRIPTION = "Which of the 32 syllables of an invented script stands in the middle of the line?"
GROUP = "natural"
CONSONANTS, VOWELS = "ktnmsrlh", "aeiu"
CLASSES = tuple(consonant + vowel for consonant in CONSONANTS for vowel in VOWELS)
SOURCE = "Drawn by Headroom (peftcore/tasks/drawn/syllables.py), seed 4104"
SEED = 4104
SYMMETRIES = ("shift",)  # moved farther, a neighbour would be in the middle

Stroke = list[tuple[float, float]]


def _arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float) -> Stroke:
    """Points on an ellipse, in degrees from the right, clockwise as seen."""
    turns = np.radians(np.linspace(start, end, 3 + int(abs(end - start) / 45)))
    return [(cx + rx * np.cos(t), cy + ry * np.sin(t)) for t in turns]


# Strokes as points: x and y from -1 to 1, y down. Letters stay within |y| < 0.62; marks stand above and below.
LETTERS: dict[str, list[Stroke]] = {
    "k": [[(-0.5, -0.6), (-0.5, 0.6)], [(-0.5, 0.05), (0.6, -0.45)], [(-0.5, 0.6), (0.6, 0.1)]],
    "t": [[*_arc(0, 0, 0.65, 0.6, 180, 360), (0.65, 0.6)], [(-0.65, 0.15), (0.2, 0.15)]],
    "n": [[(-0.75, -0.55), (-0.4, 0.6), (0.0, -0.15), (0.4, 0.6), (0.75, -0.55)]],
    "m": [_arc(-0.25, 0.2, 0.42, 0.4, 0, 360), [(0.17, 0.2), (0.17, -0.6), (0.7, -0.6)]],
    "s": [[*_arc(0.1, 0.05, 0.25, 0.22, 180, 360), *_arc(-0.1, 0.05, 0.45, 0.5, 0, 180), (-0.55, -0.6), (0.6, -0.6)]],
    "r": [[(0, -0.62), (0.6, 0), (0, 0.62), (-0.6, 0), (0, -0.62)], [(-0.3, 0), (0.3, 0)]],
    "l": [[(0.6, -0.6), (-0.3, -0.6), (-0.3, 0.3), *_arc(0.1, 0.3, 0.4, 0.3, 180, 0)], [(-0.7, -0.1), (0.15, -0.1)]],
    "h": [_arc(0, -0.6, 0.65, 0.75, 180, 0), [(0, -0.6), (0, 0.6)], [(-0.4, 0.6), (0.4, 0.6)]],
}
MARKS: dict[str, list[Stroke]] = {
    "a": [],
    "e": [[(-0.45, 0.92), (0.45, 0.92)]],
    "i": [[(-0.25, -0.95), (-0.25, -0.93)], [(0.25, -0.95), (0.25, -0.93)]],
    "u": [_arc(0.72, 0.72, 0.2, 0.2, 0, 360)],
}


def load(argument: str = "") -> Task:
    """The task, made once per process; images are drawn when they are read."""
    return _task()


@lru_cache(maxsize=1)
def _task() -> Task:
    splits = d.draw_splits(scene, len(CLASSES), SEED)
    return Task("syllables", TITLE, DESCRIPTION, GROUP, CLASSES, *splits, source=SOURCE, symmetries=SYMMETRIES)


def scene(rng: np.random.Generator, syllable: int) -> np.ndarray:
    """One picture (64, 64, 3), float, with the sign of `syllable` in the middle."""
    size = rng.uniform(18, 24)  # half of the sign's height, in pixels
    squeeze, slant, turn = rng.uniform(0.75, 1.0), rng.uniform(-0.15, 0.15), rng.normal(0, 0.08)
    thick = size * rng.uniform(0.07, 0.13)
    cx, cy = 32 + rng.uniform(-3, 3, 2)
    x, y = np.cos(turn) * (d.X - cx) + np.sin(turn) * (d.Y - cy), -np.sin(turn) * (d.X - cx) + np.cos(turn) * (d.Y - cy)
    signs = [(syllable, 0.0)]
    step = 2.05 * size * squeeze * rng.uniform(0.95, 1.15)
    signs += [(int(rng.integers(len(CLASSES))), side * step) for side in (-1, 1) if rng.random() < 0.6]
    nearest = np.full(x.shape, np.inf)
    for sign, off in signs:
        near = np.abs(x - off) < 1.3 * size  # what lies farther away cannot change the picture
        if near.any():
            v = y[near] / size
            nearest[near] = np.minimum(
                nearest[near], size * _strokes(rng, sign, (x[near] - off) / size / squeeze + slant * v, v)
            )
    return d.photograph(rng, STYLES[rng.integers(len(STYLES))](rng, nearest, thick))


def _strokes(rng: np.random.Generator, syllable: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of the points (x, y) to the strokes of a sign, written by a hand that is never quite exact."""
    consonant, vowel = divmod(syllable, len(VOWELS))
    distance = np.full(x.shape, np.inf)
    for strokes, wobble in ((LETTERS[CONSONANTS[consonant]], 0.035), (MARKS[VOWELS[vowel]], 0.02)):
        aside = rng.normal(0, wobble, 2)
        for stroke in strokes:
            bend = rng.normal(0, wobble, (2, 2))
            points = np.array(stroke)
            points = points + aside + points @ bend
            for start, end in pairwise(points):
                distance = np.minimum(distance, d.segment(x, y, start, end))
    return distance


# ---------------------------------------------------------------------------------------------------- styles


def _ground(
    rng: np.random.Generator, hues: tuple[float, ...], saturation: float, value: tuple[float, float]
) -> np.ndarray:
    base = d.hsv(rng.choice(hues) + rng.normal(0, 0.02), saturation * rng.uniform(0.3, 1), rng.uniform(*value))
    pattern = rng.uniform(0.02, 0.07) * d.fractal_noise(rng, (3, 9, 24, 50)) + rng.uniform(0.05, 0.25) * d.gradient(rng)
    return base * (1 + pattern)[..., None]


def _carved(rng: np.random.Generator, nearest: np.ndarray, thick: float) -> np.ndarray:
    """A groove in stone, one wall in shade and the other in the light, with cracks and chips around it."""
    rough = d.fractal_noise(rng, (8, 20, 45))
    height = -1.6 * d.cover(thick - nearest + 0.25 * rough, 2.2)
    height = height - 0.7 * np.exp(-9 * np.abs(d.smooth_noise(rng, 3))) * (rng.random() < 0.6) + 0.2 * rough
    down, right = np.gradient(height)
    light = rng.uniform(0, 2 * np.pi)
    shade = 1 + rng.uniform(0.25, 0.5) * (np.cos(light) * right + np.sin(light) * down) + 0.12 * np.minimum(height, 0)
    return _ground(rng, (0.08, 0.1, 0.55, 0.6), 0.3, (0.4, 0.85)) * np.clip(shade, 0.3, 1.6)[..., None]


def _inked(rng: np.random.Generator, nearest: np.ndarray, thick: float) -> np.ndarray:
    """Ink on stained paper, with ruled lines and blots; the pen runs dry in places."""
    image = _ground(rng, (0.1, 0.12, 0.14), 0.4, (0.7, 0.95))
    _stains(rng, image)
    if rng.random() < 0.5:
        pitch = rng.uniform(9, 16)
        image *= (1 - 0.25 * d.cover(0.3 - np.abs((d.Y + rng.uniform(0, pitch)) % pitch - pitch / 2)))[..., None]
    ink = d.hsv(rng.choice([0.6, 0.65, 0.02, 0.08]), rng.uniform(0.2, 0.8), rng.uniform(0.08, 0.4))
    pressure = 1 + 0.3 * d.smooth_noise(rng, 5)
    dry = np.clip(1 - rng.uniform(0, 0.5) * np.clip(d.smooth_noise(rng, 10), 0, 2), 0.2, 1)
    return image + (0.9 * dry * d.cover(thick * pressure - nearest))[..., None] * (ink - image)


def _chalked(rng: np.random.Generator, nearest: np.ndarray, thick: float) -> np.ndarray:
    """Chalk on a slate that has been wiped."""
    image = _ground(rng, (0.38, 0.45, 0.6), 0.35, (0.15, 0.35))
    image += (0.07 * np.clip(patterns.noise_at(rng, d.X / 14, d.Y / 2.5), 0, 2))[..., None]
    chalk = d.hsv(rng.choice([0.0, 0.12, 0.15, 0.5, 0.95]), rng.choice([0.03, 0.35]), 0.95)
    grain = np.clip(0.75 + 0.45 * rng.standard_normal(nearest.shape), 0, 1)
    return image + (rng.uniform(0.6, 0.9) * grain * d.cover(thick - nearest, 1.6))[..., None] * (chalk - image)


def _painted(rng: np.random.Generator, nearest: np.ndarray, thick: float) -> np.ndarray:
    """A painted board: paint in any colour on wood in any other, peeling."""
    x, y = patterns.turned(rng, rng.normal(0, 0.05))
    base = d.hsv(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.3, 0.85))
    board = rng.uniform(12, 26)
    grain = 0.07 * patterns.noise_at(rng, x / 14, y / 1.2) - 0.3 * d.cover(0.5 - np.abs(y % board - board / 2))
    image = base * (1 + grain + 0.15 * d.gradient(rng))[..., None]
    while True:
        paint = d.hsv(rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.1, 1))
        if np.abs((paint - base).mean()) > 0.18:
            break
    peel = d.cover(1.3 + rng.uniform(0, 0.8) - d.fractal_noise(rng, (6, 14, 30)), 0.5)
    return image + (peel * d.cover(1.25 * thick - nearest))[..., None] * (paint - image)


def _glowing(rng: np.random.Generator, nearest: np.ndarray, thick: float) -> np.ndarray:
    """Neon tubes on a wall of bricks at night."""
    x, y = patterns.turned(rng, rng.normal(0, 0.03))
    joint, _ = patterns.bond(rng, x, y, rng.uniform(6, 9), rng.uniform(14, 20))
    wall = d.hsv(rng.uniform(0, 0.12), 0.5, rng.uniform(0.25, 0.45)) * (1 - 0.35 * d.cover(0.8 - joint)[..., None])
    wall = wall * (1 + 0.12 * d.fractal_noise(rng, (8, 20, 40)))[..., None]
    tube = d.hsv(rng.random(), rng.uniform(0.6, 0.95), 1.0)
    glow = np.exp(-nearest / rng.uniform(3, 7))[..., None]
    image = wall * (0.25 + 0.9 * glow * tube) + 0.25 * glow**2 * tube
    core = d.cover(0.75 * thick - nearest)[..., None]
    return image + core * (0.45 + 0.55 * tube - image)


def _stains(rng: np.random.Generator, image: np.ndarray) -> None:
    """Rings from cups and blots, in place."""
    for _ in range(rng.integers(0, 3)):
        (cx, cy), radius = rng.uniform(0, 64, 2), rng.uniform(5, 18)
        off = np.abs(np.hypot(d.X - cx, d.Y - cy) - radius)
        image *= 1 - rng.uniform(0.1, 0.35) * d.cover(rng.uniform(0.5, 1.6) - off, 2)[..., None] * np.array(
            [0.6, 0.9, 1.2]
        )


STYLES = (_carved, _inked, _chalked, _painted, _glowing)
