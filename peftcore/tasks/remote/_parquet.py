"""Parquet files as the hub stores them: their image and class columns, and images by their row."""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from peftcore import errors
from peftcore.tasks.remote import _named

OPEN_GROUPS = 4  # row groups, read last, whose image bytes are kept


class Table:
    """Parquet files as one table, read by row groups; thread-safe."""

    def __init__(self, paths: tuple[str, ...]):
        from pyarrow import parquet

        self.files = [parquet.ParquetFile(path, memory_map=True) for path in paths]
        groups = [(file, i) for file in self.files for i in range(file.num_row_groups)]
        self.groups = [group for group in groups if group[0].metadata.row_group(group[1]).num_rows]
        rows = [file.metadata.row_group(i).num_rows for file, i in self.groups]
        self.ends = np.cumsum(rows)
        self.schema = self.files[0].schema_arrow
        self.kept: OrderedDict[int, Any] = OrderedDict()
        self.lock = threading.Lock()

    def column(self, name: str) -> list[Any]:
        """All values of a small column."""
        return [value for file in self.files for value in file.read([name]).column(0).to_pylist()]

    def bytes(self, column: str, row: int) -> bytes | None:
        """The bytes of an image file, or None where the row has none."""
        group = int(np.searchsorted(self.ends, row, side="right"))
        first = int(self.ends[group - 1]) if group else 0
        with self.lock:
            if group not in self.kept:
                file, number = self.groups[group]
                self.kept[group] = file.read_row_group(number, [column]).column(0)
                while len(self.kept) > OPEN_GROUPS:
                    self.kept.popitem(last=False)
            self.kept.move_to_end(group)
            value = self.kept[group][row - first].as_py()
        return value.get("bytes") if isinstance(value, dict) else value


def columns(repo: str, table: Table, said: dict[str, Any]) -> tuple[str, str, list[str] | None]:
    """The image column, the class column, and the class names if the data set has them.

    Raises UnknownName: no such column; InvalidSetting: several to choose from; BadData: none.
    """
    import pyarrow

    features = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    kinds = {name: one.get("_type") if isinstance(one, dict) else None for name, one in features.items()}

    def holds_bytes(kind: pyarrow.DataType) -> bool:
        if pyarrow.types.is_struct(kind):
            return "bytes" in [kind.field(i).name for i in range(kind.num_fields)]
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    images = [
        n for n in table.schema.names if kinds.get(n, "Image") == "Image" and holds_bytes(table.schema.field(n).type)
    ]
    others = [n for n in table.schema.names if n not in images]
    classes = [n for n in others if kinds.get(n) == "ClassLabel"] or [n for n in others if n in ("label", "labels")]
    image = _one(repo, "image", "images", said["image"], images, images)
    label = _one(repo, "label", "classes", said["label"], classes, others)
    return image, label, features.get(label, {}).get("names")


def _one(repo: str, setting: str, what: str, said: str | None, likely: list[str], allowed: list[str]) -> str:
    if said is not None:
        if said not in allowed:
            raise errors.unknown(f"column of {what} in {repo} called", said, allowed)
        return said
    if len(likely) == 1:
        return likely[0]
    if not allowed:
        raise errors.BadData(f"The data set {repo} has no column of {what}, so it is not a classification task.")
    why = f"several columns of {what}" if likely else f"no column declared as {what}"
    raise errors.InvalidSetting(
        f"The data set {repo} has {why}: choose one, as in hf:{repo}?{setting}={(likely or allowed)[0]}. There are: "
        f"{', '.join(likely or allowed)}."
    )


def numbered(
    repo: str, label: str, values: dict[str, list[Any]], names: list[str] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The (n,) classes from 0 by split, without splits that lack some; and the class names."""
    values = {split: [_whole(value) for value in found] for split, found in values.items()}
    # A split of -1 alone has no labels, as a competition's test split; beside other classes -1 may be one.
    is_class = not names and any(-1 in found and any(v != -1 for v in found) for found in values.values())
    unknown = (None,) if is_class else (None, -1)
    values = {split: found for split, found in values.items() if not any(value in unknown for value in found)}
    if not {"train", "val", "test", "all"} & values.keys():
        raise errors.BadData(f"The column {label!r} of {repo} lacks the class of some images in every split.")
    if not all(isinstance(value, (int, str)) for found in values.values() for value in found):
        raise errors.BadData(
            f"The column {label!r} of {repo} holds neither whole numbers nor words; choose another with label=."
        )
    if names:
        if wrong := {value for found in values.values() for value in found} - {*range(len(names))}:
            raise errors.BadData(
                f"The column {label!r} of {repo} holds {min(wrong, key=str)!r}, but the data set names {len(names)} "
                f"classes, 0 to {len(names) - 1}; choose another with label=."
            )
        return {split: np.array(found, np.int64) for split, found in values.items()}, _named.unique(names)
    kinds = sorted({value for found in values.values() for value in found}, key=lambda v: (isinstance(v, str), v))
    number = {kind: i for i, kind in enumerate(kinds)}
    labels = {split: np.array([number[value] for value in found], np.int64) for split, found in values.items()}
    return labels, _named.unique(kinds)


def _whole(value: Any) -> Any:
    """1.0 as 1, and what is not a number as None: tables that lack some values turn whole numbers into others."""
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    return value
