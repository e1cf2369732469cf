"""A race as the store knows it: its runs, how far each is, which leads, and how to launch it again. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from app import state, words
from app.launch import request
from app.runs import following
from app.runs.following import Follower
from peftcore.errors import UnknownName
from peftcore.figures.accuracy import Ground
from peftcore.figures.races import Lane
from peftcore.spec import RunSpec
from peftcore.store import WAITING, RunRecord

ARTIFACT = "race"  # of a race's first run: what was chosen on the launch page


@dataclass(frozen=True)
class Runner:
    """A variation: its run, its events, what sets it apart, and its place by validation accuracy, from 1."""

    record: RunRecord
    follower: Follower
    label: str
    place: int | None = None

    @property
    def accuracy(self) -> float | None:
        """Of the validation images, after the newest epoch, or after the one that was selected."""
        return self._validation("accuracy")

    @property
    def loss(self) -> float | None:
        """As `accuracy`."""
        return self._validation("loss")

    def _validation(self, what: str) -> float | None:
        evaluations = [e for e in self.follower.evaluations if e["split"] == "val"]
        selected = [e for e in evaluations if e["epoch"] == self.record.summary.get("selected_epoch")]
        return (selected or evaluations)[-1][what] if evaluations else None

    @property
    def ground(self) -> Ground | None:
        """What its validation accuracy stands on; None before it has begun."""
        return Ground.of(self.follower.started, "val") if self.follower.started else None

    @property
    def share(self) -> float:
        """Of its steps, that it has taken."""
        if self.record.status == "finished":
            return 1.0
        return self.follower.done / self.follower.total if self.follower.total else 0.0

    def lane(self) -> Lane:
        """For the figure: epochs as fractions, so that variations of different lengths stand on one axis."""
        spec, per_epoch = self.record.spec, max(1.0, self.follower.total / self.record.spec["epochs"])
        steps = pd.DataFrame(
            [(s["step"] / per_epoch, s["loss"]) for s in self.follower.steps], columns=["epoch", "loss"]
        )
        validated = [(e["epoch"], e["accuracy"]) for e in self.follower.evaluations if e["split"] == "val"]
        evaluations = pd.DataFrame(validated, columns=["epoch", "accuracy"])
        return Lane(self.label, spec["method"]["name"], steps, evaluations, self.follower.total)


def labels(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What sets each apart, each label once: those that differ in nothing are counted."""
    labels = words.labels(specs)
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[:nth].count(label) + 1})"
        for nth, label in enumerate(labels)
    ]


def runners(race: int) -> list[Runner]:
    """The variations in the order in which they were launched, each with its place. Raises UnknownName."""
    records = state.store().runs(race=race)[::-1]
    if not records:
        alone = state.store().run(race)  # which says where there is none
        if alone.race is not None:
            raise UnknownName(
                f"The runs of race {race} were deleted. The list of runs brings them back: its filters have Deleted."
            )
        raise UnknownName(f"Run {alone.id} is no race: it was launched alone. Its address says run={alone.id}.")
    followers = [following.follow(state.store(), record) for record in records]
    names = labels([record.spec for record in records])
    found = [Runner(*parts) for parts in zip(records, followers, names, strict=True)]
    order = sorted((r for r in found if r.accuracy is not None), key=lambda r: (-(r.accuracy or 0.0), r.loss))
    places = {runner.record.id: place for place, runner in enumerate(order, 1)}
    return [Runner(r.record, r.follower, r.label, places.get(r.record.id)) for r in found]


def busy(records: Sequence[RunRecord]) -> bool:
    """Whether one of them waits or works."""
    return any(record.status in WAITING for record in records)


def remember(
    race: int, spec: RunSpec, values: Mapping[str, Sequence[Any]], rates: Mapping[str, float] | None = None
) -> None:
    """Keeps what was chosen on the launch page with the race; `rates`: by method, where each has its own."""
    chosen = {"spec": spec.to_dict(), "several": dict(values), "rates": dict(rates or {})}
    state.store().put_artifact(race, ARTIFACT, json.dumps(chosen).encode())


def remembered(race: int) -> dict[str, Any] | None:
    """What `remember` kept: {"spec", "several", "rates"}; None for a race that was not launched on the launch page."""
    try:
        kept = state.store().get_artifact(race, ARTIFACT)
    except UnknownName:  # its first run was forgotten
        kept = None
    return None if kept is None else {"rates": {}} | json.loads(kept)


def preset(
    spec: Mapping[str, Any], several: Mapping[str, Sequence[Any]], rates: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Query parameters of the launch page that show a race: what `remembered` returns."""
    return request.to_query(spec, several, rates)
