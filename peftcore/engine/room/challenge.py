"""A challenge: who gets the best validation accuracy on a task, within a budget, before a deadline. No torch.

Validation decides; what the test images say is kept from all but the teacher until the teacher reveals it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from peftcore import errors
from peftcore.engine.room.room import Room
from peftcore.fetch.confined import VARIABLE
from peftcore.store import RunRecord, Store
from peftcore.store.trained import of_run
from peftcore.task import task_card

FACT = "challenge"  # as the room keeps it
BUDGETS = {  # what may be limited: its name, its unit, and how many of what is measured one unit is
    "memory": ("peak memory of a training step", "MB", 1e6),
    "weights": ("trained weights, at the end", "thousand", 1e3),
    "seconds": ("seconds of training", "s", 1.0),
}


@dataclass(frozen=True)
class Challenge:
    """budget: a name of BUDGETS or '' for none, of which a run may take `most` units. began, ends: seconds since 1970,
    `ends` None where it has no deadline. revealed: whether test accuracies are shown to all."""

    task: str
    began: float
    budget: str = ""
    most: float = 0.0
    ends: float | None = None
    revealed: bool = False

    def __post_init__(self) -> None:
        if self.budget and self.budget not in BUDGETS:
            raise errors.InvalidSetting(f"budget = {self.budget!r} is not one of {', '.join(BUDGETS)}.")
        if self.budget and not self.most > 0:
            raise errors.InvalidSetting(f"A budget is more than 0 {BUDGETS[self.budget][1]}.")

    @property
    def over(self) -> bool:
        """Whether its deadline has passed."""
        return self.ends is not None and time.time() > self.ends

    def enters(self, record: RunRecord) -> bool:
        """Whether a run is one of the challenge's."""
        return record.spec.get("task") == self.task and record.created >= self.began

    def seals(self, record: RunRecord) -> bool:
        """Whether what the run answered on the test images is kept from participants: of the task's images under
        another name too, which would tell as much (`_share_images`), and of a run that was queued before the challenge
        began and ends within it."""
        late = record.created >= self.began or record.finished is None or record.finished > self.began
        return not self.revealed and late and _share_images(record.spec.get("task", ""), self.task)


@dataclass(frozen=True)
class Entry:
    """A person's best run. cost: of what is limited, in units; test: None until it is revealed."""

    owner: str
    run: int
    val: float
    test: float | None
    method: str
    cost: float | None
    finished: float
    runs: int  # that the person finished in time and within the budget
    spec: Mapping[str, Any]


def _share_images(first: str, second: str) -> bool:
    """Whether two tasks may have images in common: 'upload:cats?fit=crop' has those of 'upload:cats', 'few:digits'
    those of 'digits', and 'folder:./cats/' those of 'vtab:cats' and of all folders within."""
    root = os.environ.get(VARIABLE, "")
    one, other = _images(first, root), _images(second, root)
    if isinstance(one, Path) and isinstance(other, Path):
        return one.is_relative_to(other) or other.is_relative_to(one)
    return one == other


@lru_cache(maxsize=1024)
def _images(task: str, root: str) -> str | Path:
    """Where a task's images come from, however its name is spelt: a folder, where its kind reads one from a path, or
    the name without its settings."""
    name = task.partition("?")[0]
    kind, _, argument = name.partition(":")
    try:
        word = task_card(kind).argument
    except errors.UnknownName:  # of a task that this Headroom does not have
        word = ""
    if word == "TASK":
        return _images(argument, root)
    return Path(os.path.realpath(Path(root).expanduser() / Path(argument).expanduser())) if word == "PATH" else name


def challenge(room: Room) -> Challenge | None:
    """The one that is on, or was the last."""
    said = room.now().facts.get(FACT)
    return Challenge(**said) if said else None


def begin(room: Room, wanted: Challenge | None) -> None:
    """Sets it; None ends it for good, and what was sealed is open."""
    room.write(FACT, asdict(wanted) if wanted else None)


def reveal(room: Room, on: bool = True) -> None:
    """Shows test accuracies to all, or hides them again."""
    if now := challenge(room):
        begin(room, replace(now, revealed=on))


def cost(store: Store, record: RunRecord, budget: str) -> float | None:
    """What a finished run took of a budget, in its units; None where it does not say."""
    if budget == "memory":
        found = record.summary.get("memory", {}).get("peak")
    elif budget == "weights":
        found = of_run(store, record.id)
    else:
        found = record.summary.get("seconds")
    return None if found is None else found / BUDGETS[budget][2]


def board(store: Store, now: Challenge) -> list[Entry]:
    """The best finished run of each person in time and within the budget, the best by validation first; of two alike
    the earlier one.

    `store`: the whole one. An entry says what all may know while the challenge is on.
    """
    entries: dict[str, Entry] = {}
    for record in reversed(store.runs(status="finished")):
        val, ended = record.summary.get("val_accuracy"), record.finished
        if not now.enters(record) or val is None or ended is None or (now.ends is not None and ended > now.ends):
            continue
        took = cost(store, record, now.budget) if now.budget else None
        if now.budget and (took is None or took > now.most):
            continue
        last, name = entries.get(record.owner), record.spec["method"]["name"]
        runs = 1 + (last.runs if last else 0)
        if last and last.val >= val:
            entries[record.owner] = replace(last, runs=runs)
        else:
            test = record.summary.get("test_accuracy") if now.revealed else None
            entries[record.owner] = Entry(record.owner, record.id, val, test, name, took, ended, runs, record.spec)
    return sorted(entries.values(), key=lambda one: (-one.val, one.finished))
