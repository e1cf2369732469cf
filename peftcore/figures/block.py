"""One block of a transformer under a method, as SVG: what is frozen, what trains, what is kept for backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from peftcore.figures import theme, words
from peftcore.figures.components import component_colour

ROW, GAP, TOP, BOTTOM, LINE = 30, 12, 34, 34, 20  # pixels
LETTER, PADDING = 7.1, 9  # of a box's title
VALUE, SHORTEST = 72, 48  # for the bytes beside a bar, and the room that bars have at the least


def block(
    rows: Sequence[Mapping[str, Any]], *, side: Mapping[str, Any] | None = None, width: int = 640, dark: bool = False
) -> str:
    """The parts of a block from its input, at the top, to its output, one below the other; at their right the bytes
    that a step keeps of each, on one scale.

    Args:
        rows: with title, frozen and trained (weights) and kept (bytes), in the order in which tokens pass.
        side: of a side method: trained, its weights in all, and features, the bytes that it reads in a step.
        width: pixels, at least 300.
    """
    needed = max(map(_needed, rows))
    box = max(int(width * 0.4), min(needed, width - 24 - VALUE - SHORTEST))
    bar, room = box + 24, width - box - 24 - VALUE  # where bars begin, and how long the longest may be
    most = max([row["kept"] for row in rows] + [(side or {}).get("features", 0), 1])
    ink, muted = theme.ink(dark), theme.muted(dark)
    parts = [_text(0, 18, "what tokens pass", muted, 12), _text(bar, 18, "kept for backward", muted, 12)]
    y = TOP
    for row in rows:
        parts += [_line(box // 2, y - GAP + 2, box // 2, y, muted)] if y > TOP else []
        parts += _box(row, y, box, ink, dark)
        if row["kept"]:
            length = max(2.0, room * row["kept"] / most)
            parts.append(_rect(bar, y + 6, length, ROW - 12, component_colour("activations")))
            parts.append(_text(bar + length + 6, y + 20, words.si_bytes(row["kept"]), ink, 12))
        y += ROW + GAP
    if side:
        parts += _side(side, y, box, bar, room * side["features"] / most, dark)
        y += 2 * (ROW + GAP)
    legend, lines = _legend(y + BOTTOM - 16, width, ink, bool(side))
    height = y + BOTTOM + LINE * (lines - 1)
    parts += legend
    label = "; ".join(_words(row) for row in rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(label)}" font-family="{escape(theme.FONT)}">{"".join(parts)}</svg>'
    )


def _words(row: Mapping[str, Any]) -> str:
    """For those who do not see it: 'q, k, v: 24,576 weights train, 58.1 MB kept'."""
    trains = f"{row['trained']:,} weights train" if row["trained"] else "frozen" if row["frozen"] else "no weights"
    return f"{row['title']}: {trains}" + (f", {words.si_bytes(row['kept'])} kept" if row["kept"] else "")


def _needed(row: Mapping[str, Any]) -> int:
    """How wide a box must be for its title and its count."""
    count = words.human_count(row["trained"]) if row["trained"] else ""
    added = _added(count) + 8 if count and row["frozen"] else LETTER * (len(count) + bool(count))
    return int(2 * PADDING + LETTER * len(row["title"]) + added)


def _added(count: str) -> int:
    """How wide the small box of a count is."""
    return 14 + 7 * (len(count) + 1)


def _box(row: Mapping[str, Any], y: int, box: int, ink: str, dark: bool) -> list[str]:
    """The part itself, filled as frozen or trained; a small box beside the title where some of both is there."""
    frozen, trained = row["frozen"], row["trained"]
    added = f"+{words.human_count(trained)}" if trained and frozen else ""
    whole = bool(trained and not frozen)
    fill = component_colour("trainable_weights" if whole else "frozen_weights") if trained or frozen else "none"
    shape = _rect(0, y, box, ROW, fill, stroke=theme.muted(dark), opacity=1.0 if whole else 0.35)
    title = row["title"] + (f" {words.human_count(trained)}" if whole else "")
    parts = [shape, _text(PADDING, y + 20, title, "#FFFFFF" if whole else ink, 13)]
    if added:
        wide = _added(added[1:])
        parts.append(_rect(box - wide - 4, y + 4, wide, ROW - 8, component_colour("trainable_weights")))
        parts.append(_text(box - wide + 3, y + 19, added, "#FFFFFF", 12))
    return parts


def _side(side: Mapping[str, Any], y: int, box: int, bar: int, length: float, dark: bool) -> list[str]:
    """What reads the block's tokens from beside it."""
    ink, muted = theme.ink(dark), theme.muted(dark)
    blue, green = component_colour("trainable_weights"), component_colour("features")
    title = f"side network {words.human_count(side['trained'])}" if side["trained"] else "classifier alone"
    return [
        _line(box // 2, y - GAP + 2, box // 2, y + ROW, muted, dashed=True),
        _text(box // 2 + 8, y + 18, "read, no gradient back", muted, 12),
        _rect(0, y + ROW + GAP - 8, box, ROW, blue),
        _text(9, y + ROW + GAP + 12, title, "#FFFFFF", 13),
        _rect(bar, y + ROW + GAP - 2, max(2.0, length), ROW - 12, green),
        _text(bar + max(2.0, length) + 6, y + ROW + GAP + 12, words.si_bytes(side["features"]), ink, 12),
    ]


def _legend(y: int, width: int, ink: str, side: bool) -> tuple[list[str], int]:
    """What the colours mean, and in how many lines."""
    names = [("frozen_weights", "frozen"), ("trainable_weights", "trains"), ("activations", "kept")]
    names += [("features", "read features, all blocks")] if side else []
    parts, x, lines = [], 0, 1
    for name, title in names:
        if x and x + 16 + 7 * len(title) > width:
            x, y, lines = 0, y + LINE, lines + 1
        parts.append(_rect(x, y, 11, 11, component_colour(name), opacity=0.35 if name == "frozen_weights" else 1))
        parts.append(_text(x + 16, y + 10, title, ink, 12))
        x += 34 + 7 * len(title)
    return parts, lines


def _rect(x: float, y: float, w: float, h: float, fill: str, stroke: str = "none", opacity: float = 1.0) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="4" fill="{fill}" fill-opacity="{opacity}" '
        f'stroke="{stroke}"/>'
    )


def _text(x: float, y: float, text: str, colour: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="1.5"{dash}/>'
