"""The runs that are compared, and groups of those that differ in the seed alone. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd

from app import state, subjects, words
from app.runs import following, races
from peftcore.errors import HeadroomError
from peftcore.figures.accuracy import Ground
from peftcore.figures.curves import smooth
from peftcore.store import RunRecord, gallery
from peftcore.store.trained import trained
from peftcore.store.variations import alike_but_seed

LEAST, MOST = 2, 12
MOST_OFFERED = 200  # of the newest runs
MOST_POINTS = 300  # of one curve
NUMBERS = ("accuracy", "val_accuracy", "memory", "parameters", "stored", "seconds")


@dataclass(frozen=True)
class Entry:
    """A run of the store, or a recorded example."""

    code: str  # its number, or the example's name
    spec: dict[str, Any]
    status: str
    summary: dict[str, Any]
    record: RunRecord | None = None

    @property
    def method(self) -> str:
        return self.spec["method"]["name"]

    @property
    def name(self) -> str:
        return f"run {self.code}" if self.record else self.code

    @cached_property
    def started(self) -> dict[str, Any] | None:
        return self._last("started")  # a run that works may not have told it yet

    def _last(self, kind: str) -> dict[str, Any] | None:
        found = subjects.events(subjects.named(self.code), kind)
        return found[-1] if found else None

    @property
    def ground(self) -> Ground | None:
        return Ground.of(self.started, "test") if self.started else None

    @property
    def numbers(self) -> dict[str, float | None]:
        """NUMBERS, None where they are not known: the run has not come to its end."""
        summary = self.summary
        return {
            "accuracy": summary.get("test_accuracy"),
            "val_accuracy": summary.get("val_accuracy"),
            "memory": summary.get("memory", {}).get("peak") or None,
            "parameters": trained(self.started, self._last("heads_cut")) if self.started else None,
            "stored": _stored(str(state.store().folder), self.code, self.status),
            "seconds": summary.get("seconds"),
        }

    def curve(self, what: str) -> pd.DataFrame:
        """`what` ("val_accuracy" or "loss", the smoothed training loss) by step, epoch and seconds."""
        steps, evaluations, total = self._told()
        if not steps:
            return pd.DataFrame({name: [] for name in ("step", "epoch", "seconds", what)})
        at, seconds = [s["step"] for s in steps], [s["seconds"] for s in steps]
        per_epoch = max(1.0, total / self.spec["epochs"])
        if what == "loss":
            found = pd.DataFrame({"step": at, "seconds": seconds, "loss": smooth(_losses(steps), total)})
            found = found.iloc[:: max(1, len(found) // MOST_POINTS)]
        else:
            rows = [(e["step"], e["accuracy"]) for e in evaluations if e["split"] == "val"]
            found = pd.DataFrame(rows, columns=["step", what])
            found["seconds"] = np.interp(found["step"], at, seconds)
        return found.assign(epoch=found["step"] / per_epoch)

    def _told(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
        if self.record:
            follower = following.follow(state.store(), self.record)
            return follower.steps, follower.evaluations, follower.total
        subject = subjects.named(self.code)
        steps, evaluations = (subjects.events(subject, kind) for kind in ("step", "evaluation"))
        return steps, evaluations, (self.started or {}).get("steps", 0)


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone, or in nothing; of this machine, or recorded on another."""

    label: str
    entries: tuple[Entry, ...]

    def row(self) -> dict[str, Any]:
        """Means over the seeds, each by its newest finished run; `spread`, the standard deviation of the accuracy
        between seeds, or with one seed `interval`, the 95 % interval of its accuracy."""
        known = [(entry, entry.numbers) for entry in self.entries]
        known = [(entry, numbers) for entry, numbers in known if numbers["accuracy"] is not None]
        known.sort(key=lambda one: int(one[0].code) if one[0].record else 0)
        newest = {entry.spec["seed"]: numbers for entry, numbers in known}
        ended = pd.DataFrame(list(newest.values()), columns=list(NUMBERS)).astype(float)
        mean = {name: None if pd.isna(of) else float(of) for name, of in ended.mean().items()}
        spread = float(ended["accuracy"].std()) if len(ended) > 1 else None
        ground = known[-1][0].ground if len(ended) == 1 else None
        interval = ground.interval(mean["accuracy"]) if ground and mean["accuracy"] is not None else None
        sure = {"spread": spread, "interval": interval}
        return {"method": self.entries[0].method, "title": self.label, **mean, **sure, "runs": len(ended)}


def _losses(steps: Sequence[dict[str, Any]]) -> np.ndarray:
    return np.array([step["loss"] for step in steps], float)


@lru_cache(maxsize=512)
def _stored(folder: str, code: str, status: str) -> int | None:
    """Bytes of the saved adapter."""
    blob = subjects.adapter(subjects.named(code))
    return len(blob) if blob else None


def of(code: str) -> Entry:
    """The run or example of this name. Raises UnknownName."""
    if (number := subjects.number(code)) is not None:
        record = state.store().run(number)
        return Entry(code, record.spec, record.status, record.summary, record)
    recorded = gallery.record(code)
    return Entry(code, recorded["spec"], "finished", recorded["summary"])


def offered(named: Sequence[str]) -> tuple[list[Entry], list[HeadroomError]]:
    """What one can choose from: the newest runs that began, the recorded examples, and what the address names; and why
    some of these are not there."""
    records = state.store().runs(limit=MOST_OFFERED, status=("running", "finished", "cancelled", "interrupted"))
    found = [Entry(str(r.id), r.spec, r.status, r.summary, r) for r in records]
    found += [of(name) for name in gallery.names()]
    known, faults = {entry.code for entry in found}, []
    for code in named:
        if code not in known:
            try:
                found.append(of(code))
            except HeadroomError as error:
                faults.append(error)
    return found, faults


def first_choice(entries: Sequence[Entry]) -> list[Entry]:
    """The newest finished runs on the newest task with two of them; else the recorded examples of one task."""
    ended = [entry for entry in entries if entry.status == "finished"]
    for own in (True, False):
        for entry in ended:
            same = [e for e in ended if e.spec["task"] == entry.spec["task"] and bool(e.record) == own]
            if bool(entry.record) == own and len(same) >= LEAST:
                return same[:6]
    return ended[:LEAST]


def groups(entries: Sequence[Entry]) -> list[Group]:
    """In the order of the entries, each with what sets it apart from the others. Recorded runs, which took the time
    of another machine, stand for themselves."""
    found = [[entries[nth] for nth in same] for same in alike_but_seed([entry.spec for entry in entries])]
    specs = [{**same[0].spec, "seed": 0} for same in found]
    labels = races.labels(specs) if len(specs) > 1 else [words.run_title(spec) for spec in specs]
    parted = []
    for label, same in zip(labels, found, strict=True):
        own, recorded = (tuple(entry for entry in same if bool(entry.record) == whose) for whose in (True, False))
        parted += [Group(label, own)] if own else []
        parted += [Group(f"{label}, recorded" if own else label, recorded)] if recorded else []
    return parted
