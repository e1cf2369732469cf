"""Runs that were made, one JSON object a line: what stops and goes on, or works in several processes, repeats none."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from peftcore.spec import RunSpec
from peftcore.store.recipes import weights_digest

Row = dict[str, Any]


class RunLog:
    """The rows of a file, by spec and by the digest of the weights, embedded or a file of one's own: with others, it is
    another run. A file's folder is none of the run's business, so that a log may travel."""

    def __init__(self, path: Path):
        self.path, self._rows, self._read = path, dict[tuple[str, str], Row](), 0

    def row(self, spec: RunSpec, make: Callable[[RunSpec], Row]) -> Row:
        """The row of a run, made where it is not there yet."""
        self._look()
        if (found := self._rows.get(_identity(spec))) is None:
            key, weights = _identity(spec)
            found = {"key": key, "weights": weights, "spec": _named(spec).to_dict(), **make(spec)}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(json.dumps(found) + "\n")
            self._rows[key, weights] = found
        return found

    def known(self, spec: RunSpec) -> Row | None:
        self._look()
        return self._rows.get(_identity(spec))

    def __iter__(self) -> Iterator[Row]:
        self._look()
        return iter(self._rows.values())

    def _look(self) -> None:
        """Reads what was added since; a line that is still being written is left for the next look."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                row = json.loads(line)
                self._rows[row["key"], row["weights"]] = row


def _identity(spec: RunSpec) -> tuple[str, str]:
    if spec.weights is None:
        return spec.key, weights_digest(spec.backbone)
    file = Path(spec.weights)
    return _named(spec).key, _digest(file, file.stat().st_mtime_ns) if file.exists() else ""


def _named(spec: RunSpec) -> RunSpec:
    return spec if spec.weights is None else spec.replace(weights=Path(spec.weights).name)


@lru_cache(maxsize=8)
def _digest(file: Path, _changed: int) -> str:
    from peftcore.fetch.weight_files import sha256

    return sha256([file])
