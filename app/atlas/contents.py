"""What the atlas holds: recordings, recorded examples, and this machine's runs with head scores. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app import recordings, subjects, words
from app.subjects import Scores, Subject
from peftcore.errors import UnknownName
from peftcore.figures.accuracy import Ground
from peftcore.store import conditions
from peftcore.task import task_card

TOGETHER = "together"  # in a projection's place: the sum over all of them


@dataclass(frozen=True)
class Entry:
    """One adapter's head scores. `scores`: by name, such as taylor or energy. `subject`: the run that Heads opens, None
    for what others trained. `settings`: what may also explain a likeness, such as a scale."""

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
    recorded = (_entry(about, file) for file in recordings.files() for about in file["entries"])
    return [*_runs(), *recorded]


def _entry(about: Mapping[str, Any], file: Mapping[str, Any]) -> Entry:
    scores = {name: Scores.of(each) for name, each in about["scores"].items()}
    if history := about.get("history"):
        last = Scores.of(history[-1]["scores"])
        scores = {last.score: last} | scores
    accuracy, reached, subject, source = "", None, None, f"{file['title']}, {file['licence']}, {file.get('source', '')}"
    if summary := about.get("summary"):
        ground, reached = Ground.of(about["started"], "test"), summary["test_accuracy"]
        accuracy = subjects.reached(reached, ground)
        said = conditions.of_run(about["spec"], about["started"])
        measured = f"seed {about['seed']}, test accuracy {accuracy} ({said})"
        source, subject = f"Recorded with Headroom: {measured}", Subject(subjects.ATLAS, about["id"])
    return Entry(
        scores=scores, source=source, accuracy=accuracy, reached=reached,
        subject=subject,
        **{name: about[name] for name in ("id", "task", "title", "group", "method", "backbone")},
        **{name: about[name] for name in ("command", "seed", "settings") if about.get(name) is not None},
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
            )
        )
    return found
