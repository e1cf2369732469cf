"""The best learning rate of each method on an embedded backbone, from runs of `bench tasks --lrs` to its card."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from trainer import write_card

from peftcore.backbone import embedded
from peftcore.bench.tasks import MINI_VTAB


def chosen(rows: Iterable[Mapping[str, Any]], backbone: str, epochs: int) -> dict[str, dict[str, Any]]:
    """Method -> the rate with its best mean validation accuracy over the mini-VTAB at seed 0, and all rates' means.

    From runs of `epochs` epochs: {"lr", "epochs", "rates": {lr: {"val", "test"}}}, accuracies as shares. Rates that
    lack a task are left out, and so are methods with fewer than two rates, where there is nothing to choose.
    """
    found: dict[str, dict[float, dict[str, tuple[float, float]]]] = {}
    for row in rows:
        if (row["backbone"], row["seed"], row["epochs"]) == (backbone, 0, epochs):
            of_rate = found.setdefault(row["method"], {}).setdefault(row["lr"], {})
            of_rate[row["task"]] = row["val_accuracy"], row["test_accuracy"]
    facts = {}
    for method, by_rate in sorted(found.items()):
        means = {
            lr: [round(mean(of_rate[task][which] for task in MINI_VTAB), 4) for which in (0, 1)]
            for lr, of_rate in sorted(by_rate.items())
            if of_rate.keys() >= set(MINI_VTAB)
        }
        if len(means) > 1:
            best = max(means, key=lambda lr: means[lr][0])
            rates = {f"{lr:g}": {"val": val, "test": test} for lr, (val, test) in means.items()}
            facts[method] = {"lr": best, "epochs": epochs, "rates": rates}
    return facts


def record(options: argparse.Namespace) -> None:
    """Prints the rates found in the logs, and writes them to the card."""
    rows = [json.loads(line) for log in options.logs for line in Path(log).read_text().splitlines() if line.strip()]
    by_method = chosen(rows, options.name, options.epochs)
    for method, facts in by_method.items():
        print(method, facts["lr"], " ".join(f"{lr}: {both['test']:.3f}" for lr, both in facts["rates"].items()))
    after = embedded.card(options.name)["training"]["images"]
    write_card(embedded.folder(options.name), {"learning_rates": by_method, "rates_after": after})
