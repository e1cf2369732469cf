"""Draws the pretraining pictures and their labels, a batch at a time, from formulas and a seed.

No photograph and no data set is involved. A picture is a textured background and up to eight objects
(a solid shape or a stroked glyph) with a colour, a texture, a heading, a size and a place. The
difficulty of a picture is one number in 0..1: at 0 one large, bright, nearly upright object on a plain ground;
at 1 up to eight pale, rotated objects in clutter. The curriculum raises the hardest level drawn.

Batch `i` of seed `s` always has the same pictures on the same kind of device, so a run resumes exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from pen import SIZE, Pen
from shapes import CLASSES, HUES, SOLIDS, TEXTURES, glyph, solid, texture
from torch import Tensor
from torch.nn import functional as F

PATCH = 8
GRID = SIZE // PATCH
MOST = 8  # objects in one picture
STRIPES = TEXTURES.index("stripes")


@dataclass
class Labels:
    """What a batch shows: B pictures of N = 64 patches in row order. Shares of area sum to one."""

    classes: Tensor  # (B, CLASSES) share of the objects' visible area by class
    hues: Tensor  # (B, len(HUES)) the same by colour
    kinds: Tensor  # (B, len(TEXTURES)) the same by texture
    rows: Tensor  # (B, 8) where the objects' centres are, by row of the grid
    columns: Tensor  # (B, 8)
    quarters: Tensor  # (B, 4) centres in each quarter of the picture
    heading: Tensor  # (B, 2) cos and sin of the largest object's heading
    patch_class: Tensor  # (B, N) int64: class that covers most of the patch, or CLASSES for the ground
    patch_kind: Tensor  # (B, N) int64: texture on most of the patch
    patch_hue: Tensor  # (B, N) int64: hue on most of the patch, or len(HUES) for the ground
    patch_centre: Tensor  # (B, N) 1 where an object's centre lies
    patch_heading: Tensor  # (B, N, 2) cos and sin of the object there
    patch_stripes: Tensor  # (B, N, 2) cos and sin of twice the stripes' angle
    patch_filled: Tensor  # (B, N) 1 where an object covers the patch
    patch_striped: Tensor  # (B, N) 1 where the patch is striped

    def to(self, device: torch.device | str) -> Labels:
        return Labels(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def draw(seed: int, batch: int, size: int, hardest: float, device: torch.device | str = "cpu") -> tuple[Tensor, Labels]:
    """Pictures (size, 3, 64, 64) in 0..1 and their labels.

    Args:
        seed, batch: which batch; the same pair draws the same pictures.
        size: pictures in the batch.
        hardest: 0..1; the pictures' levels lie between 0 and this, leaning to the easy side.
    """
    pen = Pen(seed, batch, device)
    # How turned, crowded, pale and cluttered a picture is are four independent levels, (B,) each.
    turned, crowded, pale_level, level = hardest * pen.uniform(0.0, 1.0, 4, size) ** 1.5
    # Soft pictures: muted colours in daylight. Herds of small things, or one long body among little ones.
    soft = pen.uniform(0.0, 1.0, size) < 0.6 * hardest
    herd = soft & (pen.uniform(0.0, 1.0, size) < 0.5)
    body = soft & ~herd
    any_level = pen.uniform(0.0, 1.0, size)
    turned = torch.where(soft, 1.0, turned)
    crowded = torch.where(herd, any_level, torch.where(body, 0.4 * any_level, crowded))
    axis = torch.arange(SIZE, device=device, dtype=torch.float32) + 0.5
    y, x = (a.expand(size, SIZE, SIZE) for a in torch.meshgrid(axis, axis, indexing="ij"))
    picture, ground_kind, ground_angle = _ground(pen, level, soft, x, y)

    count = 1 + (crowded * MOST).floor().clamp(max=MOST - 1).long()
    largest = 25.0 / count.float().sqrt()  # pixels; the more objects there are, the smaller they are
    largest = torch.where(herd, largest.minimum(pen.uniform(4.5, 9.0, size)), largest)
    stretch = torch.where(soft, pen.uniform(0.8, 2.6, size), torch.ones_like(level))  # how slim a body is
    stretch = torch.where(herd, 1.0, stretch)
    muted, dim = 0.5 * pen.uniform(0.0, 1.0, size) * soft, 1 - 0.5 * pen.uniform(0.0, 1.0, size) * soft
    flock = pen.uniform(0.0, 1.0, size) < 0.4  # all objects of one class and hue
    light = pen.uniform(0.0, 2 * math.pi, size)
    owner = torch.full((size, SIZE, SIZE), -1, dtype=torch.long, device=device)  # which object shows
    table: dict[str, list[Tensor]] = {k: [] for k in ("class", "hue", "kind", "angle", "stripes", "cx", "cy", "size")}
    for k in range(int(count.max())):
        cls = pen.integer(CLASSES, size)
        hue = pen.integer(len(HUES), size)
        if k > 0:
            cls, hue = torch.where(flock, table["class"][0], cls), torch.where(flock, table["hue"][0], hue)
        round_herd = herd & (pen.uniform(0.0, 1.0, size) < 0.4)
        cls = torch.where(round_herd, SOLIDS.index("disc"), cls)
        kind = torch.where(pen.uniform(0.0, 1.0, size) < 0.35, 0, pen.integer(len(TEXTURES), size))
        room = torch.where(body, pen.uniform(3.5, 9.0, size) if k else 0 * largest + 26.0, largest)
        radius = room * pen.uniform(0.75 - 0.3 * level, torch.ones_like(level), size)
        cx, cy = _place(pen, radius, table["cx"], table["cy"])
        # A few degrees at level 0, the whole turn from level 0.6 on.
        angle = pen.uniform(-1.0, 1.0, size) * (0.15 + (math.pi - 0.15) * turned.clamp(max=0.6) / 0.6)
        stripes, period = pen.uniform(0.0, math.pi, size), pen.uniform(5.0, 9.0, size)
        colour = (HUES.to(device)[hue] + 0.06 * pen.normal(size, 3)).clamp(0, 1)
        colour = dim[:, None] * torch.lerp(colour, colour.mean(1, keepdim=True), muted[:, None])
        pale = pen.uniform(0.0, 0.6, size) * pale_level
        depth = pen.uniform(0.4, 0.7, size)
        wobble, thickness = 0.09 * pen.normal(size, 5, 2), pen.uniform(0.13, 0.3, size)
        blur = 1.0 + 3.0 * pen.uniform(0.0, 1.0, size) ** 2 * pen.uniform(0.0, 1.0, size)
        grain, relief = pen.noise(size), pen.uniform(0.0, 0.5, size) * torch.where(soft, 1.4, level)
        rim = pen.uniform(-0.4, 0.7, size).clamp(min=0)  # how dark the outline is; a third have none
        for name, value in zip(table, (cls, hue, kind, angle, stripes, cx, cy, radius), strict=True):
            table[name].append(value)

        s = (k < count).nonzero(as_tuple=True)[0]  # the pictures that have this object, n of them
        xs, ys = x[s], y[s]  # (n, H, W)
        cos, sin = torch.cos(angle[s])[:, None, None], torch.sin(angle[s])[:, None, None]
        scale = radius[s, None, None]
        du, dv = (xs - cx[s, None, None]) / scale, (ys - cy[s, None, None]) / scale
        slim = stretch[s, None, None] if k == 0 else 1.0
        u, v = slim * (du * cos + dv * sin), dv * cos - du * sin
        distance = _distance(cls[s], u, v, wobble[s], thickness[s])
        alpha = (0.5 - distance * (scale / blur[s, None, None])).clamp_(0, 1)
        shade = texture(kind[s], xs, ys, period[s], stripes[s], grain[s])
        shade = torch.where((kind[s] == 0)[:, None, None], 1.0, 1.0 - depth[s, None, None] * (1 - shade))
        lit = torch.cos(light[s])[:, None, None] * du + torch.sin(light[s])[:, None, None] * dv
        shade = shade * (1 + relief[s, None, None] * lit).clamp_(0, 1.5)
        shade = shade * (1 - rim[s, None, None] * (1 + distance * scale / 1.8).clamp_(0, 1))
        ink = colour[s, :, None, None] * shade[:, None]
        under = picture[s]
        picture[s] = under + (alpha * (1 - pale[s, None, None]))[:, None] * (ink - under)
        owner[s] = torch.where(alpha > 0.5, k, owner[s])

    picture = torch.where(soft[:, None, None, None], F.avg_pool2d(picture, 3, 1, 1, count_include_pad=False), picture)
    speck = pen.uniform(0.0, 0.06, size)[:, None, None, None] * (0.2 + level[:, None, None, None])
    picture = picture + speck * pen.normal(size, 3, SIZE, SIZE)
    grey = pen.uniform(0.0, 1.0, size) < 0.15  # some pictures have no colour at all
    picture = torch.where(grey[:, None, None, None], picture.mean(1, keepdim=True), picture).clamp_(0, 1)
    columns = {name: torch.stack(values, 1) for name, values in table.items()}  # each (B, K)
    return picture, _labels(columns, owner, count, ground_kind, ground_angle)


def _place(pen: Pen, radius: Tensor, others_x: list[Tensor], others_y: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Centres (B,), (B,) inside the picture: of four random positions the one with most room."""
    size = len(radius)
    reach = (SIZE / 2 - 0.85 * radius).clamp(min=2.0)
    spots = SIZE / 2 + reach * pen.uniform(-1.0, 1.0, 2, 4, size)  # (xy, candidate, B)
    if not others_x:
        return spots[0, 0], spots[1, 0]
    others = torch.stack([torch.stack(others_x), torch.stack(others_y)])  # (xy, objects, B)
    room = (spots[:, :, None] - others[:, None]).square().sum(0).amin(1)  # (candidate, B)
    best = room.argmax(0, keepdim=True)
    return spots[0].gather(0, best)[0], spots[1].gather(0, best)[0]


def _ground(pen: Pen, level: Tensor, soft: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A dark (soft: any) background, a little textured: (B, 3, H, W), its kind and angle (B,)."""
    size = len(level)
    base = torch.where(pen.uniform(0.0, 1.0, size) < 0.75, pen.uniform(0.0, 0.3, size), pen.uniform(0.5, 0.75, size))
    base = torch.where(soft, pen.uniform(0.2, 0.85, size), base)
    tint = (base[:, None] + (1.0 + 1.5 * soft[:, None]) * pen.uniform(-0.1, 0.1, size, 3)).clamp(0, 1)
    kind = torch.where(pen.uniform(0.0, 1.0, size) < 0.4, 0, pen.integer(len(TEXTURES), size))
    angle, period = pen.uniform(0.0, math.pi, size), pen.uniform(5.0, 11.0, size)
    value = texture(kind, x, y, period, angle, pen.noise(size)) - 0.5
    swing = pen.uniform(0.08, 0.16, size) + 0.3 * level * pen.uniform(0.0, 1.0, size)
    slope, way = 0.2 * level * pen.uniform(0.0, 1.0, size), pen.uniform(0.0, 2 * math.pi, size)
    ramp = (torch.cos(way)[:, None, None] * x + torch.sin(way)[:, None, None] * y) / SIZE - 0.5
    shade = swing[:, None, None] * value + slope[:, None, None] * ramp
    return (tint[:, :, None, None] + shade[:, None]).clamp_(0, 1), kind, angle


def _distance(cls: Tensor, u: Tensor, v: Tensor, wobble: Tensor, thickness: Tensor) -> Tensor:
    """Signed distances (n, H, W): each picture's own formula, evaluated only on the pictures that need it."""
    out = torch.empty_like(u)
    for index in range(len(SOLIDS)):
        s = (cls == index).nonzero(as_tuple=True)[0]
        if len(s):
            out[s] = solid(index, u[s], v[s])
    s = (cls >= len(SOLIDS)).nonzero(as_tuple=True)[0]
    if len(s):
        out[s] = glyph(cls[s] - len(SOLIDS), u[s], v[s], wobble[s], thickness[s])
    return out


def _labels(
    table: dict[str, Tensor], owner: Tensor, count: Tensor, ground_kind: Tensor, ground_angle: Tensor
) -> Labels:
    """Labels from what is visible: a covered object does not count."""
    batch, most = table["class"].shape
    shown = F.one_hot(owner + 1, most + 1)  # (B, H, W, 1 + K), column 0 the ground
    shown = shown.view(batch, GRID, PATCH, GRID, PATCH, most + 1).sum((2, 4)).view(batch, GRID * GRID, most + 1)
    area = shown[:, :, 1:].sum(1).float()  # (B, K) pixels of each object
    alive = area > 12  # an object that is almost entirely hidden does not count
    weight = area * alive
    weight = weight / weight.sum(1, keepdim=True).clamp(min=1)

    def share(name: str, classes: int) -> Tensor:
        return torch.zeros(batch, classes, device=area.device).scatter_add_(1, table[name], weight)

    cell_x = (table["cx"] / PATCH).long().clamp(0, GRID - 1)
    cell_y = (table["cy"] / PATCH).long().clamp(0, GRID - 1)
    one = alive.float()

    def tally(cells: Tensor, bins: int) -> Tensor:
        return torch.zeros(batch, bins, device=area.device).scatter_add_(1, cells, one)

    rows, columns = tally(cell_y, GRID), tally(cell_x, GRID)
    quarter = 2 * (cell_y >= GRID // 2).long() + (cell_x >= GRID // 2).long()

    objects = shown[:, :, 1:]  # (B, N, K)
    top = objects.argmax(-1)
    filled = objects.sum(-1) >= PATCH * PATCH // 4

    def there(name: str) -> Tensor:
        return table[name].gather(1, top)

    ground = ~filled
    kind = torch.where(filled, there("kind"), ground_kind[:, None])
    stripes = torch.where(filled, there("stripes"), ground_angle[:, None])
    heading = there("angle")
    main = table["angle"].gather(1, weight.argmax(1, keepdim=True))[:, 0]
    return Labels(
        classes=share("class", CLASSES),
        hues=share("hue", len(HUES)),
        kinds=share("kind", len(TEXTURES)),
        rows=rows / rows.sum(1, keepdim=True).clamp(min=1),
        columns=columns / columns.sum(1, keepdim=True).clamp(min=1),
        quarters=tally(quarter, 4),
        heading=torch.stack([torch.cos(main), torch.sin(main)], -1),
        patch_class=torch.where(ground, CLASSES, there("class")),
        patch_kind=kind,
        patch_hue=torch.where(ground, len(HUES), there("hue")),
        patch_centre=tally(cell_y * GRID + cell_x, GRID * GRID).clamp(max=1),
        patch_heading=torch.stack([torch.cos(heading), torch.sin(heading)], -1),
        patch_stripes=torch.stack([torch.cos(2 * stripes), torch.sin(2 * stripes)], -1),
        patch_filled=filled.float(),
        patch_striped=(kind == STRIPES).float(),
    )
