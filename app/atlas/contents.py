"""What the atlas holds: files of assets/atlas, recorded examples, and this machine's runs with head scores. No torch.

A file of assets/atlas is JSON: title, source, licence, command, and `entries`, each with id, task, title, group,
method, backbone, command and `scores` {name: HeadScores as JSON}; a recorded run also has seed, spec, summary, started
and `history`, its scores by epoch. scripts/record_atlas.py writes them; whatever is there is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from app import subjects, words
from app.subjects import Scores, Subject
from peftcore.errors import UnknownName
from peftcore.figures.accuracy import Ground
from peftcore.store import conditions
from peftcore.task import task_card

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "atlas"
TOGETHER = "together"  # in a projection's place: the sum over all of them


@dataclass(frozen=True)
class Entry:
    """One adapter's head scores. `scores`: by name, such as taylor or energy. `subject`: the run that Heads can open;
    `history`: scores by step of a run without one. `settings`: what may also explain a likeness, such as a scale."""

    id: str
    task: str
    title: str
    group: str
    method: str
    backbone: str
    scores: Mapping[str, Scores]
    source: str  # whose it is and under which conditions: a sentence for captions
    command: str | None = None
    seed: int | None = None
    accuracy: str = ""  # with its 95 % interval
    reached: float | None = None  # the same as a share
    subject: Subject | None = None
    spec: Mapping[str, Any] | None = None
    history: Sequence[tuple[int, Scores]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def grid(self, score: str, projection: str) -> tuple[np.ndarray, np.ndarray | None] | None:
        """(layers, heads) of scores, and of which are on (None: all); None where this entry has no such scores."""
        scores = self.scores.get(score)
        if scores is None:
            return None
        if projection == TOGETHER:
            return scores.summed(), scores.any_mask()
        return scores.of_projection(projection) if projection in scores.projections else None


def entries() -> list[Entry]:
    """All of them: this machine's runs first, then recorded examples, then what travels with Headroom."""
    return [
        *_runs(),
        *(entry for file in sorted(FOLDER.glob("*.json")) for entry in _read(file, file.stat().st_mtime_ns)),
    ]


@lru_cache(maxsize=128)
def _read(file: Path, _changed: int) -> tuple[Entry, ...]:
    content = json.loads(file.read_text())
    return tuple(_entry(about, content) for about in content["entries"])


def _entry(about: Mapping[str, Any], file: Mapping[str, Any]) -> Entry:
    scores = {name: Scores.of(each) for name, each in about["scores"].items()}
    history = [(each["step"], Scores.of(each["scores"])) for each in about.get("history", ())]
    if history:
        scores = {history[-1][1].score: history[-1][1]} | scores
    accuracy, reached, source = "", None, f"{file['title']}, {file['licence']}, {file.get('source', '')}"
    if summary := about.get("summary"):
        ground, reached = Ground.of(about["started"], "test"), summary["test_accuracy"]
        accuracy = subjects.reached(reached, ground)
        measured = f"seed {about['seed']}, test accuracy {accuracy} ({conditions.words(about['spec'])})"
        source = f"Recorded with Headroom: {measured}"
    return Entry(
        scores=scores, source=source, accuracy=accuracy, reached=reached, history=history,
        **{name: about[name] for name in ("id", "task", "title", "group", "method", "backbone")},
        **{name: about[name] for name in ("command", "seed", "spec", "settings") if about.get(name) is not None},
    )  # fmt: skip


def _runs() -> list[Entry]:
    found = []
    for run in subjects.runs("scores"):
        if run.status != "finished":
            continue
        history, spec = subjects.scores_by_epoch(run.subject), run.spec
        try:
            group = task_card(spec["task"]).group
        except UnknownName:
            group = "natural"
        found.append(
            Entry(
                id=run.subject.id,
                task=spec["task"],
                title=words.task_title(spec["task"]),
                group=group,
                method=run.method,
                backbone=spec["backbone"],
                scores={history[-1][1].score: history[-1][1]},
                source=run.caption,
                command=words.command(spec),
                seed=spec["seed"],
                accuracy="" if run.accuracy is None else subjects.reached(run.accuracy, run.ground),
                reached=run.accuracy,
                subject=run.subject,
                spec=spec,
            )
        )
    return found
