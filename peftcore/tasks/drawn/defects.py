"""Defects: a camera above a strip of rolled metal; which fault does the surface show, if any?

Six known faults of hot-rolled steel, or none. Faults are faint; every strip has grain, uneven light, dust, oil and
drops of water.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from peftcore.task import Task
from peftcore.tasks.drawn import _drawing as d
from peftcore.tasks.drawn import _patterns as patterns

TITLE = "Steel inspection"
DESCRIPTION = "Which fault does the metal's surface show: scratches, pits, inclusions, patches, crazing, scale or none?"
GROUP = "specialised"
CLASSES = ("none", "scratches", "pits", "inclusions", "patches", "crazing", "rolled-in scale")
SOURCE = "Drawn by Headroom (peftcore/tasks/drawn/defects.py), seed 3608"
SEED = 3608


def load(argument: str = "") -> Task:
    """The task, made once per process; images are drawn when they are read."""
    return _task()


@lru_cache(maxsize=1)
def _task() -> Task:
    splits = d.draw_splits(scene, len(CLASSES), SEED)
    return Task("defects", TITLE, DESCRIPTION, GROUP, CLASSES, *splits, source=SOURCE)


def scene(rng: np.random.Generator, fault: int) -> np.ndarray:
    """One picture (64, 64, 3), float, of a strip with fault number `fault`; 0 is none."""
    rolled = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.12)  # the direction of rolling
    x, y = patterns.turned(rng, rolled)
    metal = d.hsv(rng.choice([0.58, 0.6, 0.1, 0.07]), rng.uniform(0.0, 0.2), rng.uniform(0.4, 0.8))
    finish = rng.integers(3)
    if finish == 0:  # brushed
        grain = rng.uniform(0.03, 0.08) * patterns.noise_at(rng, x / 28, y / 0.9) + 0.03 * patterns.noise_at(
            rng, x / 40, y / 4
        )
    elif finish == 1:  # rolled, dull
        grain = 0.04 * patterns.noise_at(rng, x / 24, y / 6) + rng.uniform(0.02, 0.05) * d.fractal_noise(
            rng, (10, 24, 60)
        )
    else:  # blasted
        grain = rng.uniform(0.03, 0.07) * d.fractal_noise(rng, (20, 40, 60))
    tone = grain + rng.uniform(0.04, 0.3) * d.gradient(rng) + rng.uniform(0, 0.06) * d.smooth_noise(rng, 2)
    _dirt(rng, tone)
    if fault:
        tone = tone + rng.uniform(0.22, 0.42) * FAULTS[fault - 1](rng, x, y, rolled)
    return d.photograph(rng, metal * np.clip(1 + tone, 0.05, 2)[..., None])


def _dirt(rng: np.random.Generator, tone: np.ndarray) -> None:
    """What lies on good metal too, in place: specks of dust, the rim of a dried drop, a smear of oil."""
    for _ in range(rng.integers(0, 7)):
        cx, cy = rng.uniform(0, 64, 2)
        window, u, v = d.local(cx, cy, rng.uniform(0, np.pi), 4)
        tone[window] += rng.choice([-0.22, 0.22]) * d.cover(d.ellipse(u, v, rng.uniform(0.5, 1.6), 0.55))
    if rng.random() < 0.35:
        cx, cy = rng.uniform(5, 59, 2)
        window, u, v = d.local(cx, cy, 0, 14)
        off = np.hypot(u, v) + 0.6 * np.sin(3 * np.arctan2(v, u))
        tone[window] += rng.uniform(-0.1, 0.1) * d.cover(0.8 - np.abs(off - rng.uniform(4, 11)), 1.5)
    if rng.random() < 0.35:
        smear = d.cover(2 * patterns.noise_at(rng, d.X / 30, d.Y / 22) - 1.2, 1.5)
        tone += rng.uniform(-0.12, 0.12) * smear


# ---------------------------------------------------------- faults: tones (64, 64) between about -1 and 1


def _scratches(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, rolled: float) -> np.ndarray:
    """One to three thin, long lines in any direction, nearly straight, light or dark."""
    tone = np.zeros((d.SIZE, d.SIZE))
    angle = rng.uniform(0, np.pi)
    for _ in range(rng.integers(1, 4)):
        cx, cy = rng.uniform(12, 52, 2)
        window, u, v = d.local(cx, cy, angle + rng.normal(0, 0.12), 44)
        half, bend = rng.uniform(11, 34), rng.normal(0, 0.003)
        edge = np.minimum(rng.uniform(0.25, 0.6) - np.abs(v - bend * u**2), half - np.abs(u))
        fade = np.clip(0.75 + 0.35 * np.sin(u / rng.uniform(4, 9) + rng.uniform(0, 6)), 0.25, 1)
        tone[window] += rng.choice([-1, 1], p=[0.35, 0.65]) * fade * d.cover(edge)
    return 1.1 * tone


def _pits(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, rolled: float) -> np.ndarray:
    """A cluster of small round holes, dark with one bright lip."""
    tone = np.zeros((d.SIZE, d.SIZE))
    middle, spread, light = rng.uniform(16, 48, 2), rng.uniform(7, 16), rng.uniform(0, 2 * np.pi)
    for _ in range(rng.integers(8, 22)):
        cx, cy = rng.normal(middle, spread)
        window, u, v = d.local(cx, cy, light, 6)
        radius = rng.uniform(0.7, 1.7)
        if tone[window].size:
            tone[window] += 0.7 * d.cover(radius - np.hypot(u - 0.9, v)) - 1.2 * d.cover(radius - np.hypot(u, v))
    return tone


def _inclusions(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, rolled: float) -> np.ndarray:
    """One to four ragged dark slivers, drawn out along the rolling."""
    tone = np.zeros((d.SIZE, d.SIZE))
    for _ in range(rng.integers(1, 5)):
        cx, cy = rng.uniform(10, 54, 2)
        window, u, v = d.local(cx, cy, rolled + rng.normal(0, 0.06), 22)
        half, ragged = rng.uniform(5, 17), patterns.noise_at(rng, u / 2.2, v / 1.5)
        edge = rng.uniform(0.8, 1.9) * (1 - (u / half) ** 2) + 0.45 * ragged - np.abs(v)
        tone[window] -= d.cover(np.minimum(edge, half - np.abs(u)), 1.2)
    return tone


def _patches(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, rolled: float) -> np.ndarray:
    """Large blotches with uneven borders, lighter or darker than the rest."""
    shape = patterns.noise_at(rng, x / rng.uniform(15, 24), y / rng.uniform(9, 15)) + 0.25 * patterns.noise_at(
        rng, x / 4, y / 4
    )
    level = np.quantile(shape, rng.uniform(0.6, 0.85))
    return rng.choice([-0.5, 0.5]) * d.cover(shape - level, rng.uniform(0.1, 0.4))


def _crazing(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, rolled: float) -> np.ndarray:
    """A net of hair cracks, in places only."""
    size = rng.uniform(5, 9)
    bent = patterns.noise_at(rng, x / 4, y / 4)
    near, other, _ = patterns.mosaic(rng, (x + bent) / size / 1.4, (y - bent) / size, 1.0)
    somewhere = np.clip(0.65 + 0.8 * d.smooth_noise(rng, 3), 0, 1)
    return -0.95 * d.cover(0.35 - (other - near) * size * 0.6, 0.9) * somewhere


def _scale(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, rolled: float) -> np.ndarray:
    """Flecks of oxide pressed into the metal: short dark tongues along the rolling, in bands."""
    flecks = patterns.noise_at(rng, x / rng.uniform(4, 7), y / rng.uniform(1.3, 2.2))
    band = np.clip(0.5 + 0.9 * patterns.noise_at(rng, x / 40, y / 11), 0, 1)
    return -0.8 * d.cover(flecks - 1.0, 0.5) * band - 0.1 * band


FAULTS = (_scratches, _pits, _inclusions, _patches, _crazing, _scale)
