"""Runs to look at, of the store or recorded with Headroom, and their events. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from app import recordings, state, words
from app.room import who
from peftcore.figures.accuracy import Ground
from peftcore.store import RunRecord, conditions, gallery

GALLERY, ATLAS = "gallery", "atlas"
MOST_RUNS = 60  # the newest runs that a page offers
MOST_DIGITS = 19  # of a run's number: SQLite has no larger ones


class Subject(NamedTuple):
    """A run to look at: one of the store (`home` its folder, `id` its number), a recorded example by its name, or a
    recording of the atlas, which has scores and no weights, by its id.

    `times`: looked at on images of so many as many pixels on each side as it was trained on."""

    home: str
    id: str
    times: int = 1


@dataclass(frozen=True)
class Run:
    """What a page says of a subject. `accuracy` is the test accuracy, 0 to 1, of a finished run; `ground` is what it
    stands on. `of`: what the backbone's weights are, of a recording whose weights do not travel."""

    subject: Subject
    spec: dict[str, Any]
    status: str
    finished: float | None
    accuracy: float | None
    example: bool = False
    ground: Ground | None = None
    apart: str = ""  # from runs with the same title, of those that a page offers
    of: str = ""

    @property
    def method(self) -> str:
        return self.spec["method"]["name"]

    @property
    def has_weights(self) -> bool:
        """False for a recording of the atlas, which nobody can look through."""
        return self.subject.home != ATLAS

    @property
    def title(self) -> str:
        """'Run 12: LoRA on digits, vit_micro, 0.94 (0.92 to 0.95)'."""
        number = "Recorded example" if self.example else f"Run {self.subject.id}"
        accuracy = "" if self.accuracy is None else f", {reached(self.accuracy, self.ground)}"
        ended = "" if self.status == "finished" else f" ({self.status})"
        return f"{number}: {words.run_title(self.spec)}{self.apart}{accuracy}{ended}"

    @property
    def caption(self) -> str:
        """The title with the seed, and the conditions under which the accuracy was measured."""
        sure = " and its 95 % interval" if self.ground and self.ground.images else ""
        measured = "" if self.accuracy is None else f" (test accuracy{sure}, with {self.conditions})"
        seed = "" if ", seed " in self.apart else f", seed {self.spec['seed']}"
        return f"{self.title}{seed}{measured}"

    @property
    def conditions(self) -> str:
        """Under which its accuracy was measured, in words."""
        return conditions.of_run(self.spec, next(iter(events(self.subject, "started")), None))


@dataclass(frozen=True)
class Scores:
    """Head scores as arrays, without torch: `values` (layers, projections, heads), NaN where there is no head."""

    values: np.ndarray
    projections: tuple[str, ...]
    layers: tuple[str, ...]
    score: str
    mask: np.ndarray | None = None

    @classmethod
    def of(cls, recorded: dict[str, Any]) -> Scores:
        """From the JSON of a HeadScores."""
        mask = None if recorded.get("mask") is None else np.array(recorded["mask"], bool)
        values = np.array(recorded["values"], float)
        return cls(values, tuple(recorded["projections"]), tuple(recorded["layers"]), recorded["score"], mask)

    def of_projection(self, projection: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Values and mask (layers, heads) of one projection."""
        index = self.projections.index(projection)
        return self.values[:, index], None if self.mask is None else self.mask[:, index]

    def summed(self) -> np.ndarray:
        """Scores (layers, heads) over all projections; NaN where there is no head."""
        return summed(self.values)

    def any_mask(self) -> np.ndarray | None:
        """(layers, heads), False where a head is switched off in any projection; None before a cut."""
        return None if self.mask is None else np.asarray(self.mask.all(axis=1))

    def decided(self, method: dict[str, Any]) -> np.ndarray:
        """What a cut by `method` weighs, (layers, heads): the sum over projections, and over the layers of a stage
        where one set of heads goes in all of them; the lowest go."""
        values = self.summed() * (-1 if self.score == "taylor_signed" else 1)
        if method.get("scope") != "global":
            return values
        stages = [path.rpartition(".")[0] for path in self.layers]
        return np.stack([values[[other == stage for other in stages]].sum(0) for stage in stages])


def summed(values: np.ndarray) -> np.ndarray:
    """(layers, projections, heads) summed over projections, NaN where there is no head."""
    return np.where(np.isfinite(values).any(1), np.nansum(values, axis=1), np.nan)


def runs(needs: str) -> list[Run]:
    """The newest runs that have what a page needs, 'scores' or 'adapter', one's own before others', then the recorded
    examples."""
    found = [_of_store(each) for each in (_newest(event=needs) if needs == "scores" else _newest(artifact=needs))]
    apart = words.apart([each.spec for each in found])
    found = [replace(each, apart=words_apart) for each, words_apart in zip(found, apart, strict=True)]
    for name in gallery.names():
        example = run(Subject(GALLERY, name))
        if needs == "adapter" or events(example.subject, "scores"):
            found.append(example)
    return found


def _newest(event: str | None = None, artifact: str | None = None) -> list[RunRecord]:
    """The newest runs that have such an event or artifact, one's own first: in a busy room they stay in reach."""
    newest = state.store().runs(limit=MOST_RUNS, event=event, artifact=artifact)
    if (may := who.rights()) is None:
        return newest
    own = state.store().runs(limit=MOST_RUNS, owner=may.person.name, event=event, artifact=artifact)
    return own + [record for record in newest if record.owner != may.person.name]


def looked_through() -> list[Run]:
    """Recordings of the atlas that say where heads look, though their weights do not travel."""
    return [run(Subject(ATLAS, name)) for name, recorded in recordings.runs().items() if recorded.get("looks")]


def run(subject: Subject) -> Run:
    """What there is to say of a subject. Raises UnknownName where there is no such run."""
    if subject.home != GALLERY and subject.home != ATLAS:
        return replace(_of_store(state.store().run(int(subject.id))), subject=subject)
    recorded = gallery.record(subject.id) if subject.home == GALLERY else recordings.run(subject.id)
    ground = Ground.of(events(subject, "started")[0], "test")
    of, accuracy = recorded.get("of", ""), recorded["summary"]["test_accuracy"]
    apart = f", {of}" if of else ""
    return Run(subject, recorded["spec"], "finished", None, accuracy, True, ground, apart, of)


def named(code: str) -> Subject:
    """The subject that an address calls `code`: a run's number, an example's name, or a recording's id."""
    if (run := number(code)) is not None:
        return Subject(str(state.store().folder), str(run))
    return Subject(ATLAS if code in recordings.runs() else GALLERY, code)


def plain(code: str) -> str:
    """The one way to write what an address calls `code`: '1' of '01'."""
    return code if (run := number(code)) is None else str(run)


def each_once(codes: Iterable[str]) -> list[str]:
    """The subjects that an address lists, in its order; none for the empty choice."""
    return list(dict.fromkeys(plain(code) for code in codes if code not in ("", "none")))


def number(code: str) -> int | None:
    """The number of a run that an address means; None for what is none, such as '²', or more than any run has."""
    return int(code) if code.isascii() and code.isdigit() and len(code) < MOST_DIGITS else None


def _of_store(record: RunRecord) -> Run:
    subject, accuracy = named(str(record.id)), record.summary.get("test_accuracy")
    return Run(subject, record.spec, record.status, record.finished, accuracy, ground=ground(record))


def ground(record: RunRecord) -> Ground | None:
    """What a run's test accuracy stands on; None before it has one."""
    if record.summary.get("test_accuracy") is None:
        return None
    return _ground(str(state.store().folder), record.id, record.attempts)


@lru_cache(maxsize=1024)
def _ground(folder: str, run: int, attempts: int) -> Ground | None:
    started = state.store().last_event(run, "started")
    return Ground.of(started, "test") if started else None


def reached(accuracy: float, ground: Ground | None) -> str:
    """An accuracy with its 95 % interval, '0.861 (0.84 to 0.88)', and where it is no better than chance, that it is."""
    text = ground.read(accuracy) if ground else f"{accuracy:.3f}"
    return f"{text}, at chance" if ground and ground.at_chance(accuracy) else text


def events(subject: Subject, kind: str) -> list[dict[str, Any]]:
    """Events of one kind, in order."""
    if subject.home == ATLAS:
        return recordings.events(subject.id, kind)
    if subject.home == GALLERY:
        return [event for event in gallery.record(subject.id)["events"] if event["kind"] == kind]
    return state.store().events(int(subject.id), kinds=kind)


def adapter(subject: Subject) -> bytes | None:
    """The trained adapter, where the run came to its end and its weights were kept."""
    if subject.home == ATLAS:
        return None
    if subject.home == GALLERY:
        return gallery.adapter(subject.id)
    return state.store().get_artifact(int(subject.id), "adapter")


def scores_by_epoch(subject: Subject) -> list[tuple[int, Scores]]:
    """Head scores that training collected, with the step of each, in order. A step that was recorded twice (at a cut,
    and at the end of its epoch) stands there once."""
    return list({event["step"]: Scores.of(event["scores"]) for event in events(subject, "scores")}.items())


def frames(history: Sequence[tuple[int, Scores]], projection: str | None) -> list[dict[str, Any]]:
    """What `figures.score_steps.scores_over_steps` plays; without a projection, the sum over all."""
    return [
        {"step": step, "values": scores.of_projection(projection)[0] if projection else scores.summed()}
        for step, scores in history
    ]
