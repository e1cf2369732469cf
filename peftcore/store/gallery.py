"""Recorded examples: real runs that travel with Headroom, for those who have trained nothing yet.

Each is a folder of `assets/gallery`: `run.json` (title, spec, summary, events, the command that made it),
`adapter.safetensors`, and `predictions.npz`, what it answered on its test images (as in results.py).
`scripts/record_gallery.py` trains and writes them. A new folder is a new example.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from peftcore.errors import unknown

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "gallery"


def names() -> tuple[str, ...]:
    """The examples' names, sorted."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob("*/run.json")))


@lru_cache(maxsize=8)
def record(name: str) -> dict[str, Any]:
    """run.json: title, spec, summary, events, command. Raises UnknownName."""
    if name not in names():
        raise unknown("recorded example", name, names())
    return json.loads((FOLDER / name / "run.json").read_text())


def adapter(name: str) -> bytes | None:
    """The trained adapter as safetensors."""
    path = FOLDER / name / "adapter.safetensors"
    return path.read_bytes() if path.exists() else None


def predictions(name: str) -> bytes | None:
    """The packed predictions."""
    path = FOLDER / name / "predictions.npz"
    return path.read_bytes() if path.exists() else None
