"""What is known of an experiment: from its record, from what this home's command line made, from this home's runs.

A record, assets/experiments/NAME.json, has `command`, `made` (versions), `runs`, each with spec, key, weights (a digest
of the embedded backbone's) and numbers, and `rows`: group, x, seed, value's name, and the place of the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median_low
from typing import Any

from peftcore import errors
from peftcore.bench._run_log import RunLog
from peftcore.bench.experiments import Cell, Experiment, experiment, names
from peftcore.bench.experiments._found import Found
from peftcore.home import home
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import Store, recipes

FOLDER = Path(__file__).resolve().parents[3] / "assets" / "experiments"
Numbers = Mapping[str, Any]


def log_of(measure: str) -> RunLog:
    """What was measured in this home for experiments, one file for each kind of measurement."""
    return RunLog(home() / "experiments" / f"{measure}.jsonl")


def record(name: str) -> dict[str, Any] | None:
    file = FOLDER / f"{name}.json"
    return _read(file, file.stat().st_mtime_ns) if file.exists() else None


@lru_cache(maxsize=64)
def _read(file: Path, _changed: int) -> dict[str, Any]:
    return json.loads(file.read_text())


class Known:
    """Numbers by spec, for one kind of measurement. store: whose finished runs count, for "accuracy"."""

    def __init__(self, measure: str, store: Store | None = None):
        self.log = log_of(measure)
        self._recorded = {
            (run["key"], run["weights"]): run["numbers"]
            for file in sorted(FOLDER.glob("*.json"))
            if (found := _read(file, file.stat().st_mtime_ns))["measure"] == measure
            for run in found["runs"]
        }
        self._store = store if measure == "accuracy" else None
        self._runs = _finished(self._store) if self._store else {}

    def numbers(self, spec: RunSpec) -> Numbers | None:
        """None: it was not measured with today's weights."""
        digest = recipes.weights_digest(spec.backbone)
        return self.log.known(spec) or self._recorded.get((spec.key, digest)) or self._of_run(spec.key, digest)

    def _of_run(self, key: str, digest: str) -> Numbers | None:
        for run, summary in self._runs.get(key, ()):
            assert self._store is not None, "runs are of a store"
            started = self._store.last_event(run, "started")
            if started and (started["settings"].get("weights") or {}).get("sha256", "") == digest:
                return {"test": summary["test_accuracy"], "seconds": summary["seconds"], "run": run}
        return None


def _finished(store: Store) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """By key, the numbers of the finished runs and what they came to."""
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for run in store.runs(status="finished"):
        if (key := _key(json.dumps(run.spec, sort_keys=True))) and "test_accuracy" in run.summary:
            found.setdefault(key, []).append((run.id, run.summary))
    return found


@lru_cache(maxsize=4096)
def _key(spec: str) -> str:
    """Empty for a run of another version that this one cannot make."""
    try:
        return RunSpec.from_json(spec).key
    except errors.HeadroomError:
        return ""


@dataclass(frozen=True)
class Standing:
    """Where an experiment stands. rows: group, x, seed, method, and value in the unit of the y axis. missing: specs
    that were not measured with today's weights and recipes. total: of distinct specs. old: the rows are the record's,
    of other weights or recipes. failed: how many runs diverged. whole: every cell is known to have a number."""

    experiment: Experiment
    rows: list[dict[str, Any]]
    missing: list[RunSpec]
    total: int
    old: bool = False
    failed: int = 0
    whole: bool = False

    @property
    def found(self) -> Found:
        return Found(self.rows)

    @property
    def answer(self) -> str:
        """Empty as long as some cell has no number, or cells have numbers of different seeds."""
        if not self.whole:
            seeds: dict[tuple[str, Any], set[int]] = {(cell.group, cell.x): set() for cell in self.experiment.cells()}
            for row in self.rows:
                seeds.setdefault((row["group"], row["x"]), set()).add(row["seed"])
            if not all(seeds.values()) or len(set(map(frozenset, seeds.values()))) > 1:
                return ""
        return self.experiment.answer(self.found)

    @property
    def seeds(self) -> int:
        return len({row["seed"] for row in self.rows})


def from_record(of: Experiment) -> Standing | None:
    """What was recorded, whether or not for today's weights and recipes; None without a record. Does without torch."""
    if not (made := record(of.name)):
        return None
    failed = sum(made["runs"][row["run"]]["numbers"][row["value"]] is None for row in made["rows"])
    return Standing(of, _recorded(of, made), [], len(made["runs"]), failed=failed, whole=not failed)


def recorded_specs(of: Experiment) -> list[dict[str, Any]]:
    """The specs of the recorded runs, empty without a record."""
    made = record(of.name)
    return [run["spec"] for run in made["runs"]] if made else []


def standing(of: Experiment, store: Store | None = None, known: Known | None = None) -> Standing:
    """What today's weights and recipes give; where they give no whole seed and a record is there, the record.

    known: what there is of its measure, where that was read before.
    """
    known, rows, missing, failed = known or Known(of.measure, store), [], dict[str, RunSpec](), 0
    points = list(of.points())
    for cell, seed, spec in points:
        if (numbers := known.numbers(spec)) is None:
            missing[spec.key] = spec
        elif numbers[cell.value] is None:
            failed += 1
        else:
            rows.append(_row(of, cell.group, cell.x, seed, spec.method.name, numbers[cell.value]))
    total, whole = len({spec.key for *_, spec in points}), _whole_seeds(rows, points)
    if missing and not whole and (recorded := record(of.name)):
        return Standing(of, _recorded(of, recorded), list(missing.values()), total, old=True)
    return Standing(of, whole or rows, list(missing.values()), total, failed=failed)


def everything(store: Store | None = None) -> list[Standing]:
    """Of all experiments."""
    found = [experiment(name) for name in names()]
    known = {measure: Known(measure, store) for measure in {of.measure for of in found}}
    return [standing(of, known=known[of.measure]) for of in found]


def _row(of: Experiment, group: str, x: Any, seed: int, method: str, value: float) -> dict[str, Any]:
    return {"group": group, "x": x, "seed": seed, "method": method, "value": value * of.scale}


def _recorded(of: Experiment, made: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for row in made["rows"]:
        run = made["runs"][row["run"]]
        if (value := run["numbers"][row["value"]]) is not None:
            rows.append(_row(of, row["group"], row["x"], row["seed"], run["spec"]["method"]["name"], value))
    return rows


def _whole_seeds(rows: list[dict[str, Any]], points: list[tuple[Cell, int, RunSpec]]) -> list[dict[str, Any]]:
    """Rows of the seeds that every cell has, so that means compare alike."""
    wanted = {seed: sum(1 for _, other, _ in points if other == seed) for _, seed, _ in points}
    there = {seed: sum(1 for row in rows if row["seed"] == seed) for seed in wanted}
    whole = {seed for seed in wanted if there[seed] == wanted[seed]}
    return [row for row in rows if row["seed"] in whole]


def expected_seconds(specs: list[RunSpec], store: Store | None = None) -> float | None:
    """Seconds that these runs take on one core, by what an epoch took in runs of their method and backbone, else of
    their method's kind: recorded ones, this home's, and the store's. None where nothing is known."""
    records = [_read(file, file.stat().st_mtime_ns) for file in FOLDER.glob("*.json")]
    taken = [(run["spec"], run["numbers"]) for made in records if made["measure"] == "accuracy" for run in made["runs"]]
    taken += [(row["spec"], row) for row in log_of("accuracy")]
    taken += [
        (run.spec, {"cpu": run.summary.get("seconds")}) for run in (store.runs(status="finished") if store else ())
    ]
    rates: dict[tuple[str, str], list[float]] = {}
    for spec, numbers in taken:
        method = spec["method"]["name"]
        if (seconds := numbers.get("cpu")) and method in METHODS.names():
            for alike in (method, METHODS.facts(method).kind):
                rates.setdefault((alike, spec["backbone"]), []).append(seconds / spec["epochs"])
    known = []
    for one in specs:
        own, kind = (one.method.name, one.backbone), (one.method.kind, one.backbone)
        if found := rates.get(own) or rates.get(kind):
            known.append(median_low(found) * one.epochs)
    return sum(known) / len(known) * len(specs) if known else None
