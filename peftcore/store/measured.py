"""Measurements of a run, kept: what took a minute is there at once on the next visit.

A run's are artifacts of the store and are deleted with it; those of a recorded example, which the store does not hold,
are files of their own in its folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from peftcore.store.runs import Store

FORMAT = 1  # a measurement that changes what it means gets the next one, and older ones are made again


def kept(store: Store, run: int | str, name: str, stamp: float | None = None) -> dict[str, Any] | None:
    """What `keep` wrote of a run's number or an example's name; None where there is nothing, or it is of another
    `stamp`: a run that was trained again is another model."""
    if isinstance(run, int):
        blob = store.get_artifact(run, _artifact(name))
    else:
        file = _file(store, run, name)
        blob = file.read_bytes() if file.exists() else None
    about = json.loads(blob) if blob is not None else {}
    return about["found"] if about.get("format") == FORMAT and about["stamp"] == stamp else None


def keep(
    store: Store, run: int | str, name: str, found: Mapping[str, Any], stamp: float | None = None
) -> dict[str, Any]:
    """Keeps a measurement and returns it as it will be read: arrays are lists, NaN stays NaN.

    Raises:
        UnknownName: the run was deleted meanwhile.
    """
    blob = json.dumps({"format": FORMAT, "stamp": stamp, "found": found}, default=_plain).encode()
    if isinstance(run, int):
        store.put_artifact(run, _artifact(name), blob)
    else:
        file = _file(store, run, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_bytes(blob)
        part.replace(file)
    return json.loads(blob)["found"]


def _artifact(name: str) -> str:
    return f"measured/{name}"


def _file(store: Store, run: str, name: str) -> Path:
    return store.folder / "measured" / run / f"{name}.json"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a measurement holds a {type(value).__name__}, which JSON does not have")
