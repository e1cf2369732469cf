"""What the drawn tasks share: noise, soft brushes and a camera, in plain numpy.

An image in the making is a float64 array (SIZE, SIZE, 3) with values in 0..1. float64 on purpose: the last bits
of sin and exp differ between processors, and only in double precision is that far below one byte step.
Edges are anti-aliased analytically: coverage is the signed distance to the edge in pixels, clipped to one pixel.
Angles are in radians; x points right and y down, as in every image.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

import numpy as np

from peftcore.task import Split
from peftcore.uploads.pictures import Pictures

SIZE = 64  # pixels on a side
SIZES = {"train": 800, "val": 200, "test": 1000}  # images per split of every drawn task
Y, X = np.mgrid[0:SIZE, 0:SIZE] + 0.5  # pixel centres, each (SIZE, SIZE)

_CORNERS = ((X - SIZE / 2) ** 2 + (Y - SIZE / 2) ** 2) / (SIZE**2 / 2)  # 0 in the middle, 1 in the corners

Window = tuple[slice, slice]
Draw = Callable[[np.random.Generator, int], np.ndarray]
DrawAt = Callable[[np.random.Generator, int, int], np.ndarray]


def draw_splits(draw: Draw, classes: int, seed: int) -> tuple[Split, Split, Split]:
    """Train, val and test, drawn when they are read: `draw(rng, label)` makes one (SIZE, SIZE, 3) float image.

    Each image has its own generator, seeded by (seed, split, index): no image depends on which or how many others are
    drawn, and no two splits share a stream.
    """
    train, val, test = (
        draw_split(lambda rng, index, label: draw(rng, label), seed, number, count, classes)
        for number, count in enumerate(SIZES.values())
    )
    return train, val, test


def draw_split(draw: DrawAt, seed: int, number: int, count: int, classes: int) -> Split:
    """Split `number` of a task: `draw(rng, index, label)` makes one (SIZE, SIZE, 3) float image."""
    labels = split_labels(seed, number, count, classes)
    labels.flags.writeable = False
    return Split(Drawn(draw, (seed, number), labels), labels)


class Drawn(Pictures):
    """Pictures drawn when they are first read, then kept: a page that shows six of a task waits only for six."""

    def __init__(self, draw: DrawAt, stream: tuple[int, int], labels: np.ndarray):
        super().__init__(range(len(labels)), SIZE, kept_bytes=sys.maxsize)
        self.draw, self.stream, self.labels = draw, stream, labels

    def _decode(self, numbers: np.ndarray) -> tuple[np.ndarray, list]:
        # One at a time: threads would only compete for the interpreter.
        return np.stack([self._read(int(number)) for number in numbers]), []

    def _read(self, number: int) -> np.ndarray:
        rng = np.random.default_rng([*self.stream, number])
        return to_bytes(self.draw(rng, number, int(self.labels[number])))


def split_labels(seed: int, number: int, count: int, classes: int) -> np.ndarray:
    """The labels (count,) of split `number`, balanced and in random order."""
    return balanced_labels(count, classes, np.random.default_rng([seed, number]))


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Values in 0..1, clipped, as uint8 in 0..255."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------- noise


@cache
def _upsampler(cells: int) -> np.ndarray:
    """Cubic B-spline weights (SIZE, cells + 3) from a coarse grid to pixels, rows scaled to keep the variance."""
    position = (np.arange(SIZE) + 0.5) / SIZE * cells
    cell = np.floor(position).astype(int)
    t = position - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    matrix = np.zeros((SIZE, cells + 3))
    for tap in range(4):
        matrix[np.arange(SIZE), cell + tap] = weights[tap]
    return matrix / np.sqrt((matrix**2).sum(1, keepdims=True))


def smooth_noise(rng: np.random.Generator, rows: int, columns: int | None = None) -> np.ndarray:
    """Smooth noise (SIZE, SIZE), mean 0 and variance 1, with `rows` x `columns` bumps over the image."""
    columns = columns or rows
    grid = rng.standard_normal((rows + 3, columns + 3))
    return _upsampler(rows) @ grid @ _upsampler(columns).T


def fractal_noise(rng: np.random.Generator, octaves: tuple[int, ...] = (3, 6, 12, 24)) -> np.ndarray:
    """A sum of smooth noises, each octave half as strong as the one before; (SIZE, SIZE), variance 1."""
    weights = 0.5 ** np.arange(len(octaves))
    weights /= np.sqrt((weights**2).sum())
    return sum(weight * smooth_noise(rng, cells) for weight, cells in zip(weights, octaves, strict=True))


def gradient(rng: np.random.Generator) -> np.ndarray:
    """A linear ramp (SIZE, SIZE) from -1 to 1 in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * (X - SIZE / 2) + np.sin(angle) * (Y - SIZE / 2)
    return ramp / np.abs(ramp).max()


# -------------------------------------------------------------------------------------------------- brushes


def segment(x: np.ndarray, y: np.ndarray, start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """Distance in pixels of the points (x, y) to the straight stroke from start to end."""
    (ax, ay), (bx, by) = start, end
    dx, dy = bx - ax, by - ay
    t = np.minimum(np.maximum(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-12), 0), 1)
    return np.sqrt((x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2)


def local(cx: float, cy: float, angle: float, reach: float) -> tuple[Window, np.ndarray, np.ndarray]:
    """The window of pixels within `reach` of (cx, cy), and their coordinates along and across `angle`."""
    rows = slice(max(int(cy - reach), 0), min(int(cy + reach) + 2, SIZE))
    columns = slice(max(int(cx - reach), 0), min(int(cx + reach) + 2, SIZE))
    window = (rows, columns)
    dx, dy = X[window] - cx, Y[window] - cy
    cos, sin = np.cos(angle), np.sin(angle)
    return window, cos * dx + sin * dy, -sin * dx + cos * dy


def cover(distance: np.ndarray, softness: float = 1.0) -> np.ndarray:
    """Coverage 0..1 from the signed distance to an edge in pixels (positive inside), `softness` pixels wide."""
    # On arrays as small as these np.clip takes twice as long.
    return np.minimum(np.maximum(distance / softness + 0.5, 0), 1)


def ellipse(x: np.ndarray, y: np.ndarray, a: float, b: float) -> np.ndarray:
    """Approximate signed distance (positive inside) to the ellipse with half axes a along x and b along y."""
    inner = np.sqrt((x / a) ** 2 + (y / b) ** 2)
    slope = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2)
    return inner * (1 - inner) / np.maximum(slope, 1e-9) + (inner < 1e-6) * min(a, b)


def paint(image: np.ndarray, window: Window, coverage: np.ndarray, colour: np.ndarray) -> None:
    """Lay `colour`, (3,) or (h, w, 3), over the window of `image` in place, as opaque as `coverage` (h, w)."""
    image[window] += coverage[..., None] * (colour - image[window])


def darken(image: np.ndarray, window: Window, amount: np.ndarray) -> None:
    """Multiply the window of `image` in place by 1 - amount (h, w): a shadow."""
    image[window] *= 1 - amount[..., None]


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB (3,) of a hue (0..1, wraps), a saturation and a value."""
    sector = (np.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    return value - value * saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1)


def leaf(rng: np.random.Generator, image: np.ndarray, cx: float, cy: float, length: float, colour: np.ndarray) -> None:
    """A pointed leaf with midrib, side veins and a soft shadow, `length` pixels from tip to tip, any direction."""
    angle, half, width = rng.uniform(0, 2 * np.pi), length / 2, length * rng.uniform(0.16, 0.26)
    bend = rng.uniform(-0.12, 0.12) / half
    shape = []
    for shift in (1.2, 0.0):  # the shadow first, then the blade
        window, x, y = local(cx + shift * 0.6, cy + shift, angle, half + 3)
        t = np.minimum(np.maximum(x / half, -1), 1)
        shape.append((window, x, y - bend * x**2, width * (1 - t**2) * (1 + 0.25 * t)))
    window, x, y, reach = shape[0]
    darken(image, window, 0.3 * cover(np.minimum(reach - np.abs(y), half - np.abs(x)), 3))
    window, x, y, reach = shape[1]
    veins = 0.06 * np.sin((x - np.abs(y)) * 2 * np.pi / rng.uniform(2.5, 4))
    shade = 1 + veins + 0.12 * np.sign(y) * np.minimum(np.abs(y), 1)
    paint(image, window, cover(np.minimum(reach - np.abs(y), half - np.abs(x))), colour * shade[..., None])
    paint(image, window, 0.6 * cover(np.minimum(0.35 - np.abs(y), half - np.abs(x))), colour * 0.6 + 0.3)


def pebble(
    rng: np.random.Generator, image: np.ndarray, cx: float, cy: float, radius: float, colour: np.ndarray
) -> None:
    """A matte, lumpy, speckled stone of about `radius` pixels with a soft shadow."""
    angle, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0.62, 0.9)
    phase = rng.uniform(0, 2 * np.pi, 2)
    window, x, y = local(cx + 0.7, cy + 1.2, angle, radius * 1.3 + 3)
    darken(image, window, 0.4 * cover(ellipse(x, y, radius, radius * squeeze), 3))
    window, x, y = local(cx, cy, angle, radius * 1.3 + 2)
    around = np.arctan2(y, x)
    lumps = 1 + 0.09 * np.sin(2 * around + phase[0]) + 0.07 * np.sin(3 * around + phase[1])
    edge = ellipse(x / lumps, y / lumps, radius, radius * squeeze)
    light = 0.82 + 0.28 * np.clip(edge / radius, 0, 1) + 0.06 * rng.standard_normal(x.shape)
    paint(image, window, cover(edge), colour * light[..., None])


# --------------------------------------------------------------------------------------------------- camera


def photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A scene through a cheap camera: vignette, tint, exposure, a little blur, sensor grain."""
    vignette = 1 - rng.uniform(0, 0.35) * _CORNERS
    tint = rng.uniform(0.85, 1.15) * (1 + rng.uniform(-0.06, 0.06, 3))
    image = image * (vignette[..., None] * tint)
    side = rng.uniform(0.05, 0.2)  # weights of a three-tap blur: side, 1 - 2 side, side
    image[1:-1] = (1 - 2 * side) * image[1:-1] + side * (image[:-2] + image[2:])
    image[:, 1:-1] = (1 - 2 * side) * image[:, 1:-1] + side * (image[:, :-2] + image[:, 2:])
    grain = rng.uniform(0.008, 0.035) * np.sqrt(np.maximum(image, 0.05))  # brighter is noisier: photons
    return image + grain * rng.standard_normal(image.shape, dtype=np.float32)


def defocus(image: np.ndarray, times: int) -> np.ndarray:
    """A soft lens: the weights 1, 2, 1 across and down, applied `times` times."""
    for _ in range(times):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
        rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        image = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4
    return image


def balanced_labels(count: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """`count` int64 labels in random order, every class equally often (to within one)."""
    return rng.permutation(np.arange(count, dtype=np.int64) % classes)
