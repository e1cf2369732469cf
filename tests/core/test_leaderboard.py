"""The leaderboard of a task: validation ranks, seeds are one row, the test is only shown. And what papers report."""

from __future__ import annotations

import json

import pytest

from peftcore import errors
from peftcore.cli.commands import app
from peftcore.store import Store, gallery, published
from peftcore.store.leaderboard import leaderboard, tasks
from peftcore.store.results import wilson


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path))
    return Store(tmp_path)


def finished(store: Store, method: str, val: float | None, test: float, *, seed: int = 0, **fields) -> int:
    """A run with these accuracies, of which the rest is made up."""
    spec = {"backbone": "vit_micro", "method": {"name": method}, "task": "cells", "epochs": 5, "seed": seed} | fields
    run = store.create_run(spec)
    started = {"kind": "started", "parameters": {"method": 90, "head": 10}, "classes": ["a", "b"],
               "settings": {"images": {"test": [100, 50]}}}  # fmt: skip
    store.append(run, [started], {"adapter": b"x" * 10 * (seed + 1)})
    summary = {"test_accuracy": test, "memory": {"peak": 1000}, "seconds": 2.0 + seed}
    store.set_status(run, "finished", summary=summary | ({} if val is None else {"val_accuracy": val}))
    return run


def test_validation_ranks_and_the_test_never_does(store):
    finished(store, "lora", 0.8, 0.99)
    finished(store, "last", 0.9, 0.5)
    finished(store, "linear", None, 1.0)  # an older run, whose validation accuracy is not known
    assert [one.method for one in leaderboard("cells").standings] == ["last", "lora", "linear"]


def test_runs_that_differ_in_the_seed_alone_are_one_row(store):
    runs = [finished(store, "lora", val, test, seed=seed) for seed, val, test in ((0, 0.7, 0.6), (1, 0.8, 0.8))]
    again = finished(store, "lora", 0.75, 0.7)  # the same once more: the newest of a seed counts
    finished(store, "lora", 0.1, 0.1, epochs=9)
    first, second = leaderboard("cells").standings
    assert first.seeds == (0, 1) and [run.code for run in first.runs] == [str(again), str(runs[1])]
    assert first.test_accuracy == pytest.approx(0.75) and first.test_spread == pytest.approx(0.0707, abs=1e-4)
    assert first.interval == wilson(first.test_accuracy, 100), "more seeds are not more test images"
    assert (first.memory, first.parameters, first.stored, first.seconds) == (1000, 100, 15, 2.5)
    assert second.test_spread is None and dict(second.differs) == {"epochs": 9}


def test_the_best_of_each_method_on_each_backbone(store):
    for val, fields in ((0.5, {}), (0.6, {"epochs": 9}), (0.4, {"backbone": "swin_micro"})):
        finished(store, "lora", val, 0.5, **fields)
    board = leaderboard("cells")
    assert len(board.standings) == 3
    assert [(one.val_accuracy, one.spec["backbone"]) for one in board.best] == [(0.6, "vit_micro"), (0.4, "swin_micro")]


def test_heads_that_were_switched_off_train_no_more(store):
    run = finished(store, "heart_lora", 0.5, 0.5)
    store.append(run, [{"kind": "heads_cut", "parameters": {"method": 60, "head": 10}}])
    assert leaderboard("cells").standings[0].parameters == 70


def test_a_task_whose_results_are_sealed_is_not_named(store):
    run = finished(store, "lora", 0.5, 0.5, task="textures")
    store.set_status(run, "finished", summary={"val_accuracy": 0.5})
    assert "textures" not in tasks(store)


def test_recorded_runs_stand_beside_the_store_s(store):
    finished(store, "lora", 1.0, 0.5, task="digits")
    found = leaderboard("digits")
    examples = sum(gallery.record(name)["spec"]["task"] == "digits" for name in gallery.names())
    assert [one.recorded for one in found.standings] == [False] + [True] * examples and tasks()[0] == "digits"
    told = gallery.record("last-digits")
    last = next(one for one in found.standings if one.method == "last")
    assert last.test_accuracy == told["summary"]["test_accuracy"] and last.stored == len(gallery.adapter("last-digits"))
    assert not any(one.recorded for one in leaderboard("digits", recorded=False).standings)


def test_recorded_runs_need_no_store_and_make_none(tmp_path, monkeypatch):
    (tmp_path / "file").touch()  # a folder below it can't be made
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path / "file" / "home"))
    assert all(one.recorded for one in leaderboard("digits").standings) and "digits" in tasks()
    with pytest.raises(errors.NotMeasurable):
        leaderboard("digits", recorded=False)


def test_a_task_without_runs_or_without_a_name_is_a_sentence(store):
    with pytest.raises(errors.NotMeasurable, match="There are runs on .*digits"):
        leaderboard("cells")
    with pytest.raises(errors.UnknownName, match="digits"):
        leaderboard("digit")


def test_where_validation_is_trained_on_it_says_so(store):
    finished(store, "lora", 1.0, 0.5, task="vtab:/data/dtd?protocol=train800val200")
    assert not leaderboard("vtab:/data/dtd?protocol=train800val200").validated


def test_the_command_prints_what_the_function_returns(store, capsys):
    finished(store, "lora", 0.5, 0.5)
    finished(store, "lora", 0.4, 0.4, epochs=9)
    app(["leaderboard", "cells", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(leaderboard("cells").to_dict(best=True)))
    app(["leaderboard", "cells", "--all"], standalone_mode=False)
    assert "LoRA" in capsys.readouterr().out


def test_a_leaderboard_of_thousands_is_one_pass(store):
    """No run is compared with every other one: time would be the square of their number."""
    from peftcore.store.variations import alike_but_seed

    specs = [{"method": {"name": "lora", "rank": n // 5}, "task": "cells", "seed": n % 5} for n in range(2000)]
    assert [len(same) for same in alike_but_seed(specs)] == [5] * 400


@pytest.mark.parametrize(
    "task, name",
    [
        ("vtab:/data/Oxford-Pet?protocol=train800val200", "oxford_iiit_pet"),
        ("torchvision:OxfordIIITPet", "oxford_iiit_pet"),
        ("hf:someone/resisc45", "resisc45"),
        ("digits", None),
        ("folder:/data/dtd", None),
    ],
)
def test_published_numbers_stand_by_vtab_tasks_alone(task, name):
    assert published.vtab_task(task) == name and bool(published.on_task(task)) == bool(name)


def test_published_means_are_those_that_papers_print():
    """An oracle: the means of all 19 tasks as later papers print them, from the accuracies of each task."""
    rows = {row["title"]: row for row in published.means() if row["mean of tasks"]}
    for title, printed in (("Full fine-tuning", 65.57), ("LoRA", 72.25), ("AdaptFormer", 72.32), ("VPT-Deep", 69.43)):
        assert 100 * rows[title]["mean of tasks"] == pytest.approx(printed, abs=0.02), title
    assert all(row["source"] and row["backbone"] for row in published.means())
