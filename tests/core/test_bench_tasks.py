"""The mini-VTAB's table: averages are what they are called, logs continue, and the page says how it was made."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from peftcore import errors
from peftcore.bench import _accuracies, accuracy, tasks
from peftcore.bench._commands import app
from peftcore.spec import RunSpec
from peftcore.train import loop

TASKS = ("textures", "cells", "counting", "distance")  # one natural, one specialised, two structured
FOUND = {"linear": (0.40, 0.60, 0.20, 0.40), "lora": (0.50, 0.70, 0.30, 0.70)}
RECIPE = {"backbone": "vit_micro", "epochs": 2}


def rows(methods=FOUND, seeds=(0, 1), of=TASKS):
    """Each seed is two points better than the one before."""
    for method in methods:
        for task in of:
            for seed in seeds:
                spec = RunSpec(method=method, task=task, seed=seed, **RECIPE)
                reached = FOUND[method][TASKS.index(task)] + 0.02 * seed
                row = {
                    "key": spec.key,
                    "test_accuracy": reached,
                    "val_accuracy": 0.5,
                    "seconds": 1.0,
                    "parameters": 12345,
                }
                yield row | {
                    "backbone": "vit_micro",
                    "method": method,
                    "task": task,
                    "seed": seed,
                    "lr": spec.lr,
                    "epochs": 2,
                }


def write(path, content):
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


@pytest.fixture
def no_runs(monkeypatch):
    def refuse(spec):
        raise AssertionError(f"{spec.method.name} on {spec.task}, seed {spec.seed}, was run again")

    monkeypatch.setattr(loop, "run", refuse)


def test_the_benchmark_is_a_fixed_list_in_the_order_of_the_groups():
    assert [task for group in tasks.grouped(tasks.MINI_VTAB).values() for task in group] == list(tasks.MINI_VTAB)
    assert len(set(tasks.MINI_VTAB)) == 9 and "digits" not in tasks.MINI_VTAB


def test_both_averages_by_hand():
    best, other = tasks.averages(rows(), TASKS)
    assert (best["method"], other["method"]) == ("lora", "linear"), "the best mean of groups comes first"
    assert other["groups"]["structured"] == pytest.approx([30, 32])
    assert other["mean of tasks"] == pytest.approx([40, 42])  # (40 + 60 + 20 + 40) / 4
    assert other["mean of groups"] == pytest.approx([43 + 1 / 3, 45 + 1 / 3])  # (40 + 60 + 30) / 3
    assert best["mean of tasks"] == pytest.approx([55, 57])
    assert best["mean of groups"] == pytest.approx([170 / 3, 170 / 3 + 2])
    shown = tasks.summary([other])[0]
    assert shown["mean of tasks"] == "41.0 ± 1.4" and shown["mean of groups"] == "44.3 ± 1.4"


def test_no_average_is_made_of_fewer_tasks():
    cut = [row for row in rows() if (row["task"], row["seed"]) != ("distance", 1)]
    one = tasks.averages(cut, TASKS)[0]
    assert len(one["mean of tasks"]) == len(one["mean of groups"]) == len(one["groups"]["structured"]) == 1
    assert len(one["groups"]["natural"]) == 2
    none = tasks.averages([row for row in rows() if row["task"] != "cells"], TASKS)[0]
    shown = tasks.summary([none])[0]
    assert shown["specialised"] == shown["mean of tasks"] == shown["mean of groups"] == "–"
    assert tasks.by_tasks([none])[0]["cells"] == "–"


def test_guessing_is_one_of_the_classes():
    chance = tasks.by_tasks(tasks.averages(rows(), TASKS))[-1]
    assert chance == {"method": "Chance", "textures": "8.3", "cells": "16.7", "counting": "12.5", "distance": "16.7"}


def test_a_benchmark_goes_on_where_its_logs_end_and_adds_to_the_first(tmp_path, monkeypatch):
    here = write(tmp_path / "here.jsonl", list(rows(["linear"]))[:-1])
    there = write(tmp_path / "there.jsonl", rows(["lora"]))
    asked = []

    class Result:
        test_accuracy, val_accuracy, seconds = 0.42, 0.5, 1.0

        class model:
            @staticmethod
            def parameter_counts():
                return {"method": 12345}

    monkeypatch.setattr(loop, "run", lambda spec: asked.append(spec) or Result)
    found = list(_accuracies.measure(FOUND, TASKS, (0, 1), [here, there], **RECIPE))
    assert [(spec.method.name, spec.task, spec.seed) for spec in asked] == [("linear", "distance", 1)]
    assert tasks.summary(tasks.averages(found, TASKS)) == tasks.summary(tasks.averages(rows(), TASKS))
    assert len(here.read_text().splitlines()) == 8 and len(there.read_text().splitlines()) == 8
    asked.clear()
    assert list(_accuracies.measure(FOUND, TASKS, (0, 1), [here, there], **RECIPE)) == found and not asked


def test_a_learning_rate_is_chosen_by_validation_at_the_first_seed_alone(tmp_path, monkeypatch):
    """0.02 has the best test accuracy, and the best validation accuracy at the other seed; neither counts."""
    val = {(0.001, 3): 0.4, (0.005, 3): 0.6, (0.02, 3): 0.6, (0.001, 5): 0.4, (0.005, 5): 0.5, (0.02, 5): 0.9}
    asked = []

    def run(spec):
        asked.append((spec.lr, spec.seed))
        model = SimpleNamespace(parameter_counts=lambda: {"method": 12345})
        return SimpleNamespace(test_accuracy=spec.lr, val_accuracy=val[spec.lr, spec.seed], seconds=1.0, model=model)

    monkeypatch.setattr(loop, "run", run)
    log = tmp_path / "log.jsonl"
    found = list(_accuracies.measure(["lora"], ["cells"], (3, 5), [log], (0.001, 0.005, 0.02), **RECIPE))
    assert [(row["lr"], row["seed"]) for row in found] == [(0.005, 3), (0.005, 5)]
    assert asked == [(0.001, 3), (0.005, 3), (0.02, 3), (0.005, 5)] and len(log.read_text().splitlines()) == 4
    assert tasks.learning_rates(tasks.averages(found, TASKS)) == [
        {"method": "LoRA", "textures": "–", "cells": "0.005", "counting": "–", "distance": "–"}
    ]


def words(log, *more):
    return ["tasks", "--tasks", ",".join(TASKS), "--methods", "linear,lora", "--seeds", "2", "--epochs", "2",
            "--log", str(log), *more]  # fmt: skip


def test_the_page_tells_the_command_that_makes_it_again(tmp_path, no_runs):
    log = write(tmp_path / "my log.jsonl", rows())
    page = CliRunner().invoke(app, words(log, "--markdown"))
    assert page.exit_code == 0, page.output
    command = next(line for line in page.stdout.splitlines() if line.startswith("python -m peftcore bench tasks"))
    assert command.endswith(f"--log '{log}' --markdown") and "--epochs 2" in command
    assert "| LoRA | 12,345 | 51.0 ± 1.4 | 71.0 ± 1.4 | 51.0 ± 1.4 | 56.0 ± 1.4 | 57.7 ± 1.4 |" in page.stdout
    assert "| `cells` Blood smears | specialised | 6 |" in page.stdout
    lines = page.stdout.splitlines()
    for number, line in enumerate(lines):  # every table is as wide as its head
        if set(line) == set("|-: ") or set(line) == set("|-"):
            assert line.count("|") == lines[number - 1].count("|") == lines[number + 1].count("|")


def test_json_and_the_table_hold_the_same_numbers(tmp_path, no_runs):
    log = write(tmp_path / "log.jsonl", rows())
    found = json.loads(CliRunner().invoke(app, words(log, "--json")).stdout)
    assert found["entries"] == tasks.averages(rows(), TASKS)
    assert (found["seeds"], found["epochs"], found["lrs"]) == (2, 2, []) and f"--log {log}" in found["command"]
    table = CliRunner().invoke(app, words(log), env={"COLUMNS": "200"}).stdout
    assert "57.7 ± 1.4" in table and "Chance" in table


def test_the_page_tells_which_learning_rates_were_chosen(tmp_path, no_runs):
    log = write(tmp_path / "log.jsonl", rows())
    page = CliRunner().invoke(app, words(log, "--markdown", "--lrs", "0.001")).stdout
    assert "of 0.001 that with the best validation accuracy at seed 0" in page and "--lrs 0.001" in page
    assert "| LoRA | 0.001 | 0.001 | 0.001 | 0.001 |" in page


def test_an_impossible_learning_rate_is_refused_before_anything_runs(no_runs):
    for rate in ("0", "fast"):
        result = CliRunner().invoke(app, ["tasks", "--lrs", f"0.001,{rate}"])
        assert isinstance(result.exception, errors.InvalidSetting) and rate in str(result.exception)


def test_an_unknown_task_is_refused_before_anything_runs(no_runs):
    result = CliRunner().invoke(app, ["tasks", "--tasks", "textures,cellz"])
    assert "Did you mean 'cells'" in str(result.exception)


def test_accuracy_shows_the_mean_of_the_tasks_it_was_given():
    table = accuracy.table(rows(["linear"]))
    assert table == [
        {"method": "Linear probe", "textures": "41.0 ± 1.4", "cells": "61.0 ± 1.4", "counting": "21.0 ± 1.4",
         "distance": "41.0 ± 1.4", "mean": "41.0"}
    ]  # fmt: skip
