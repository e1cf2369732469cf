"""What a room leaves behind: one archive of everybody's runs, or of one person's, written run by run to a file.

NAME/run-12/spec.json  summary.json  curves.csv  adapter.safetensors  predictions.npz
runs.csv               a row for each run
challenge.csv          of the whole room, where a challenge is on
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from peftcore.engine.room.challenge import board, challenge
from peftcore.engine.room.room import Room
from peftcore.store import RunRecord, Store, spreadsheet
from peftcore.store.results import ARTIFACT

ARTIFACTS = {"adapter": "adapter.safetensors", ARTIFACT: "predictions.npz"}
CURVES = ("step", "epoch", "what", "value")
RUNS = ("run", "owner", "status", "method", "backbone", "task", "seed", "val_accuracy", "test_accuracy", "seconds",
        "peak_memory", "name")  # fmt: skip
MACHINE = "this-machine"  # in a person's place: runs that nobody in the room launched


class Stopped(Exception):
    """Nobody wants the archive any more."""


def write(
    store: Store, path: Path, owner: str | None = None, room: Room | None = None,
    tell: Callable[[int, int], object] = lambda done, total: None,
) -> int:  # fmt: skip
    """Writes the archive to `path` and returns how many runs are in it; it is there whole or not at all.

    Args:
        store: as the person who takes it home has it: what is kept from them is not in it.
        owner: one person's runs; None for all. room: adds its challenge.
        tell: called with how many runs of how many are written; what it raises ends the writing.
    """
    records = store.runs(owner=owner)[::-1]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Of two that are written at once, each has a file of its own, which nobody else may read.
    unfinished, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}-", suffix=".part")
    part = Path(name)
    try:
        with open(unfinished, "wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for done, record in enumerate(records):
                tell(done, len(records))
                _run(archive, store, record)
            archive.writestr("runs.csv", spreadsheet.text(RUNS, map(_row, records)))
            if room and (now := challenge(room)):
                rows = [[n, e.owner, e.run, e.val, e.test, e.cost] for n, e in enumerate(board(store, now), 1)]
                archive.writestr(
                    "challenge.csv", spreadsheet.text(("place", "name", "run", "val", "test", now.budget), rows)
                )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    tell(len(records), len(records))
    return len(records)


def _run(archive: zipfile.ZipFile, store: Store, record: RunRecord) -> None:
    folder = f"{_safe(record.owner)}/run-{record.id}"
    archive.writestr(f"{folder}/spec.json", json.dumps(record.spec, indent=2))
    archive.writestr(f"{folder}/summary.json", json.dumps({"status": record.status, **record.summary}, indent=2))
    events = store.events(record.id, kinds=("step", "evaluation"))
    archive.writestr(f"{folder}/curves.csv", spreadsheet.text(CURVES, _curves(events)))
    for name, file in ARTIFACTS.items():
        if blob := store.get_artifact(record.id, name):
            archive.writestr(f"{folder}/{file}", blob, zipfile.ZIP_STORED)


def _curves(events: Iterable[Mapping[str, Any]]) -> Iterable[list[Any]]:
    for event in events:
        if event["kind"] == "step":
            yield [event["step"], event["epoch"], "train_loss", event["loss"]]
        else:
            for what in ("accuracy", "loss"):
                yield [event["step"], event["epoch"], f"{event['split']}_{what}", event[what]]


def _row(record: RunRecord) -> list[Any]:
    spec, end = record.spec, record.summary
    told = [end.get(name) for name in ("val_accuracy", "test_accuracy", "seconds")]
    about = [spec["method"]["name"], *(spec.get(name) for name in ("backbone", "task", "seed"))]
    return [record.id, record.owner, record.status, *about, *told, end.get("memory", {}).get("peak"), record.name]


def _safe(name: str) -> str:
    """A person's name as that of a folder, anywhere."""
    return re.sub(r"[^\w() \u0300-\U0010ffff-]+", "_", name).strip(" .") or MACHINE
