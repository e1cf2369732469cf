"""Recipes from runs on weights of one's own, as assets/recipes.json keeps them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from peftcore.bench._candidates import RATES
from peftcore.bench._real_runs import ENTRIES, Entry, Plan
from peftcore.bench._run_log import RunLog
from peftcore.store.recipes import of_row

MARGIN = 0.01  # of validation, by which what departs from a method as published must win
SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"projections": ("q", "v")},
    "heart_lora": {"n_off": 0},
}  # of the entries that tell of a method


def recipes_of(plan: Plan, log: RunLog, of_what: str, command: str) -> list[dict[str, Any]]:
    """One for each method all of whose entries have their rate and their seeds: the best mean of all seeds."""
    found = []
    for method in dict.fromkeys(entry.settings["name"] for entry in ENTRIES):
        own = [entry for entry in ENTRIES if entry.settings["name"] == method and _tells(entry)]
        tried = {entry.title: list(_tried(plan, entry, log)) for entry in own}
        whole = {
            title: [row for row in rows if len(row["seeds"]) == len(plan.seeds) and row["val"] is not None]
            for title, rows in tried.items()
        }  # a rate at which some seed diverged is none to recommend
        if not all(whole.values()) or not all(plan.rate(entry, log)[1] for entry in own):
            continue
        best = [max(rows, key=lambda row: row["val"]) for rows in whole.values()]
        chosen: dict[str, Any] = max(best, key=lambda row: row["val"] - (MARGIN if set(row) - set(best[0]) else 0))
        found.append(
            {
                "method": method,
                "backbone": plan.plain.backbone,
                "values": of_row(chosen),
                "evidence": {
                    "on": f"{plan.plain.task} at {plan.plain.image_size or 'its own'} pixels",
                    "of": of_what,
                    "tasks": [plan.plain.task],
                    "searched": ["rates"],
                    "weights": "",
                    "tried": [row for rows in tried.values() for row in rows],
                    "command": command,
                },
            }
        )
    return found


def _tells(entry: Entry) -> bool:
    return all(entry.settings.get(name) == value for name, value in SETTINGS.get(entry.settings["name"], {}).items())


def _tried(plan: Plan, entry: Entry, log: RunLog) -> Iterator[dict[str, Any]]:
    more = {name: value for name, value in entry.settings.items() if name == "qk_norm"}
    ours: dict[str, Any] = ({"method": more} if more else {}) | entry.more
    for rate in RATES:
        specs = {seed: plan.spec(entry, rate, seed) for seed in plan.seeds}
        rows = {seed: row for seed, spec in specs.items() if (row := log.known(spec)) is not None}
        if rows:
            values = [row["val"] for row in rows.values()]
            val = None if None in values else round(statistics.mean(values), 4)
            yield {"lr": rate, "epochs": specs[plan.seeds[0]].epochs, **ours, "seeds": list(rows), "val": val}
