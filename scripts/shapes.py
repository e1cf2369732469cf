"""The vocabulary of the pretraining pictures: solid shapes, stroked glyphs and textures, as formulas.

Every function works on a whole batch of local coordinates at once and returns *signed distances* in
units of the object's size (negative inside), so that the drawing can smooth edges at any scale.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

SOLIDS = (
    "disc",
    "square",
    "triangle",
    "star",
    "cross",
    "ring",
    "crescent",
    "half",
    "arrow",
    "corner",
    "pair",
    "wedge",
)
GLYPHS = 12  # unnamed open strokes through five fixed points each
CLASSES = len(SOLIDS) + GLYPHS
TEXTURES = ("plain", "stripes", "checks", "dots", "waves", "rings", "noise")
# Eight hues far apart, RGB in 0..1; an instance is jittered around its hue.
HUES = torch.tensor(
    [
        [0.90, 0.15, 0.15], [0.95, 0.55, 0.10], [0.95, 0.90, 0.20], [0.20, 0.75, 0.25],
        [0.15, 0.75, 0.85], [0.20, 0.30, 0.90], [0.65, 0.25, 0.85], [0.93, 0.93, 0.93],
    ]
)  # fmt: skip


def _box(u: Tensor, v: Tensor, half_u: float, half_v: float) -> Tensor:
    return torch.maximum(u.abs() - half_u, v.abs() - half_v)


def _polygon(u: Tensor, v: Tensor, sides: int, inner: float) -> Tensor:
    """A regular polygon whose corner 0 points up (-v): the largest of its half planes."""
    planes = [
        u * math.sin(2 * math.pi * (k + 0.5) / sides) - v * math.cos(2 * math.pi * (k + 0.5) / sides)
        for k in range(sides)
    ]
    return torch.stack(planes).amax(0) - inner


def _star(u: Tensor, v: Tensor) -> Tensor:
    """Five points: fold the angle into one tenth of the turn, then one half plane."""
    radius, angle = torch.hypot(u, v), torch.atan2(u, -v)
    tenth = math.pi / 5
    folded = torch.remainder(angle + tenth, 2 * tenth) - tenth
    x, y = radius * torch.cos(folded), radius * torch.sin(folded).abs()
    # The edge runs from the tip (1, 0) to the notch at 0.42 of the radius, 36 degrees on.
    nx, ny = 0.42 * math.cos(tenth), 0.42 * math.sin(tenth)
    dx, dy = nx - 1.0, ny
    return (dy * (x - 1.0) - dx * y) / math.hypot(dx, dy)


def solid(index: int, u: Tensor, v: Tensor) -> Tensor:
    """Signed distance of solid shape `index` at local coordinates (n, H, W); it fills about [-1, 1]."""
    name = SOLIDS[index]
    if name == "disc":
        return torch.hypot(u, v) - 0.85
    if name == "square":
        return _box(u, v, 0.75, 0.75)
    if name == "triangle":
        return _polygon(u, v + 0.15, 3, 0.52)
    if name == "star":
        return _star(u, v)
    if name == "cross":
        return torch.minimum(_box(u, v, 0.95, 0.28), _box(u, v, 0.28, 0.95))
    if name == "ring":
        return (torch.hypot(u, v) - 0.68).abs() - 0.22
    if name == "crescent":
        return torch.maximum(torch.hypot(u, v) - 0.9, 0.68 - torch.hypot(u - 0.45, v))
    if name == "half":
        return torch.maximum(torch.hypot(u, v - 0.35) - 0.9, v - 0.35)
    if name == "arrow":
        head = torch.maximum(_polygon(u, v + 0.35, 3, 0.32), v + 0.03)
        return torch.minimum(head, _box(u, v - 0.45, 0.2, 0.5))
    if name == "corner":
        return torch.minimum(_box(u + 0.5, v, 0.27, 0.85), _box(u, v - 0.6, 0.77, 0.25))
    if name == "pair":
        return torch.minimum(_box(u, v + 0.5, 0.9, 0.24), _box(u, v - 0.5, 0.9, 0.24))
    # wedge: a disc with a mouth of 80 degrees open to the right
    mouth = u * math.sin(math.radians(40)) - v.abs() * math.cos(math.radians(40))
    return torch.maximum(torch.hypot(u, v) - 0.88, mouth)


def _glyph_points() -> Tensor:
    """(GLYPHS, 5, 2): control points on the unit square, spread by a fixed low-discrepancy formula."""
    generator = torch.Generator().manual_seed(20)
    found: list[Tensor] = []
    while len(found) < GLYPHS:
        points = torch.rand(5, 2, generator=generator) * 1.8 - 0.9
        steps = (points[1:] - points[:-1]).norm(dim=-1)
        spread = points.amax(0) - points.amin(0)
        alike = any((points - other).norm(dim=-1).mean() < 0.55 for other in found)
        if steps.min() > 0.7 and spread.min() > 1.3 and not alike:
            found.append(points)
    return torch.stack(found)


GLYPH_POINTS = _glyph_points()


def glyph(index: Tensor, u: Tensor, v: Tensor, wobble: Tensor, thickness: Tensor) -> Tensor:
    """Distance to smooth open strokes. index (n,), u and v (n, H, W), wobble (n, 5, 2), thickness (n,)."""
    points = GLYPH_POINTS.to(u.device)[index] + wobble  # (n, 5, 2)
    # Catmull-Rom through the five points, three straight pieces per span.
    padded = torch.cat([2 * points[:, :1] - points[:, 1:2], points, 2 * points[:, -1:] - points[:, -2:-1]], 1)
    nodes = []
    for span in range(4):
        a, b, c, d = (padded[:, span + k] for k in range(4))
        for t in (0.0, 1 / 3, 2 / 3):
            nodes.append(
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            )
    nodes.append(points[:, -1])
    nearest = torch.full_like(u, math.inf)
    for start, end in pairwise(nodes):
        along = end - start  # (n, 2)
        sx, sy = start[:, 0, None, None], start[:, 1, None, None]
        ax, ay = along[:, 0, None, None], along[:, 1, None, None]
        pu, pv = u - sx, v - sy
        t = ((pu * ax + pv * ay) / (ax * ax + ay * ay + 1e-6)).clamp_(0, 1)
        nearest = torch.minimum(nearest, (pu - t * ax).square_().add_((pv - t * ay).square_()))
    return nearest.sqrt_() - thickness[:, None, None]


def texture(kind: Tensor, x: Tensor, y: Tensor, period: Tensor, angle: Tensor, noise: Tensor) -> Tensor:
    """Texture values in 0..1. kind, period (pixels), angle: (n,); x, y (pixels), noise (0..1): (n, H, W)."""
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    p = (x * cos + y * sin) * (2 * math.pi / period)[:, None, None]
    q = (y * cos - x * sin) * (2 * math.pi / period)[:, None, None]
    wave_p, wave_q = torch.sin(p), torch.sin(q)
    out = torch.full_like(x, 0.5)
    choices = {
        1: lambda s: wave_p[s],
        2: lambda s: wave_p[s] * wave_q[s] * 2,
        3: lambda s: wave_p[s] + wave_q[s] - 1.1,
        4: lambda s: torch.sin(p[s] + 1.8 * torch.sin(0.5 * q[s])),
        5: lambda s: torch.sin(torch.hypot(p[s], q[s])),
    }
    for index, formula in choices.items():
        s = (kind == index).nonzero(as_tuple=True)[0]
        if len(s):
            out[s] = (0.5 + 1.5 * formula(s)).clamp_(0, 1)
    s = (kind == 6).nonzero(as_tuple=True)[0]
    if len(s):
        out[s] = noise[s]
    return out
