"""Images as the page takes them: small, many at once, each with its name on hover."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

SHARP = 2  # pixels per pixel of the page, for dense screens
QUALITY = 88  # of WebP


class Thumbnail(NamedTuple):
    """An image's data address and its name."""

    address: str
    name: str


def thumbnail(image: np.ndarray, name: str, side: int) -> Thumbnail:
    """uint8 (H, W, 3), made no larger than `side` pixels of the page need."""
    return Thumbnail(_address(_smaller(image, SHARP * side)), name)


def row(images: Sequence[Thumbnail], side: int) -> str:
    """HTML of images side by side, `side` pixels each, in as many lines as they need."""
    drawn = "".join(_image(image, f"width:{side}px;height:{side}px") for image in images)
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px">{drawn}</div>'


def strip(images: Sequence[Thumbnail], count: int) -> str:
    """HTML of one line of images as wide as its place, with room for `count` of them; nothing moves when they come."""
    drawn = "".join(_image(image, "width:100%;aspect-ratio:1") for image in images)
    line = f"display:grid;grid-template-columns:repeat({count},1fr);gap:4px;aspect-ratio:{count};overflow:hidden"
    return f'<div style="{line}">{drawn}</div>'


def _image(image: Thumbnail, size: str) -> str:
    name = html.escape(image.name)
    return f'<img src="{image.address}" alt="{name}" title="{name}" style="{size};border-radius:2px;object-fit:cover">'


def by_class(rows: Iterable[tuple[str, Sequence[Thumbnail]]], side: int, columns: int) -> str:
    """HTML of classes, one below the other: each one's name, and beside it its images, `columns` in a line and smaller
    where it is narrow. Names take as much room as the longest needs, and no more than 7rem."""
    drawn = "".join(
        f'<div style="text-align:right;overflow-wrap:anywhere;font-size:0.9rem">{html.escape(name)}</div>'
        f'<div style="display:grid;grid-template-columns:repeat({columns},minmax(0,{side}px));gap:4px">'
        f"{''.join(_image(image, 'width:100%;aspect-ratio:1') for image in images)}</div>"
        for name, images in rows
    )
    grid = "display:grid;grid-template-columns:fit-content(7rem) 1fr;gap:4px 12px;align-items:center"
    return f'<div style="{grid}">{drawn}</div>'


def blank(height: int) -> str:
    """HTML that keeps the place of what comes."""
    return f'<div style="height:{height}px"></div>'


class Sheet(NamedTuple):
    """Many images in one picture, row by row: its data address, images per row, pixels of each one's side."""

    address: str
    columns: int
    side: int


def sheet(images: Sequence[np.ndarray] | np.ndarray, side: int) -> Sheet:
    """One picture of all images, each `side` pixels square."""
    columns = max(1, int(np.ceil(np.sqrt(len(images)))))
    whole = np.zeros((-(-len(images) // columns) * side, columns * side, 3), np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * side, i % columns * side
        whole[y : y + side, x : x + side] = _resized(image, side)
    return Sheet(_address(whole), columns, side)


def _smaller(image: np.ndarray, most: int) -> np.ndarray:
    return _resized(image, most) if max(image.shape[:2]) > most else image


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    if image.shape[:2] == (side, side):
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def _address(image: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
