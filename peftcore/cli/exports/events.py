"""The run's steps and evaluations as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peftcore.cli.exports._source import Source
from peftcore.events import COMPONENTS
from peftcore.store import spreadsheet

TITLE = "Events as CSV"
PURPOSE = "Every step and every evaluation as a row, for a spreadsheet, pandas or R; memory is in bytes."
MAKES = "file"
COLUMNS = (
    "run", "seq", "time", "kind", "step", "epoch", "split", "loss", "accuracy", "lr", "grad_norm",
    "images_per_second", "seconds",
)  # fmt: skip


def why_not(source: Source) -> str | None:
    return source.no_events


def write(source: Source, folder: Path) -> Path:
    path = folder / f"{source.name}-events.csv"
    names = [*COLUMNS, *(f"memory_{name}" for name in COMPONENTS)]
    lines = ([{"run": source.name, **row}.get(name, "") for name in names] for row in rows(source))
    path.write_text(spreadsheet.text(names, lines), encoding="utf-8", newline="")
    return path


def rows(source: Source) -> list[dict[str, Any]]:
    """Steps and evaluations in order, memory by component in columns of its own; what a resumed run did again counts
    once, as it was done last."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in source.events(("step", "evaluation")):
        memory = event.get("memory") or {}
        found[event["kind"], event["step"], event.get("split")] = event | {f"memory_{k}": v for k, v in memory.items()}
    return sorted(found.values(), key=lambda row: row["seq"])


def scalars(source: Source) -> list[tuple[str, int, float, float]]:
    """(tag, step, value, time) of everything that a logger draws."""
    found = []
    for row in rows(source):
        if row["kind"] == "step":
            tags = {"train/loss": "loss", "train/lr": "lr", "train/grad_norm": "grad_norm",
                    "train/images_per_second": "images_per_second"}  # fmt: skip
            tags |= {f"memory/{name}": f"memory_{name}" for name in COMPONENTS}
        else:
            tags = {f"{row['split']}/{name}": name for name in ("accuracy", "loss")}
        found += [(tag, row["step"], float(row[name]), row["time"]) for tag, name in tags.items() if name in row]
    return found
