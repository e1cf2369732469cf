"""Measures what the lessons show, and writes it to assets/lessons/measured: one JSON file for each file of
scripts/lesson_parts, whose `measure()` returns what is in it. Run it again when a backbone's weights or a recorded
example have changed. All parts together take a few minutes on one core.

    python scripts/record_lessons.py [NAME ...]
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.learn.lesson import FOLDER
from peftcore import errors

PARTS = Path(__file__).parent / "lesson_parts"
MEASURED = FOLDER / "measured"
MOST_BYTES = 10_000_000  # of all lessons, texts and numbers together


def names() -> list[str]:
    """The parts there are; files that begin with an underscore are what they share."""
    return sorted(path.stem for path in PARTS.glob("[a-z]*.py"))


def record(name: str) -> int:
    """Measures one part and writes its file, which is there whole or not at all; returns its bytes.

    Raises BadData: the lessons would be larger than MOST_BYTES.
    """
    if name not in names():
        raise errors.unknown("part", name, names())
    measured = importlib.import_module(f"lesson_parts.{name}").measure()
    content = {"command": f"python scripts/record_lessons.py {name}"} | rounded(measured)
    text = json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n"
    file = MEASURED / f"{name}.json"
    others = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file() and path != file)
    if others + len(text) > MOST_BYTES:
        raise errors.BadData(f"{file.name} would make the lessons larger than {MOST_BYTES / 1e6:.0f} MB.")
    MEASURED.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
    return len(text)


def rounded(part: Any) -> Any:
    """Numbers with five significant digits, which is more than a text or a picture shows."""
    if isinstance(part, dict):
        return {name: rounded(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [rounded(value) for value in part]
    return float(f"{part:.5g}") if isinstance(part, float) and math.isfinite(part) else part


def main() -> None:
    import torch

    torch.set_num_threads(1)
    for name in sys.argv[1:] or names():
        started = time.perf_counter()
        size = record(name)
        print(f"{name}: {size / 1e3:,.0f} kB in {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
