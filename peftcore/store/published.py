"""Accuracies that papers report on VTAB-1K, to stand beside one's own: another backbone, another protocol. No torch.

assets/vtab1k_published.json holds them with their sources; none was measured by this project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from statistics import fmean
from typing import Any

from peftcore.registry import METHODS
from peftcore.tasks.files import vtab

FILE = Path(__file__).resolve().parents[2] / "assets" / "vtab1k_published.json"
KINDS = ("vtab", "torchvision", "hf")  # of tasks whose name says which data set they are


@dataclass(frozen=True)
class Published:
    """One accuracy, 0 to 1, of a method by its name here; `title` is what the source calls it."""

    method: str
    title: str
    accuracy: float
    backbone: str
    protocol: str
    source: str


@cache
def record() -> dict[str, Any]:
    """The contents of the file."""
    return json.loads(FILE.read_text())


def vtab_task(task: str) -> str | None:
    """Which of VTAB-1K's 19 a task of ours is, by the name of its data set: 'vtab:/data/Oxford-Pet' and
    'torchvision:OxfordIIITPet' are 'oxford_iiit_pet'; None for any other."""
    kind, _, argument = task.partition(":")
    return vtab.known(PurePath(argument.partition("?")[0]).name) if kind in KINDS else None


def on_task(task: str) -> list[Published]:
    """What was published on this task of VTAB-1K, the best first; nothing for any other task."""
    name, told = vtab_task(task), record()
    if name is None:
        return []
    place = [each for group in told["tasks"].values() for each in group].index(name)
    found = [_one(entry, entry["values"][place]) for entry in told["per_task"]]
    return sorted(found, key=lambda one: -one.accuracy)


def means() -> list[dict[str, Any]]:
    """A row for each method and source: means of the groups, the mean of these, and where it is known the mean of all
    19 tasks, all 0 to 1. The two means are never compared with each other."""
    told, rows = record(), []
    for entry in told["per_task"]:
        values, groups = iter(entry["values"]), {}
        for group, names in told["tasks"].items():
            groups[group] = [next(values) for _ in names]
        of = {group: fmean(some) for group, some in groups.items()}
        of |= {"mean of groups": fmean(of.values()), "mean of tasks": fmean(entry["values"])}
        rows.append((entry, of))
    columns = (*told["tasks"], "mean of groups", "mean of tasks")
    rows += [(entry, {name: entry[name] for name in columns if name in entry}) for entry in told["means"]]
    found = []
    for entry, of in rows:
        one = _one(entry, of["mean of groups"])
        numbers = {name: of[name] / 100 if name in of else None for name in columns}
        found.append({"method": one.method, "title": one.title, **numbers, "backbone": one.backbone,
                      "source": one.source})  # fmt: skip
    return sorted(found, key=lambda row: -row["mean of groups"])


def _one(entry: dict[str, Any], percent: float) -> Published:
    told, method = record(), entry["method"]
    title = entry.get("title") or METHODS.facts(method).title
    backbone = entry.get("backbone", told["backbone"])
    return Published(method, title, percent / 100, backbone, told["protocol"], entry["source"])
