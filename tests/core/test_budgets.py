"""The table of the mini-VTAB: what is equal is equal, parts are whole, and docs/tasks.md is made of the record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peftcore.bench import _budget_page, _budgets, budgets
from peftcore.bench._budgets import BUDGETS, Entry, Size, runs, spent
from peftcore.bench._pace import Pace
from peftcore.bench._pacer import pace
from peftcore.bench._run_log import RunLog
from peftcore.figures.budgets import whole
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import recipes
from peftcore.task import GROUPS, task_card

OURS = {"lr": 0.01, "epochs": 20, "method": {"qk_norm": True}, "clip": 1.0}
TRIED = [{"lr": 0.003, "epochs": 20, "val": 0.5, "seeds": [0, 1, 2]}, OURS | {"val": 0.6, "seeds": [0, 1, 2]}]


RECORDED = recipes.recorded


@pytest.fixture(autouse=True)
def known(monkeypatch):
    entry = {"method": "last", "backbone": "vit_micro", "values": OURS, "evidence": {"tried": TRIED}}
    monkeypatch.setattr(recipes, "recorded", lambda: (entry,))


def test_the_tasks_reported_are_the_six_that_no_recipe_was_chosen_on():
    assert len(_budgets.TASKS) == 6 and {task_card(task).group for task in _budgets.TASKS} == set(GROUPS)


def test_a_method_whose_recipe_departs_from_the_published_one_stands_there_twice():
    found = _budgets.entries([], "vit_micro")
    assert found[0] == Entry("lora") and {entry.method for entry in found} == set(METHODS.names())
    assert [entry.name for entry in found if entry.published] == ["last, as published"]
    ours, published = (one.spec("vit_micro", "cells", 1) for one in (Entry("last"), Entry("last", True)))
    assert (ours.lr, ours.clip, ours.method.qk_norm, ours.epochs) == (0.01, 1.0, True, 20)
    assert (published.lr, published.clip, published.method.qk_norm, published.epochs) == (0.003, None, False, 20)


def test_what_a_budget_leaves_of_a_run():
    spec, size = RunSpec(method="lora", epochs=20, lr=0.02), Size(10**8, 16, 10**7)
    assert spent(Entry("lora"), "epochs", spec, Pace(1.0, 0.0, 5.0), size) == spec
    assert spent(Entry("lora"), "time", spec, Pace(1.0, 0.0, 5.0), size).epochs == 10
    assert spent(Entry("last"), "time", spec, Pace(0.2, 1.0, 5.0), size).epochs == 45
    assert spent(Entry("linear"), "time", spec, Pace(0.001, 1.0, 5.0), size).epochs == 200
    assert spent(Entry("full"), "time", spec, Pace(30.0, 0.0, 5.0), size).epochs == 1
    small = spent(Entry("lora"), "memory", spec, Pace(1.0, 0.0, 5.0), size)
    assert (small.batch_size, small.lr, small.epochs) == (16, 0.01, 20)
    assert spent(Entry("lora"), "memory", spec, Pace(1.0, 0.0, 5.0), Size(1, 0, 0)) is None
    assert Pace(0.2, 1.0, 5.0).seconds(45) == pytest.approx(50)


def test_a_method_that_ends_lower_after_more_epochs_is_named():
    def row(method: str, epochs: int, percent: float) -> dict:
        return {"method": method, "published": False, "epochs": epochs, "tasks": {"cells": {"0": percent}}}

    longer = [row("lora", 20, 60.0), row("ssf", 20, 60.0), row("last", 20, 60.0)]
    shorter = [row("lora", 10, 70.0), row("ssf", 10, 61.0), row("last", 70, 70.0)]
    said = _budget_page._too_long(longer, shorter)
    assert (
        "some end lower, as [Recipes](recipes.md) explains: LoRA (60.0 in place of 70.0 after 10)" in said
        and "SSF" not in said
        and "LAST" not in said
    )
    assert not _budget_page._too_long(longer, [])


def test_a_step_is_timed_beside_one_of_lora_and_features_are_paid_for(monkeypatch):
    from trainings import cut

    from peftcore.backbone.load import load_backbone
    from peftcore.bench import _pacer
    from peftcore.task import load_task

    monkeypatch.setattr(_pacer, "ROUNDS", 3)
    backbone, task = load_backbone("vit_micro", pretrained=False), cut(load_task("digits"), 16, 8, 8)
    lora, linear = (RunSpec(method=name, batch_size=8, pretrained=False) for name in ("lora", "linear"))
    found = pace(linear, lora, backbone, task)
    assert 0 < found.ratio < 1 and found.features > 0 and found.epochs_within(10) > 10
    assert pace(lora, lora, backbone, task).features == 0


def test_the_equal_memory_holds_a_step_of_last_and_smaller_batches_of_what_keeps_more():
    given = _budgets.predicted(Entry("last").spec("vit_micro", "cells", 0)).peak
    lora, last = (_budgets.size(Entry(name), "vit_micro", given) for name in ("lora", "last"))
    assert last.batch == 64 and last.bytes == last.batch_bytes and 0 < lora.batch < 64
    one_more = lora.batch_bytes * (lora.batch + 1) / lora.batch  # bytes grow no faster than the batch
    assert lora.bytes > last.bytes and lora.batch_bytes <= last.bytes and one_more > 0.98 * last.bytes


FOUND = [Entry("lora"), Entry("last"), Entry("last", True)]
PACES = {entry.name: Pace(1.0 if entry.method == "lora" else 0.2, 0.0, 5.0) for entry in FOUND}
SIZES = {entry.name: Size(10**8, 32 if entry.method == "lora" else 64, 10**7) for entry in FOUND}


def test_any_beginning_of_the_runs_is_whole():
    made = list(runs(FOUND, "vit_micro", PACES, SIZES))
    assert len(made) == 3 * 6 * 3 * 3
    first = made[: len(FOUND) * len(BUDGETS)]
    assert {(spec.task, spec.seed) for _, _, spec in first} == {(_budgets.TASKS[0], 0)}
    assert {spec.seed for _, _, spec in made[:54]} == {0}


class Sheet(budgets.Sheet):
    def paces(self, found):
        return PACES

    def sizes(self, found):
        return SIZES


@pytest.fixture
def recorded(tmp_path):
    """Two whole tasks, and a third that LoRA alone was run on."""
    log, points = RunLog(tmp_path / "runs.jsonl"), {"lora": 50, "last": 60}
    for entry, _, spec in runs(FOUND, "vit_micro", PACES, SIZES, seeds=(0, 1)):
        number = _budgets.TASKS.index(spec.task)
        if number < 2 or (number == 2 and entry.method == "lora"):
            share = (points[entry.method] - 15 * entry.published + 2 * number + spec.seed) / 100
            row = {"val": {1: 0.2, 20: share}, "test": share, "parameters": 7, "cpu": 36.0}
            log.row(spec, lambda _, row=row: row)
    return budgets.record(log, Sheet(tmp_path / "sheet.json", "vit_micro"), FOUND, _budgets.TASKS, "python -m x")


def test_what_shares_its_runs_with_another_budget_stands_nowhere_alone(tmp_path):
    """LAST with all of its batch is the same run under equal epochs and equal memory."""
    log = RunLog(tmp_path / "runs.jsonl")
    for _, budget, spec in runs(FOUND, "vit_micro", PACES, SIZES, seeds=(0,)):
        if budget == "epochs":
            log.row(spec, lambda _: {"val": {}, "test": 0.5, "parameters": 7, "cpu": 36.0})
    sheet = Sheet(tmp_path / "sheet.json", "vit_micro")
    found = budgets.record(log, sheet, FOUND, _budgets.TASKS, "python -m x")
    assert {row["budget"] for row in found["rows"]} == {"epochs"} and len(found["rows"]) == len(FOUND)
    assert "Not measured yet: vit_micro with the CPU time" in _budget_page.page(found)


def test_the_record_and_the_page_have_what_is_whole(recorded):
    rows = {(row["method"], row["published"], row["budget"]): row for row in recorded["rows"]}
    assert len(rows) == 9 and json.loads(json.dumps(recorded)) == recorded
    one = rows["last", False, "time"]
    assert one["epochs"] == 50 and one["seconds"] == 50 and one["curves"]["house_numbers"]["0"][0] == [1, 20]
    assert rows["lora", False, "memory"]["batch_size"] == 32 and rows["lora", False, "memory"]["bytes"] == 10**7
    own = [row for row in recorded["rows"] if row["budget"] == "epochs"]
    pairs = whole(own, "tasks")
    assert {task for task, _ in pairs} == set(_budgets.TASKS[:2]) and len(pairs) == 4
    assert _budget_page.difference(own[1], own[0], pairs) == pytest.approx((10, 0))
    text = _budget_page.page(recorded)
    assert text.count("4 runs each: 2 tasks, 2 seeds.") == 3 and "LAST, as published" in text and "+10.0 ± 0.0" in text
    assert _budgets.TASKS[2] not in text.split("## How to read it")[0].split("```")[2]


def test_the_figures_show_what_is_whole_in_seconds_and_bytes(recorded):
    from peftcore.errors import BadData
    from peftcore.figures.budgets import against_memory, against_time

    rows = recorded["rows"]
    time = against_time([row for row in rows if row["budget"] == "time"], dark=True)
    lines = {trace.name: trace for trace in time.data if trace.name}
    assert set(lines) == {"LoRA", "LAST", "LAST, as published"} and "2 tasks, 2 seeds" in time.layout.title.text
    assert list(lines["LAST"].x) == [1.0, 20.0] and lines["LAST"].y[1] == pytest.approx(61.5)
    assert "LAST reaches 62 %" in time.layout.title.text
    assert [lines[name].line.dash for name in ("LoRA", "LAST", "LAST, as published")] == ["solid", "dash", "dot"]
    chances = dict.fromkeys((task for row in rows for task in row["tasks"]), 12.5)
    for figure in (against_time, against_memory):
        drawn = figure([row for row in rows if row["budget"] == "time"], chances=chances)
        assert [note.text for note in drawn.layout.annotations] == ["chance 12 %"]
    full = [row | {"method": "full"} if row["method"] == "last" else row for row in rows if row["budget"] == "time"]
    for figure in (against_time, against_memory):
        assert figure(full).layout.title.text.startswith("In equal time full fine-tuning reaches")
    early = against_time([row for row in rows if row["budget"] == "time"], at=1.5)
    assert early.layout.title.text.startswith("After 2 s ") and len(early.layout.shapes) == 1
    assert (
        "none has finished" in against_time([row for row in rows if row["budget"] == "time"], at=0.1).layout.title.text
    )
    memory = {trace.name: trace for trace in against_memory(rows).data}
    assert list(memory["LoRA"].x) == [10, 100] and list(memory["LAST"].x) == [100]
    timed = against_memory([row for row in rows if row["budget"] == "time"])
    fewer = [row | ({"tasks": dict([*row["tasks"].items()][:1])} if row["budget"] == "epochs" else {}) for row in rows]
    assert against_memory(fewer).layout.title.text.startswith("In equally many epochs"), "with lines to equal memory"
    alone = [row for row in fewer if row["budget"] != "memory"]
    assert against_memory(alone).layout.title.text.startswith("In equal time")
    assert timed.layout.title.text.startswith("In equal time") and all(len(trace.x) == 1 for trace in timed.data)
    assert memory["LAST"].error_y.array[0] == pytest.approx(0.707, abs=0.001)
    with pytest.raises(BadData, match="at least one task and seed"):
        against_time([])


def test_the_page_is_made_of_the_record(monkeypatch):
    """Where it fails: python -m peftcore bench budgets, as the record's command says, with --markdown."""
    assets = Path(budgets.__file__).resolve().parents[2]
    record, page = (assets / "assets/mini_vtab.json", assets / "docs/tasks.md")
    known = json.loads(record.read_text())
    monkeypatch.setattr(recipes, "recorded", RECORDED)
    assert page.read_text() == _budget_page.page(known) + "\n"
    others = tuple(one for one in RECORDED() if one["method"] != "hf_peft")
    assert "no recipe of its own" not in page.read_text()
    monkeypatch.setattr(recipes, "recorded", lambda: others)
    assert "Hugging Face PEFT has no recipe of its own on vit_micro (from " in _budget_page.page(known)


def test_a_backbone_joins_the_others(recorded, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(recorded))
    swin = recorded | {"weights": {"swin_micro": "1"}, "core_hours": {"swin_micro": 1.0}}
    swin["rows"] = [row | {"backbone": "swin_micro"} for row in recorded["rows"]]
    both = budgets.with_others(swin, "swin_micro", path)
    assert len(both["rows"]) == 2 * len(recorded["rows"]) and set(both["core_hours"]) == {"vit_micro", "swin_micro"}
    assert [row["backbone"] for row in both["rows"]][:: len(recorded["rows"])] == ["vit_micro", "swin_micro"]
    path.write_text(json.dumps(both))
    assert [row["backbone"] for row in budgets.with_others(recorded, "vit_micro", path)["rows"]][0] == "vit_micro"
    assert budgets.with_others(swin, "swin_micro", path) == both
    assert budgets.with_others(swin, "swin_micro", tmp_path / "none.json") == swin
