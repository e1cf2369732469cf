"""One method's search on one backbone: an Optuna study whose trials are a recipe and a seed."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from peftcore.bench import _candidates as candidates
from peftcore.bench._candidates import DEFAULT, PUBLISHED, RATES, SEEDS, Candidate, Space
from peftcore.bench._run_log import RunLog
from peftcore.figures.words import in_a_row
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store.recipes import NUMBERS, of_row, recorded, weights_digest
from peftcore.store.recipes import best as known_best

# What a method may be given beside the recipe's numbers; what is not the published method must win by a margin.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "last": {"q and k normalised, clip 1": {"method": {"qk_norm": True}, "clip": 1.0}}
}
# What every other method may be given at the rate that stands: a bound on the norm of each step's gradient.
OPTIONS: dict[str, dict[str, Any]] = {"clip 1": {"clip": 1.0}}
DECAYS = {"side": "0.0001", "in-backbone": "0.05"}  # the other kind's default
EPOCHS = {"side": (20, 40), "in-backbone": (10, 20)}  # where the search begins, and the most it tries
# The run that Launch and the command line open with, LAST on digits, shall end within 40 seconds on two cores.
KEEPS_EPOCHS = ("last",)
Run = Callable[[RunSpec], dict[str, Any]]  # a row with "val", a share; raises Diverged

# Trials go on unless they are in the lowest quarter after a task, of four at least: what a file of recipes tells of has
# no value after a task.
PRUNER = optuna.pruners.PercentilePruner(75, n_startup_trials=2, n_min_trials=4)


class Stopped(Exception):
    """The time is up, between two runs."""


@dataclass
class Search:
    """The study of `method` on `backbone` in `storage`: its trials belong to these weights and tasks.

    log: the runs, so that a trial that was interrupted repeats none. run: makes a run. until: when no further run
    begins, by time.monotonic().
    """

    storage: Path
    log: RunLog
    method: str
    backbone: str
    tasks: Sequence[str]
    run: Run
    until: float = math.inf

    @property
    def name(self) -> str:
        weights = weights_digest(self.backbone)[:12] or "not embedded"
        return f"{self.method} on {self.backbone} ({weights}): {', '.join(self.tasks)}"

    @cached_property
    def study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.storage.parent.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(self.storage)))
        made = optuna.create_study(
            storage=storage, study_name=self.name, direction="maximize", pruner=PRUNER, load_if_exists=True
        )
        if "start" not in made.user_attrs:  # kept, since the recipe known by then may be the search's own
            made.set_user_attr("start", known_best(self.method, self.backbone).values["lr"])
            made.add_trials(list(self._recorded()))
        return made

    def _recorded(self) -> Iterator[FrozenTrial]:
        """Trials that assets/recipes.json tells of, with these weights and tasks: a new study goes on from there.

        Of a recipe that was tried with several seeds it has the mean, which then stands for each of them.
        """
        for entry in recorded():
            if (entry["method"], entry["backbone"]) != (self.method, self.backbone):
                continue
            evidence = entry["evidence"]
            if (evidence["weights"], evidence["tasks"]) != (weights_digest(self.backbone), list(self.tasks)):
                continue
            for row in evidence["tried"]:
                if (candidate := self._told(row)) is None:
                    continue
                for seed in row["seeds"]:
                    reached = {} if row["val"] is None else {"value": 100 * row["val"]}
                    state = TrialState.COMPLETE if reached else TrialState.PRUNED
                    params = {**vars(candidate), "seed": seed}
                    yield create_trial(state=state, params=params, distributions=_DISTRIBUTIONS, **reached)

    def _told(self, row: Mapping[str, Any]) -> Candidate | None:
        """The recipe of a row of evidence; None where it has what the search no longer tries."""
        own = {name: of for name, of in of_row(row).items() if name not in (*NUMBERS, "weight_decay")}
        variants = {PUBLISHED: dict[str, Any](), **self.variants}
        decay = str(row.get("weight_decay", DEFAULT))
        if row["lr"] not in RATES or decay not in (DEFAULT, *DECAYS.values()) or own not in variants.values():
            return None
        variant = next(name for name, settings in variants.items() if settings == own)
        return Candidate(row["lr"], row["epochs"], variant, decay)

    @property
    def variants(self) -> dict[str, dict[str, Any]]:
        """What is tried beside the published method."""
        return VARIANTS.get(self.method, OPTIONS)

    @property
    def space(self) -> Space:
        kind = METHODS.facts(self.method).kind
        first, most = EPOCHS[kind]
        variants = (PUBLISHED, *VARIANTS.get(self.method, ()))
        options = () if self.method in VARIANTS else tuple(OPTIONS)
        keeps = self.method in KEEPS_EPOCHS
        return Space(self.study.user_attrs["start"], first, most, variants, options, (DECAYS[kind],), keeps)

    def tried(self) -> candidates.Tried:
        found = {}
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
            value = trial.value if trial.state == TrialState.COMPLETE and trial.value is not None else -math.inf
            found[_candidate(trial), trial.params["seed"]] = value
        return found

    def spec(self, candidate: Candidate, task: str, seed: int = 0) -> RunSpec:
        own = {} if candidate.variant == PUBLISHED else self.variants[candidate.variant]
        more: dict[str, Any] = {name: value for name, value in own.items() if name != "method"}
        if candidate.decay != DEFAULT:
            more["weight_decay"] = float(candidate.decay)
        if METHODS.facts(self.method).kind == "side":
            more["cache_features"] = "disk"
        settings = {"name": self.method, **own.get("method", {})}
        numbers = {"lr": candidate.lr, "epochs": candidate.epochs, "seed": seed}
        return RunSpec(backbone=self.backbone, task=task, method=settings, **numbers, **more)

    def advance(self, stage: str) -> Iterator[str]:
        """Makes the trials that the stages up to this one lack; a line on each.

        Raises:
            Stopped: the time was up before all were made.
        """
        with self._alone() as free:
            if not free:
                yield f"{self.name}: another process is at it"
                return
            for stale in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self.study.tell(stale.number, state=TrialState.FAIL)  # its process ended without a word
            while wanted := candidates.missing(self.space, self.tried(), stage):
                candidate, seed = wanted
                self.study.enqueue_trial({**vars(candidate), "seed": seed}, skip_if_exists=False)
                yield f"{self.method} on {self.backbone}: {self._trial(self.study.ask(_DISTRIBUTIONS))}"

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        lock = FileLock(self.storage.with_name(f"{self.storage.name}.{self.method}.{self.backbone}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _trial(self, trial: Trial) -> str:
        """Runs it task by task, and tells the study what came out."""
        candidate, seed, values = _candidate(trial), trial.params["seed"], list[float]()
        said = f"rate {candidate.lr:g}, {candidate.epochs} epochs, {candidate.variant}, seed {seed}"
        try:
            for number, task in enumerate(self.tasks):
                spec = self.spec(candidate, task, seed)
                if self.log.known(spec) is None and time.monotonic() > self.until:
                    raise Stopped
                row = self.log.row(spec, self.run)
                if row["val"] is None:
                    self.study.tell(trial, state=TrialState.PRUNED)
                    return f"{said}: diverged on {task}"
                values.append(100 * row["val"])
                trial.report(statistics.mean(values), number)
                if seed == SEEDS[0] and number + 1 < len(self.tasks) and trial.should_prune():
                    self.study.tell(trial, state=TrialState.PRUNED)
                    return f"{said}: stopped at {statistics.mean(values):.1f} % after {number + 1} of the tasks"
        except BaseException:
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        self.study.tell(trial, statistics.mean(values))
        return f"{said}: {statistics.mean(values):.1f} % of validation"

    def entry(self, command: str) -> dict[str, Any] | None:
        """What assets/recipes.json says of this method and backbone; None before the rates are searched."""
        space, tried = self.space, self.tried()
        if (chosen := candidates.best(space, tried)) is None:
            return None
        done = [stage for stage in candidates.STAGES if candidates.missing(space, tried, stage) is None]
        if not done:
            return None
        rows = []
        for candidate in dict.fromkeys(candidate for candidate, _ in tried):
            seeds = [seed for seed in SEEDS if (candidate, seed) in tried]
            values = [tried[candidate, seed] for seed in seeds if tried[candidate, seed] > 0]
            row = {**self.values(candidate), "seeds": seeds}
            row["val"] = round(statistics.mean(values) / 100, 4) if values else None
            rows.append(row)
        evidence = {
            "on": in_a_row(self.tasks),
            "tasks": list(self.tasks),
            "searched": done,
            "weights": weights_digest(self.backbone),
            "tried": sorted(rows, key=lambda row: (row["epochs"], str(row.get("method")), row["lr"])),
            "command": command,
        }
        if tuner := self.spec(chosen, self.tasks[0]).method.settings().get("tuner"):
            evidence["of"] = f"tuner {tuner}"  # what a method is that has many
        return {"method": self.method, "backbone": self.backbone, "values": self.values(chosen), "evidence": evidence}

    def values(self, candidate: Candidate) -> dict[str, Any]:
        """Fields of RunSpec, and settings of the method where it is not as published."""
        own = {} if candidate.variant == PUBLISHED else self.variants[candidate.variant]
        decay = {} if candidate.decay == DEFAULT else {"weight_decay": float(candidate.decay)}
        return {"lr": candidate.lr, "epochs": candidate.epochs, **decay, **own}


_DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(RATES[0], RATES[-1], log=True),
    "epochs": IntDistribution(1, 1000),
    "variant": CategoricalDistribution((PUBLISHED, *(name for own in (*VARIANTS.values(), OPTIONS) for name in own))),
    "decay": CategoricalDistribution((DEFAULT, *DECAYS.values())),
    "seed": IntDistribution(0, 2**31 - 1),
}


def _candidate(trial: Trial | FrozenTrial) -> Candidate:
    """Its recipe; a rate as it stands among RATES, whatever a logarithm and back made of it."""
    settings = {name: trial.params[name] for name in ("epochs", "variant", "decay")}
    return Candidate(min(RATES, key=lambda rate: abs(rate / trial.params["lr"] - 1)), **settings)
