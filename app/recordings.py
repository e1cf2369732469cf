"""Head scores that travel with Headroom: files of assets/atlas, as scripts/record_atlas.py writes them. No torch.

A file is JSON: title, source, licence, command, and `entries`, each with id, task, title, group, method, backbone,
command and `scores` {name: HeadScores as JSON}; a recorded run also has seed, spec, summary, started, `off` and
`history`, its scores by epoch. Of these the weights are not kept. A run of a backbone whose weights do not travel has
`of`, what they are, and `looks`: by photograph its `side` in pixels, and for each layer `before` and `after` tuning
where the class token looks (scripts/record_looks.py). Whatever is there is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from peftcore.errors import unknown

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "atlas"
Recorded = Mapping[str, Any]


def files() -> Iterator[Recorded]:
    """Their contents, in the order of their names."""
    for file in sorted(FOLDER.glob("*.json")):
        yield _read(file, file.stat().st_mtime_ns)


def runs() -> dict[str, Recorded]:
    """The recorded runs by id; other entries are adapters that somebody else trained."""
    return {entry["id"]: entry for file in files() for entry in file["entries"] if "history" in entry}


def run(name: str) -> Recorded:
    """Raises UnknownName."""
    if (found := runs().get(name)) is None:
        raise unknown("recorded run", name, runs())
    return found


def looks(name: str) -> Mapping[str, Recorded]:
    """By photograph, where a recorded run's class token looks; {} where that was not kept."""
    return run(name).get("looks", {})


def events(name: str, kind: str) -> list[dict[str, Any]]:
    """What a recorded run told of one kind: 'started', 'scores' or 'heads_cut'."""
    about = run(name)
    cut = {"off": about.get("off"), "overruled": bool(about["spec"]["method"].get("off"))}
    if about["history"]:
        cut["step"] = about["history"][-1]["step"]  # the last scores are those that the cut went by
    told = {"started": [about["started"]], "scores": about["history"], "heads_cut": [cut] if cut["off"] else []}
    return [dict(event) for event in told.get(kind, [])]


@lru_cache(maxsize=256)
def _read(file: Path, _changed: int) -> Recorded:
    return json.loads(file.read_text())
