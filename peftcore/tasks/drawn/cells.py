"""Cells: a stained blood smear under the microscope; how many red cells hold a parasite: none to five?

Parasites are purple rings with a dark dot, or older, irregular ones with brown pigment, inside a red cell. What lies
between the cells (platelets, grains of stain) has the same colours but does not count. There are many cells or few, and
they overlap; the stain is weak or strong, the light uneven, the focus sometimes off.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from peftcore.task import Task
from peftcore.tasks.drawn import _drawing as d

TITLE = "Blood smears"
DESCRIPTION = "How many of the red blood cells under the microscope are infected: none to five?"
GROUP = "specialised"
CLASSES = ("none", "one", "two", "three", "four", "five")
SOURCE = "Drawn by Headroom (peftcore/tasks/drawn/cells.py), seed 6118"
SEED = 6118
SYMMETRIES = ("mirror", "shift")


def load(argument: str = "") -> Task:
    """The task, made once per process; images are drawn when they are read."""
    return _task()


@lru_cache(maxsize=1)
def _task() -> Task:
    splits = d.draw_splits(scene, len(CLASSES), SEED)
    return Task("cells", TITLE, DESCRIPTION, GROUP, CLASSES, *splits, source=SOURCE, symmetries=SYMMETRIES)


def scene(rng: np.random.Generator, infected: int) -> np.ndarray:
    """One picture (64, 64, 3), float, with exactly `infected` infected cells, all well inside it."""
    radius = rng.uniform(6.2, 8)
    cells = _places(rng, radius, infected)
    red = _absorbed(d.hsv(rng.uniform(-0.04, 0.05), rng.uniform(0.18, 0.4), rng.uniform(0.82, 0.95)))
    purple = _absorbed(d.hsv(rng.uniform(0.72, 0.84), rng.uniform(0.5, 0.75), rng.uniform(0.4, 0.62)))
    # Stained layers take light away one after the other: their absorbances (Beer and Lambert) add up.
    taken = np.zeros((d.SIZE, d.SIZE, 3))
    hollow = rng.uniform(0.2, 0.75)  # how pale the middle of a red cell is
    for cx, cy, r in cells:
        _red_cell(rng, taken, (cx, cy), r, red * rng.uniform(0.8, 1.2), hollow)
    for cx, cy, r in cells[:infected]:
        _parasite(rng, taken, (cx, cy), r, purple)
    for _ in range(rng.integers(0, 5)):
        if (spot := _between(rng, cells)) is not None:
            _platelet(rng, taken, spot, purple * rng.uniform(0.5, 0.9))
    for _ in range(rng.integers(0, 6)):  # grains of stain: small, black, anywhere
        cx, cy = rng.uniform(0, 64, 2)
        window, x, y = d.local(cx, cy, rng.uniform(0, np.pi), 3)
        taken[window] += (0.9 * d.cover(d.ellipse(x, y, rng.uniform(0.5, 1.0), 0.5)))[..., None]
    light = d.hsv(rng.uniform(0.08, 0.2), rng.uniform(0.0, 0.12), rng.uniform(0.85, 1.0))
    uneven = 1 + rng.uniform(0.03, 0.2) * d.gradient(rng) + 0.015 * d.smooth_noise(rng, 3)
    image = light * np.exp(-taken) * uneven[..., None]
    return d.photograph(rng, d.defocus(image, rng.choice([0, 0, 1, 2])))


def _absorbed(colour: np.ndarray) -> np.ndarray:
    """The absorbance (3,) that makes white light this colour."""
    return -np.log(np.clip(colour, 0.02, 1))


def _places(rng: np.random.Generator, radius: float, inside: int) -> list[tuple[float, float, float]]:
    """(x, y, radius) of 7 to 15 cells, the first `inside` of them well within the picture; they overlap a little."""
    count = max(int(rng.integers(7, 16)), inside + 2)
    apart = rng.uniform(1.45, 1.9)
    cells: list[tuple[float, float, float]] = []
    tries = 0
    while len(cells) < count:
        tries += 1
        if tries % 150 == 0:  # too crowded: let them overlap more
            apart *= 0.93
        r = radius * rng.uniform(0.88, 1.12)
        keep = r * 0.85 if len(cells) < inside else -r * 0.5
        x, y = rng.uniform(keep, 64 - keep, 2)
        closest = 1.75 if len(cells) <= inside else apart  # what counts is not hidden under another cell
        if all(
            (x - a) ** 2 + (y - b) ** 2 > ((closest if n < inside else apart) * 0.5 * (r + s)) ** 2
            for n, (a, b, s) in enumerate(cells)
        ):
            cells.append((x, y, r))
    return cells


def _red_cell(
    rng: np.random.Generator, taken: np.ndarray, at: tuple[float, float], radius: float, red: np.ndarray, hollow: float
) -> None:
    """A disc that is thinner in the middle, a little out of round, its rim darkest."""
    window, x, y = d.local(*at, rng.uniform(0, 2 * np.pi), 1.3 * radius + 2)
    x, y = x * rng.uniform(0.9, 1.12), y + rng.uniform(-0.02, 0.02) * x**2
    around = np.arctan2(y, x)
    distance = np.hypot(x, y) * (1 + 0.03 * np.sin(3 * around + rng.uniform(0, 6)))
    thick = (
        1
        - hollow * np.exp(-((distance / (0.5 * radius)) ** 2))
        + 0.25 * d.cover(1 - np.abs(distance - radius + 1), 1.5)
    )
    taken[window] += (d.cover(radius - distance, 1.3) * thick)[..., None] * red


def _parasite(
    rng: np.random.Generator, taken: np.ndarray, at: tuple[float, float], radius: float, purple: np.ndarray
) -> None:
    """A young one, a ring with one or two dots; or an older one, a blob with pigment."""
    turn, off = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.4) * radius
    cx, cy = at[0] + off * np.cos(turn), at[1] + off * np.sin(turn)
    window, x, y = d.local(cx, cy, rng.uniform(0, 2 * np.pi), radius)
    if rng.random() < 0.65:
        size = radius * rng.uniform(0.24, 0.36)
        ring = d.cover(0.55 - np.abs(np.hypot(x * rng.uniform(1, 1.3), y) - size), 1.1)
        dot = d.cover(rng.uniform(0.9, 1.2) - np.hypot(x - size, y))
        taken[window] += ring[..., None] * purple * rng.uniform(0.7, 1) + dot[..., None] * purple * 1.5
    else:
        size = radius * rng.uniform(0.3, 0.42)
        around = np.arctan2(y, x)
        lumps = 1 + 0.22 * np.sin(2 * around + 1) + 0.16 * np.sin(3 * around + rng.uniform(0, 6))
        blob = d.cover(size * lumps - np.hypot(x, y), 1.2)
        hole = 1 - 0.7 * d.cover(0.35 * size - np.hypot(x - 0.2 * size, y))
        taken[window] += (blob * hole)[..., None] * purple * rng.uniform(0.8, 1.1)
        grain = d.cover(0.8 - np.hypot(x + 0.3 * size, y - 0.2 * size))
        taken[window] += grain[..., None] * np.array([0.5, 0.9, 1.4])


def _between(rng: np.random.Generator, cells: list[tuple[float, float, float]]) -> tuple[float, float] | None:
    """A place off every cell, or None if none was found soon."""
    for _ in range(12):
        x, y = rng.uniform(2, 62, 2)
        if all(np.hypot(x - a, y - b) > r + 1.8 for a, b, r in cells):
            return float(x), float(y)
    return None


def _platelet(rng: np.random.Generator, taken: np.ndarray, at: tuple[float, float], purple: np.ndarray) -> None:
    """A small, pale, granular scrap between the cells, as large as a parasite."""
    window, x, y = d.local(*at, rng.uniform(0, np.pi), 6)
    shape = d.cover(d.ellipse(x, y, rng.uniform(1.5, 2.6), rng.uniform(1.1, 1.8)), 1.6)
    grains = np.clip(0.75 + 0.35 * rng.standard_normal(x.shape), 0, 1.5)
    taken[window] += (shape * grains)[..., None] * purple
