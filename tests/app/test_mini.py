"""The mini-VTAB's record as lessons read it: only what every method ran, and where it was by when."""

from __future__ import annotations

import pytest

from app.learn import mini

ALONE = {"counting": {"0": 5.0}}  # a task of fewer seeds
TASKS = {"cells": [50.0, 60.0], "shapes": [40.0, 44.0]}
OTHER = {"cells": [52.0, 54.0], "shapes": [41.0, 47.0]}


def rows():
    """As budgets write it: by seed, published recipes beside, and one run that only one method has."""
    found = []
    for name, tasks, count in (("lora", TASKS, 8), ("last", OTHER, 5)):
        by_seed = {task: {str(seed): value for seed, value in enumerate(values)} for task, values in tasks.items()}
        found.append({"backbone": mini.BACKBONE, "method": name, "budget": "time", "published": False,
                      "tasks": by_seed | ALONE, "parameters": count, "epochs": 4, "seconds_before": 0.0, "seconds": 8.0,
                      "curves": {"cells": {"0": [[1, 10.0], [4, 20.0 + count]]}}})  # fmt: skip
    found[0]["tasks"]["cells"]["2"] = 99.0
    published = found[0] | {"published": True, "tasks": {t: dict(by_seed) for t, by_seed in found[1]["tasks"].items()}}
    return {"rows": [*found, published]}


@pytest.fixture
def recorded(monkeypatch):
    mini.results.cache_clear()
    monkeypatch.setattr(mini, "record", rows)
    yield
    mini.results.cache_clear()


def test_what_all_methods_share_is_told(recorded):
    assert mini.results() == {"lora": TASKS, "last": OTHER}
    assert mini.mean("lora") == 48.5 and mini.mean("last") == 48.5
    assert (mini.weights("last"), mini.seeds(), mini.best_of("side")) == (5, 2, "last")


def test_where_each_was_when_the_time_was_up(recorded):
    assert mini.budget() == "in equal time"
    assert mini.after(1.9) == {} and mini.after(2) == {"lora": 10.0, "last": 10.0}
    assert mini.after(8) == {"lora": 28.0, "last": 25.0}


def test_single_runs_against_means(recorded):
    """By hand: on cells the means are 55 and 53, on shapes 42 and 44."""
    assert mini.rolls("lora", "last") == 8
    wrong = [(50, 52), (50, 54), (44, 41)]  # (lora, last): the other one than by the means is ahead
    assert mini.against_mean("lora", "last") == mini.against_mean("last", "lora") == len(wrong)
    assert mini.undecided("lora", "last") == 2
    assert mini.spread("lora") == pytest.approx((52 - 45) / 2**0.5)


def test_a_tie_is_no_win(monkeypatch):
    level = {"lora": {"cells": [50.0, 60.0]}, "last": {"cells": [50.0, 56.0]}}
    monkeypatch.setattr(mini, "results", lambda: level)
    assert mini.against_mean("lora", "last") == 1, "50 against 56, and not 50 against 50"


def test_numbers_of_earlier_weights_say_so(monkeypatch):
    monkeypatch.setattr(mini, "record", lambda: {"weights": {mini.BACKBONE: "yesterday's"}})
    assert "earlier weights" in mini.since()
    monkeypatch.setattr(mini.recipes, "weights_digest", lambda name: "yesterday's")
    assert mini.since() == ""
