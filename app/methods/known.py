"""What is known of a method for its card: recorded, or for one that somebody added, looked at now. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from statistics import mean
from typing import Any

from app import background
from app.desk import Job
from peftcore.backbone import embedded
from peftcore.bench import cards
from peftcore.figures.budgets import EQUAL, by_task, equal, even, whole
from peftcore.registry import METHODS
from peftcore.store import published, recipes

SIZES = {  # of ViT-B/16, by their letters in a count's expression
    "d": "width $d$ = 768",
    "L": "$L$ = 12 blocks",
    "N": "$N$ = 197 tokens",
    "P": "patches of $P$ = 16 pixels",
}
MAIN = "vit_micro"  # the embedded backbone that is told of first
MINI = cards.FILE.with_name("mini_vtab.json")


@cache
def _recorded() -> dict[str, Any]:
    return cards.recorded()["methods"]


def names() -> list[str]:
    """All methods, those of the three papers first, then side methods, then by title."""
    first = ("last", "heart_lora", "serial_lora", "lora")
    order = {name: place for place, name in enumerate(first)}
    return sorted(METHODS.names(), key=lambda name: (order.get(name, 9), METHODS.facts(name).title.lower()))


def facts(name: str) -> dict[str, Any] | Job:
    """As `cards.facts` gives them, or the future of them."""
    return _recorded().get(name) or background.apart(("card", name), cards.facts, name)


def formula(expression: str) -> str:
    """A count's expression as LaTeX: '2 * L * d * rank' is '2\\,L\\,d\\,r'."""
    squared = re.sub(r"\b(\w+) \* \1\b", r"\1^2", expression)
    named = re.sub(r"[A-Za-z_]{2,}", lambda word: rf"\mathrm{{{word[0].replace('_', ' ')}}}", squared)
    return re.sub(r"\s*\*\s*", r"\\,", named).replace("/", r"/").strip()


def letters(expression: str, settings: Mapping[str, Any]) -> str:
    """What stands in a count's expression, with its values: '$d$ = 768 (width), rank = 8'."""
    found = dict.fromkeys(re.findall(r"[A-Za-z_]+", expression))
    said = []
    for name in found:
        if name in SIZES:
            said.append(SIZES[name])
        elif isinstance(value := settings[name], list):
            said.append(f"{name} = {len(value)} ({', '.join(map(str, value))})")
        else:
            said.append(f"{name.replace('_', ' ')} = {value:g}")
    return ", ".join(said)


def ours(method: str) -> dict[str, Any] | None:
    """What it reached on the mini-VTAB, in percent: the mean over tasks, lowest and highest over seeds, backbone, under
    which equal budget, and whether its weights were earlier ones. None where it was not run."""
    record = json.loads(MINI.read_text())
    for backbone in sorted(record["weights"], key=MAIN.__ne__):
        budget, rows = equal(record["rows"], backbone)
        pairs = even(whole(rows, "tasks"))
        for row in rows:
            if row["method"] == method and not row["published"]:
                tasks = by_task(row, pairs).values()
                means = [mean(values[seed] for values in tasks) for seed in range(len(next(iter(tasks))))]
                return {
                    "backbone": backbone, "mean": mean(map(mean, tasks)), "low": min(means), "high": max(means),
                    "seeds": len(means), "tasks": len(tasks), "under": EQUAL[budget],
                    "is_old": record["weights"][backbone] != recipes.weights_digest(backbone),
                }  # fmt: skip
    return None


def searched(method: str) -> list[dict[str, Any]]:
    """What its recipe reached in the search for it, by embedded backbone of today's weights: percent of the validation
    images, and LoRA's in its own search there (None where it was not searched)."""
    found = []
    for backbone in sorted(embedded.names(), key=MAIN.__ne__):
        if row := _won(method, backbone):
            lora = _won("lora", backbone)
            found.append(row | {"backbone": backbone, "lora": lora and lora["val"]})
    return found


def _won(method: str, backbone: str) -> dict[str, Any] | None:
    recipe = recipes.best(method, backbone)
    if not recipe.measured:
        return None
    evidence = recipe.evidence[0]["evidence"]
    rows = [row for row in evidence["tried"] if row["val"] and recipes.of_row(row) == recipe.values]
    if evidence["weights"] != recipes.weights_digest(backbone) or not rows:
        return None
    best = max(rows, key=lambda row: (len(row["seeds"]), row["val"]))
    return {"on": evidence["on"], "seeds": len(best["seeds"]), "val": 100 * best["val"], "values": recipe.values}


def papers(method: str) -> list[dict[str, Any]]:
    """What was published of it on VTAB-1K."""
    return [row for row in published.means() if row["method"] == method]
