"""Textures: a close-up of a material; which of twelve is it?

Each material is a relief and two colours, lit from one side. Every material comes in every colour (stained, painted,
dyed, at dusk), turned any way, near or far, sometimes slanted, shadowed or out of focus, so that only its structure
gives it away.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from peftcore.task import Task
from peftcore.tasks.drawn import _drawing as d
from peftcore.tasks.drawn import _patterns as patterns

TITLE = "Materials"
DESCRIPTION = "Which material is it, from wood and marble to grass and scales, in any colour?"
GROUP = "natural"
CLASSES = (
    "wood", "marble", "bricks", "basket", "knitting", "grass", "scales", "dry mud", "pebbles", "leather", "corduroy",
    "granite",
)  # fmt: skip
SOURCE = "Drawn by Headroom (peftcore/tasks/drawn/textures.py), seed 5040"
SEED = 5040

Relief = tuple[np.ndarray, np.ndarray]  # height in pixels and how much of the second colour, each (64, 64)


def load(argument: str = "") -> Task:
    """The task, made once per process; images are drawn when they are read."""
    return _task()


@lru_cache(maxsize=1)
def _task() -> Task:
    splits = d.draw_splits(scene, len(CLASSES), SEED)
    return Task("textures", TITLE, DESCRIPTION, GROUP, CLASSES, *splits, source=SOURCE)


def scene(rng: np.random.Generator, material: int) -> np.ndarray:
    """One photograph (64, 64, 3), float, of material number `material`."""
    x, y = _view(rng)
    height, second = MATERIALS[material](rng, x, y)
    down, right = np.gradient(height)
    light = rng.uniform(0, 2 * np.pi)
    slope = np.cos(light) * right + np.sin(light) * down
    first, other = _colours(rng)
    colour = first + np.clip(second, 0, 1)[..., None] * (other - first)
    shade = np.clip(1 - rng.uniform(0.5, 1.0) * slope / (0.35 + np.sqrt((slope**2).mean())) * 0.35, 0.25, 1.9)
    shade = shade * (1 + rng.uniform(0.02, 0.09) * d.fractal_noise(rng, (3, 10, 24)))
    shade = shade * (1 + rng.uniform(0.05, 0.35) * d.gradient(rng))
    if rng.random() < 0.25:  # the shadow of something near the camera
        shade = shade * (1 - rng.uniform(0.2, 0.5) * d.cover(12 * d.smooth_noise(rng, 2) - 6, rng.uniform(2, 14)))
    image = colour * shade[..., None]
    for _ in range(rng.choice([0, 0, 0, 1, 2])):  # leaves fallen on it
        tint = d.hsv(rng.uniform(0.03, 0.35), rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.8))
        cx, cy = rng.uniform(0, 64, 2)
        d.leaf(rng, image, cx, cy, rng.uniform(10, 24), tint)
    return d.photograph(rng, d.defocus(image, rng.choice([0, 0, 0, 1])))


def _view(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where on the material (in pixels of a plain view) each pixel looks: turned, slanted, a little uneven."""
    x, y = patterns.turned(rng, rng.uniform(0, 2 * np.pi))
    far = 1 + rng.uniform(0, 0.3) * (d.gradient(rng) + 1) / 2  # what is farther away is smaller
    bulge = rng.uniform(0, 1.6)
    mx, my = x[32, 32], y[32, 32]
    x, y = mx + (x - mx) * far, my + (y - my) * far
    return x + bulge * d.smooth_noise(rng, 3), y + bulge * d.smooth_noise(rng, 3)


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colours (3,) of one family: mostly earths and greys, some greens and blues, rarely a loud one."""
    hue = rng.choice([rng.uniform(0.02, 0.13), rng.uniform(0.02, 0.13), rng.uniform(0.2, 0.4), rng.uniform(0.5, 0.68),
                      rng.random()])  # fmt: skip
    saturation, value = rng.uniform(0.04, 0.6), rng.uniform(0.45, 0.88)
    apart = rng.choice([-1, 1]) * rng.uniform(0.18, 0.42)
    other = d.hsv(hue + rng.normal(0, 0.04), np.clip(saturation + rng.normal(0, 0.12), 0, 0.8),
                  np.clip(value + apart, 0.15, 0.98))  # fmt: skip
    return d.hsv(hue, saturation, value), other


# ------------------------------------------------------------------------------------------------- materials


def _wood(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Growth rings cut lengthwise, sometimes around a knot, and fine fibres."""
    pitch = rng.uniform(4, 9)
    across = y + rng.uniform(2, 6) * patterns.noise_at(rng, x / 40, y / 12)
    if rng.random() < 0.5:
        knot = rng.uniform(0, 64, 2)
        off = np.hypot((d.X - knot[0]) / 1.6, d.Y - knot[1])
        across = across + rng.uniform(6, 14) * np.exp(-((off / 9) ** 2))
    ring = (across / pitch) % 1
    fibre = patterns.noise_at(rng, x / 12, y / 1.1)
    return 0.5 * ring + 0.25 * fibre, ring**2 + 0.2 * fibre


def _marble(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Veins where a noise crosses zero, thick and thin, polished flat."""
    size = rng.uniform(14, 26)
    bend = patterns.noise_at(rng, x / 9, y / 9)
    coarse = patterns.noise_at(rng, (x + 4 * bend) / size, (y + 4 * bend) / size)
    fine = patterns.noise_at(rng, (x + 3 * bend) / size * 2.1, (y - 3 * bend) / size * 2.1)
    veins = (
        np.exp(-9 * np.abs(coarse)) + 0.55 * np.exp(-9 * np.abs(fine)) + 0.25 * patterns.noise_at(rng, x / 12, y / 12)
    )
    return 0.05 * veins, veins


def _bricks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Courses in bond, each brick in a tone of its own, mortar between."""
    high = rng.uniform(6, 12)
    edge, tone = patterns.bond(rng, x, y, high, high * rng.uniform(1.7, 2.5))
    rough = patterns.noise_at(rng, x / 3, y / 3)
    stone = d.cover(edge - rng.uniform(0.6, 1.3) + 0.3 * rough, 1.2)
    return 1.6 * stone + 0.12 * rough, stone * (0.45 + 0.55 * tone)


def _basket(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Canes that go over and under each other."""
    pitch = rng.uniform(4.5, 9)
    u, v = x / pitch, y / pitch
    lies = (np.floor(u) + np.floor(v)) % 2  # which of the two is on top here
    across = np.where(lies, np.abs(v % 1 - 0.5), np.abs(u % 1 - 0.5))
    along = np.where(lies, u % 1, v % 1)
    height = np.sqrt(np.maximum(0.23 - across**2, 0)) * (0.6 + 0.6 * np.sin(np.pi * along))
    return 0.5 * pitch * height, 0.6 * lies * rng.uniform(0, 1) + 0.5 * d.cover(across - 0.36, 0.2)


def _knitting(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Columns of V-shaped stitches, and the fuzz of wool."""
    wide = rng.uniform(6, 11)
    high = wide * rng.uniform(0.55, 0.8)
    u = (x / wide) % 1 - 0.5
    v = (y + np.abs(u) * wide * 1.1) / high % 1 - 0.5
    strand = np.sqrt(np.maximum(1 - (v / 0.48) ** 2, 0)) * np.sqrt(np.maximum(1 - ((np.abs(u) - 0.25) / 0.27) ** 2, 0))
    twist = np.sin((x * 0.9 + y) * 2 * np.pi / 1.9)
    return 1.7 * strand + 0.08 * twist + 0.12 * patterns.noise_at(rng, x / 1.2, y / 1.2), 1 - strand


def _grass(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Three layers of blades, each leaning its own way; the tips catch the light."""
    height, bright = np.zeros(x.shape), np.zeros(x.shape)
    wide = rng.uniform(1.5, 2.8)
    for layer in range(3):
        lean = rng.normal(0, 0.35)
        u = (x + lean * y) / wide + 0.5 * patterns.noise_at(rng, x / 9, y / 9)
        blade = patterns.noise_at(rng, u, y / rng.uniform(9, 15))
        top = blade + 0.25 * layer
        bright = np.where(top > height, 0.35 + 0.3 * layer + 0.25 * blade, bright)
        height = np.maximum(height, top)
    return 0.9 * height, bright


def _scales(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Rows of round scales, each over the gap of the row behind; a dark rim, a ridge along the middle."""
    wide = rng.uniform(7, 13)
    high = wide * rng.uniform(0.42, 0.6)
    radius = wide * 0.56
    row = np.floor(y / high)
    best, rim = np.zeros(x.shape), np.ones(x.shape)
    for step in (2, 1, 0):  # a scale hangs two rows down; the row in front is drawn last
        r = row - step
        u = ((x / wide + 0.5 * (r % 2)) % 1 - 0.5) * wide
        v = y - r * high
        inside = radius - np.hypot(u, v)
        shape = d.cover(inside)
        level = 0.4 + 0.6 * v / (2 * high) + 0.12 * np.exp(-(u**2))
        best = best + shape * (level - best)
        rim = rim + shape * (d.cover(1.3 - inside, 1.5) - rim)
    return 1.6 * best, rim


def _mud(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Plates that curl at their edges between cracks of uneven width."""
    size = rng.uniform(10, 18)
    bent = patterns.noise_at(rng, x / 5, y / 5)
    near, next_, tone = patterns.mosaic(rng, (x + bent) / size, (y - bent) / size)
    gap = (next_ - near) * size * 0.6
    plate = d.cover(gap - rng.uniform(0.5, 1.1) * (1 + 0.4 * bent), 1.1)
    rough = patterns.noise_at(rng, x / 2.5, y / 2.5)
    return 1.4 * plate * (0.8 + 0.3 * np.exp(-gap / 2)) + 0.12 * rough, (1 - plate) + 0.2 * tone


def _pebbles(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Rounded stones of several tones, dark between."""
    size = rng.uniform(6, 11)
    near, next_, tone = patterns.mosaic(rng, x / size, y / size)
    gap = np.maximum(next_ - near, 0)
    dome = np.sqrt(np.minimum(gap / 0.6, 1))
    return 0.42 * size * dome + 0.1 * patterns.noise_at(rng, x / 2, y / 2), tone * d.cover(gap * size - 0.8, 1.5)


def _leather(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Small, shallow, uneven pads and a few creases."""
    size = rng.uniform(4, 6.5)
    bent = patterns.noise_at(rng, x / 7, y / 7)
    near, next_, _ = patterns.mosaic(rng, (x + 1.5 * bent) / size, (y - 1.5 * bent) / size, 1.0)
    pad = np.sqrt(np.minimum((next_ - near) / 0.5, 1))
    crease = np.exp(-14 * np.abs(patterns.noise_at(rng, x / 25, y / 25)))
    return 0.9 * pad - 1.1 * crease, 0.8 * (1 - pad) + 0.4 * crease


def _corduroy(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Parallel ribs of short, uneven pile."""
    pitch = rng.uniform(4, 8)
    across = y + 0.5 * patterns.noise_at(rng, x / 20, y / 20)
    rib = np.sqrt(np.maximum(1 - (2.1 * ((across / pitch) % 1 - 0.5)) ** 2, 0))
    pile = patterns.noise_at(rng, x / 1.2, y / 2)
    return 0.35 * pitch * rib + 0.2 * pile * rib, 0.9 * (1 - rib) + 0.12 * pile


def _granite(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Relief:
    """Grains of three minerals, cut and polished flat."""
    size = rng.uniform(1.8, 3.6)
    _, _, tone = patterns.mosaic(rng, x / size, y / size, 1.0)
    cloud = 0.12 * patterns.noise_at(rng, x / 9, y / 9)
    return 0.05 * tone, np.select([tone + cloud < 0.3, tone + cloud < 0.75], [0.0, 0.45], 1.0)


MATERIALS = (
    _wood,
    _marble,
    _bricks,
    _basket,
    _knitting,
    _grass,
    _scales,
    _mud,
    _pebbles,
    _leather,
    _corduroy,
    _granite,
)
