"""Which method is best on a task: all finished runs of the store and the recorded ones, ranked by validation. No torch.

Validation decides the order and the test accuracy is shown, so the test images have chosen nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from peftcore import errors
from peftcore.home import home
from peftcore.store import gallery
from peftcore.store.results import wilson
from peftcore.store.runs import FILE, Store
from peftcore.store.trained import trained
from peftcore.store.variations import alike_but_seed, differences
from peftcore.task import task_card

if TYPE_CHECKING:
    import pandas as pd

TRAINED_ON = "protocol=train800val200"  # in a task's name: it trains on its validation images


@dataclass(frozen=True)
class Finished:
    """A finished run: `code` is its number, or the name of a recorded one. `started`: that event; `trained`: how many
    weights learned."""

    code: str
    spec: Mapping[str, Any]
    summary: Mapping[str, Any]
    started: Mapping[str, Any]
    trained: int
    stored: int | None

    @property
    def recorded(self) -> bool:
        return not self.code.isdigit()


@dataclass(frozen=True)
class Standing:
    """Runs with the same settings and different seeds. All numbers but the spreads are means over the seeds.

    val_accuracy (None in older runs), test_accuracy: 0 to 1; their spreads are standard deviations between seeds, None
    for one seed. interval: the 95 % interval (Wilson) of the test accuracy as a share of `images`, the number of test
    images: more seeds do not narrow it. memory: peak bytes of a training step; parameters: trained weights; stored:
    bytes of the saved adapter. differs: the settings that set it apart from others on the same leaderboard.
    """

    runs: tuple[Finished, ...]
    differs: Mapping[str, Any]
    val_accuracy: float | None
    val_spread: float | None
    test_accuracy: float
    test_spread: float | None
    interval: tuple[float, float] | None
    images: int | None
    memory: float | None
    parameters: float | None
    stored: float | None
    seconds: float | None

    @property
    def spec(self) -> Mapping[str, Any]:
        """Of its first seed."""
        return self.runs[0].spec

    @property
    def method(self) -> str:
        return self.spec["method"]["name"]

    @property
    def recorded(self) -> bool:
        return self.runs[0].recorded

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.spec["seed"] for run in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        numbers = ("val_accuracy", "val_spread", "test_accuracy", "test_spread", "images", "memory", "parameters",
                   "stored", "seconds")  # fmt: skip
        return {
            "method": self.method,
            "backbone": self.spec["backbone"],
            "runs": [int(run.code) if run.code.isdigit() else run.code for run in self.runs],
            "recorded": self.recorded,
            "seeds": list(self.seeds),
            "differs": dict(self.differs),
            **{name: getattr(self, name) for name in numbers},
            "interval": None if self.interval is None else list(self.interval),
            "spec": dict(self.spec),
        }


@dataclass(frozen=True)
class Leaderboard:
    """`standings`: every setting that was run, the best by validation first. `validated`: False where the task trains
    on its validation images, so that their order means nothing."""

    task: str
    standings: tuple[Standing, ...]
    validated: bool = True

    @property
    def best(self) -> tuple[Standing, ...]:
        """The first standing of each method on each backbone; recorded ones stand for themselves."""
        first: dict[tuple, Standing] = {}
        for one in self.standings:
            first.setdefault((one.method, one.spec["backbone"], _weights(one.spec), one.recorded), one)
        return tuple(first.values())

    def table(self, best: bool = False) -> pd.DataFrame:
        """A row for each standing, or for each of `best`."""
        import pandas as pd

        return pd.DataFrame([one.to_dict() for one in (self.best if best else self.standings)])

    def to_dict(self, best: bool = False) -> dict[str, Any]:
        """As a JSON object."""
        some = self.best if best else self.standings
        return {"task": self.task, "validated": self.validated, "standings": [one.to_dict() for one in some]}


def leaderboard(task: str, store: Store | None = None, recorded: bool = True) -> Leaderboard:
    """The leaderboard of a task by its name, with its argument where it has one.

    Args:
        store: by default the one in HEADROOM_HOME, if there is one: none is made.
        recorded: counts the examples that travel with Headroom too.

    Raises:
        UnknownName: there is no such task.
        NotMeasurable: no finished run is on it; the message names the tasks that have some.
    """
    store = store or _usual()
    runs = [*(_of_store(store, task) if store else ()), *(_recorded(task) if recorded else ())]
    if not runs:
        task_card(task)
        known = tasks(store)
        where = f" There are runs on {', '.join(known)}." if known else ""
        raise errors.NotMeasurable(f"No finished run is on the task {task!r}.{where} Launch one, and it stands here.")
    return Leaderboard(task, _ranked(runs), TRAINED_ON not in task)


def tasks(store: Store | None = None) -> list[str]:
    """The tasks with a finished run whose result is told, the newest first, then those of recorded ones."""
    store = store or _usual()
    finished = store.runs(status="finished") if store else []
    own = [r.spec["task"] for r in finished if "test_accuracy" in r.summary]
    return list(dict.fromkeys([*own, *(gallery.record(name)["spec"]["task"] for name in gallery.names())]))


def _usual() -> Store | None:
    return Store() if (home() / FILE).exists() else None


def _of_store(store: Store, task: str) -> Iterable[Finished]:
    records = [r for r in store.runs(status="finished") if r.spec["task"] == task and "test_accuracy" in r.summary]
    stored = store.artifact_sizes("adapter") if records else {}
    for record in records:
        if started := store.last_event(record.id, "started"):
            count = trained(started, store.last_event(record.id, "heads_cut"))
            yield Finished(str(record.id), record.spec, record.summary, started, count, stored.get(record.id))


def _recorded(task: str) -> Iterable[Finished]:
    for name in gallery.names():
        told, blob = gallery.record(name), gallery.adapter(name)
        if told["spec"]["task"] == task:
            events = {event["kind"]: event for event in told["events"]}
            count = trained(events["started"], events.get("heads_cut"))
            yield Finished(name, told["spec"], told["summary"], events["started"], count, len(blob) if blob else None)


def _ranked(runs: Sequence[Finished]) -> tuple[Standing, ...]:
    groups = []
    for whose in (False, True):  # a recorded run took the time of another machine
        some = [run for run in runs if run.recorded == whose]
        for places in alike_but_seed([run.spec for run in some]):
            newest = {some[place].spec["seed"]: some[place] for place in reversed(places)}  # of each seed
            groups.append([newest[seed] for seed in sorted(newest)])
    apart = differences([{**group[0].spec, "seed": 0} for group in groups])
    found = [_standing(group, differs) for group, differs in zip(groups, apart, strict=True)]
    return tuple(sorted(found, key=_place))


def _place(one: Standing) -> tuple[float, ...]:
    """By validation, then more seeds, then fewer trained weights: never by the test."""
    return (1.0 if one.val_accuracy is None else -one.val_accuracy, -len(one.runs), one.parameters or 0)


def _standing(runs: Sequence[Finished], differs: Mapping[str, Any]) -> Standing:
    def of(name: str) -> list[float]:
        return [run.summary[name] for run in runs if run.summary.get(name) is not None]

    test, val = of("test_accuracy"), of("val_accuracy")
    images = runs[0].started.get("settings", {}).get("images", {}).get("test", [None])[0]  # older runs do not say it
    peaks = [run.summary["memory"]["peak"] for run in runs if run.summary.get("memory", {}).get("peak")]
    return Standing(
        runs=tuple(runs),
        differs={name: value for name, value in differs.items() if name not in ("method", "backbone")},
        val_accuracy=_mean(val),
        val_spread=stdev(val) if len(val) > 1 else None,
        test_accuracy=fmean(test),
        test_spread=stdev(test) if len(test) > 1 else None,
        interval=wilson(fmean(test), images) if images else None,
        images=images,
        memory=_mean(peaks),
        parameters=_mean([run.trained for run in runs]),
        stored=_mean([run.stored for run in runs if run.stored]),
        seconds=_mean(of("seconds")),
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _weights(spec: Mapping[str, Any]) -> tuple:
    """What tells two backbones of one name apart."""
    return spec.get("pretrained", True), spec.get("weights")
