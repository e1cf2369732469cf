"""Distance: a road seen through a windscreen; how far is the nearest car ahead?

Six ranges of metres, evenly spaced in the logarithm. A pinhole camera draws everything in true perspective: the road,
its lane marks, trees and posts beside it, and one to three cars. The camera pitches and rolls a little, cars have
different sizes, and it may be noon, dusk, foggy or night; so size, row and haze each tell part of the distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from peftcore.task import Task
from peftcore.tasks.drawn import _drawing as d
from peftcore.tasks.drawn import _patterns as patterns

TITLE = "Car ahead"
DESCRIPTION = "How many metres away is the nearest car on the road ahead?"
GROUP = "structured"
EDGES = (5, 7, 10, 14, 20, 28, 40)  # metres
CLASSES = tuple(f"{near} to {far} m" for near, far in zip(EDGES, EDGES[1:], strict=False))
SOURCE = "Drawn by Headroom (peftcore/tasks/drawn/distance.py), seed 7411"
SEED = 7411
SYMMETRIES = ("mirror", "shift")

FOCAL = 58.0  # pixels
MARGIN = 0.8  # distances fill this part of their range, so that adjacent ranges stay distinguishable
LANE = 3.2  # metres across


def load(argument: str = "") -> Task:
    """The task, made once per process; images are drawn when they are read."""
    return _task()


@lru_cache(maxsize=1)
def _task() -> Task:
    splits = d.draw_splits(scene, len(CLASSES), SEED)
    return Task("distance", TITLE, DESCRIPTION, GROUP, CLASSES, *splits, source=SOURCE, symmetries=SYMMETRIES)


@dataclass(frozen=True)
class Camera:
    """A pinhole above the road. World: x metres right of the middle of our lane, y metres above the road, z ahead."""

    height: float  # metres
    horizon: float  # pixels from the top, in the middle of the picture
    roll: float  # radians
    shift: float  # metres right of the middle of our lane
    bend: float  # of the road: metres aside per metre ahead, squared

    def at(self, x: float, y: float, z: float) -> tuple[float, float]:
        """The pixel of a point."""
        aside = FOCAL * (x - self.shift + self.bend * z * z) / z
        down = FOCAL * (self.height - y) / z
        return 32 + aside - self.roll * down, self.horizon + down + self.roll * aside


@dataclass(frozen=True)
class Air:
    """The air between camera and things: the haze's colour (3,), how far one sees (metres), and whether it is night."""

    haze: np.ndarray
    reach: float
    night: bool

    def over(self, colour: np.ndarray, z: float | np.ndarray) -> np.ndarray:
        """A colour (..., 3) as it is seen from z metres."""
        return self.haze + np.exp(-z / self.reach) * (colour - self.haze)

    @property
    def dim(self) -> float:
        """The share of daylight on things that do not shine."""
        return 0.45 if self.night else 1.0


def scene(rng: np.random.Generator, band: int) -> np.ndarray:
    """One picture (64, 64, 3), float, whose nearest car is in range number `band`."""
    camera = Camera(rng.uniform(1.3, 1.7), rng.uniform(20, 32), rng.normal(0, 0.035), rng.uniform(-0.8, 0.8),
                    rng.uniform(-0.0035, 0.0035))  # fmt: skip
    low, high = np.log(EDGES[band]), np.log(EDGES[band + 1])
    nearest = float(np.exp((low + high) / 2 + MARGIN * rng.uniform(-0.5, 0.5) * (high - low)))
    image, air = _road(rng, camera)
    cars = [nearest, *(nearest * rng.uniform(1.25, 2.5, rng.integers(0, 3)))]
    lanes = (rng.permutation(3) - 1) * LANE  # the oncoming one, ours and the next; a car in each at most
    things = [(z, _car, lane + rng.normal(0, 0.2)) for z, lane in zip(cars, lanes, strict=False)]
    for _ in range(rng.integers(2, 8)):
        beside = rng.choice([-1, 1]) * (1.6 * LANE + rng.exponential(2.5))
        things.append((rng.uniform(4, 50), _tree if rng.random() < 0.6 else _post, beside))
    for z, draw, x in sorted(things, key=lambda thing: -thing[0]):
        draw(rng, image, camera, x, z, air)
    if air.night:  # our own headlights
        image *= 0.8 + 0.5 * np.exp(-(((d.X - 32) / 26) ** 2) - ((d.Y - 46) / 18) ** 2)[..., None]
    return d.photograph(rng, image)


def _weather(rng: np.random.Generator) -> tuple[np.ndarray, Air]:
    """The colour (3,) of the sky above, and the air: noon, dusk, fog or night."""
    far = rng.uniform(120, 400)
    hour = rng.choice(["noon", "dusk", "fog", "night"], p=[0.46, 0.22, 0.2, 0.12])
    if hour == "night":
        return d.hsv(0.64, 0.6, rng.uniform(0.16, 0.26)), Air(d.hsv(0.62, 0.45, rng.uniform(0.28, 0.42)), far, True)
    if hour == "noon":
        return d.hsv(0.58, rng.uniform(0.3, 0.65), rng.uniform(0.75, 1)), Air(d.hsv(0.56, 0.12, 0.95), far, False)
    if hour == "dusk":
        glow = d.hsv(rng.uniform(0.02, 0.1), rng.uniform(0.3, 0.6), 0.95)
        return d.hsv(rng.uniform(0.6, 0.75), 0.4, 0.6), Air(glow, far, False)
    grey = d.hsv(0.58, 0.05, rng.uniform(0.65, 0.85))
    return grey, Air(grey, rng.uniform(35, 70), False)


def _road(rng: np.random.Generator, camera: Camera) -> tuple[np.ndarray, Air]:
    """Sky, hills, fields and the road with its marks (64, 64, 3), and the air."""
    zenith, air = _weather(rng)
    down = d.Y - camera.horizon - camera.roll * (d.X - 32)  # pixels below the horizon
    image = air.haze + np.clip(-down / 30, 0, 1)[..., None] * (zenith - air.haze)
    clouds = np.clip(patterns.noise_at(rng, d.X / 14, d.Y / 6) + 0.5 * d.smooth_noise(rng, 20, 10), 0, 1.5)
    image = image + (air.dim**2 * rng.uniform(0, 0.25) * clouds)[..., None] * (1 - image)
    ridge = rng.uniform(1, 5) + rng.uniform(0.5, 2.5) * d.smooth_noise(rng, 5)[:1]  # hills on the horizon
    hill = d.hsv(rng.uniform(0.25, 0.62), rng.uniform(0.15, 0.45), rng.uniform(0.25, 0.6))
    image += d.cover(down + ridge, 1.2)[..., None] * (0.55 * air.haze + 0.45 * hill - image)

    z = FOCAL * camera.height / np.maximum(down, 0.25)  # metres ahead of what lies on the ground there
    x = (d.X - 32 + camera.roll * down) * z / FOCAL + camera.shift - camera.bend * z * z
    metre = FOCAL / z  # pixels
    near = np.minimum(1, 14 / z)  # what is finer than a pixel averages out
    field = d.hsv(rng.uniform(0.1, 0.36), rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.7))
    ground = (
        field * (1 + 0.16 * near * patterns.noise_at(rng, x / 1.3, z / 1.3) + 0.1 * d.smooth_noise(rng, 6))[..., None]
    )
    asphalt = d.hsv(rng.uniform(0.05, 0.65), rng.uniform(0, 0.12), rng.uniform(0.28, 0.55))
    wear = 1 + 0.06 * near * patterns.noise_at(rng, x / 0.5, z / 2) - 0.08 * np.exp(-((np.abs(x) - 0.8) ** 2) / 0.1)
    ground += d.cover((1.62 * LANE - np.abs(x)) * metre)[..., None] * (asphalt * wear[..., None] - ground)
    dashes = (z + rng.uniform(0, 9)) % 9 < 4.5
    marks = np.maximum(d.cover((0.09 - np.abs(np.abs(x) - 1.5 * LANE)) * metre + 0.2),
                       dashes * d.cover((0.08 - np.abs(np.abs(x) - 0.5 * LANE)) * metre + 0.2))  # fmt: skip
    ground += (0.8 * marks)[..., None] * (rng.uniform(0.65, 0.95) - ground)
    image += d.cover(down - 0.3)[..., None] * (air.over(air.dim * ground, z[..., None]) - image)
    return image, air


def _car(rng: np.random.Generator, image: np.ndarray, camera: Camera, x: float, z: float, air: Air) -> None:
    """The back (in the oncoming lane the front) of a car, a van or a lorry."""
    kind = rng.choice(3, p=[0.55, 0.25, 0.2])
    width = rng.uniform(*((1.6, 1.85), (1.85, 2.05), (2.3, 2.55))[kind])
    height = rng.uniform(*((1.4, 1.6), (1.9, 2.3), (2.7, 3.4))[kind])
    hue, loud = rng.choice([0.0, 0.58, 0.6, 0.1, 0.33]) + rng.normal(0, 0.02), rng.choice([0.05, 0.1, 0.75])
    colour = d.hsv(hue, loud * rng.uniform(0.6, 1.1), rng.uniform(0.15, 0.95))
    scale = FOCAL / z  # pixels in a metre
    cx, cy = camera.at(x, 0, z)
    window, u, v = d.local(cx, cy - height * scale / 2, camera.roll, (height + width) * scale * 0.62 + 3)
    u, v = u / scale, height / 2 - v / scale  # metres right of the middle of the car, and above the road
    aside = np.abs(u)

    def lay(edge: np.ndarray, tint: np.ndarray, opacity: float = 1.0) -> None:
        d.paint(image, window, opacity * d.cover(edge * scale), air.over(air.dim * tint, z))

    shadow = np.minimum(0.58 * width - aside, 0.16 - np.abs(v)) * scale
    d.darken(image, window, 0.55 * np.exp(-z / air.reach) * d.cover(shadow, max(1, 0.2 * scale)))
    lay(np.minimum(0.13 - np.abs(aside - 0.4 * width), np.minimum(v + 0.02, 0.5 - v)), np.full(3, 0.06))  # tyres
    waist = (0.95, height - 0.15, height)[kind]  # above it the body leans inwards
    lean = 1 - 0.28 * np.clip((v - waist) / max(height - waist, 0.1), 0, 1)
    body = np.minimum(0.5 * width * lean - aside, np.minimum(v - 0.22, height - v))
    lay(body, colour * (0.62 + 0.38 * np.clip(v / height, 0, 1) - 0.15 * (u / width) ** 2)[..., None])
    if kind < 2:  # the rear window
        sill = (0.95, 1.2)[kind]
        pane = np.minimum(0.42 * width * lean - aside, np.minimum(v - sill, min(height, sill + 0.75) - 0.14 - v))
        lay(pane, np.array([0.12, 0.16, 0.2]) + 0.15 * air.haze, 0.9)
    else:  # a lorry's box: two doors
        lay(np.minimum(0.03 - aside, np.minimum(v - 0.5, height - 0.2 - v)), colour * 0.5, 0.7)
    lay(np.minimum(0.48 * width - aside, 0.12 - np.abs(v - 0.42)), 0.18 + 0.25 * colour)  # bumper
    lay(np.minimum(0.26 - aside, 0.07 - np.abs(v - 0.55)), np.full(3, 0.8))  # number plate
    lamp = np.array([1.0, 0.97, 0.85]) if x < -0.5 * LANE else np.array([0.9, 0.1, 0.08])
    lit = 1.0 if air.night or rng.random() < 0.4 else 0.65
    spot = np.hypot(aside - 0.4 * width, 1.3 * (v - 0.72))
    d.paint(image, window, d.cover((0.14 - spot) * scale), air.over(lit * lamp, 0.5 * z))  # light goes through fog
    if air.night:
        image[window] += 0.4 * np.exp(-((spot * scale / max(1.5, 0.35 * scale)) ** 2))[..., None] * lamp


def _tree(rng: np.random.Generator, image: np.ndarray, camera: Camera, x: float, z: float, air: Air) -> None:
    """A trunk and a lumpy crown."""
    tall, scale = rng.uniform(4, 8), FOCAL / z
    leaves = air.dim * d.hsv(rng.uniform(0.1, 0.38), rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.5))
    (cx, cy), (tx, ty) = camera.at(x, 0, z), camera.at(x, tall, z)
    middle, wide = cy + 0.68 * (ty - cy), max(0.3 * tall * scale, 1)
    window, u, v = d.local(cx, cy, 0.0, tall * scale * 1.1)
    if u.size:
        trunk = 0.16 * scale - d.segment(u, v, (0, 0), (tx - cx, (ty - cy) / 2))
        d.paint(image, window, d.cover(trunk), air.over(air.dim * np.array([0.28, 0.2, 0.14]), z))
        lumps = d.smooth_noise(rng, 12)[window]
        crown = d.ellipse(u - tx + cx, v - middle + cy, wide, 1.1 * wide) + 0.09 * wide * lumps
        light = np.clip(0.85 + 0.2 * lumps - 0.25 * (v - middle + cy) / wide, 0.4, 1.4)[..., None]
        d.paint(image, window, d.cover(crown), air.over(leaves * light, z))


def _post(rng: np.random.Generator, image: np.ndarray, camera: Camera, x: float, z: float, air: Air) -> None:
    """A white post with a dark band, or a road sign."""
    sign, scale = rng.random() < 0.5, FOCAL / z
    foot, head = camera.at(x, 0, z), camera.at(x, 2.3 if sign else 1.0, z)
    half = (foot[1] - head[1]) / 2
    window, u, v = d.local(head[0], foot[1] - half, camera.roll, 1.2 * half + 0.5 * scale + 3)
    pole = np.minimum((0.05 if sign else 0.09) * scale + 0.2 - np.abs(u), half - np.abs(v))

    def lay(edge: np.ndarray, tint: tuple[float, float, float]) -> None:
        d.paint(image, window, d.cover(edge), air.over(air.dim * np.array(tint), z))

    lay(pole, (0.5, 0.5, 0.5) if sign else (0.9, 0.9, 0.9))
    if sign:
        disc = 0.42 * scale - np.hypot(u, v + half)
        lay(disc, (0.8, 0.1, 0.1))
        lay(disc - 0.12 * scale, (0.9, 0.9, 0.9))
    else:
        lay(np.minimum(pole, 0.12 * scale - np.abs(v + 0.5 * half)), (0.15, 0.15, 0.15))
