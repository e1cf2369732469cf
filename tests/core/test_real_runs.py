"""The plan of runs on weights of one's own: rates are climbed until both sides are worse, no two masks are alike."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer import BadParameter

from peftcore.bench import real
from peftcore.bench._candidates import RATES
from peftcore.bench._real_recipes import recipes_of
from peftcore.bench._real_runs import ENTRIES, MASKS, Plan
from peftcore.bench._run_log import RunLog
from peftcore.spec import RunSpec

BEST = {"linear": 0.3, "last": 0.001, "lora": 0.01, "serial_lora": 0.03, "full": 0.0003, "heart_lora": 0.01}


@pytest.fixture
def plan() -> Plan:
    return Plan(RunSpec(backbone="vit_micro", task="digits"), epochs=2, side_epochs=3, heads=6)


def toy(spec: RunSpec) -> dict:
    """Worse the further the rate is from the best one, and with the heads that matter off."""
    away = abs(spec.lr / BEST[spec.method.name] - 1)
    off = {0, 1} & set((spec.method.off or ((),))[0]) if spec.method.name == "heart_lora" else ()
    value = 0.9 - min(0.5, 0.1 * away) - 0.05 * len(off)
    return {"val": value, "test": value - 0.01 * spec.seed, "parameters": 7, "cpu": 1.0, "train_cpu": 0.5}


def made(plan: Plan, log: RunLog, most: int | None = None) -> list[RunSpec]:
    done = []
    for spec in plan.runs(log):
        if log.known(spec) is None:
            if len(done) == most:
                break
            log.row(spec, toy)
            done.append(spec)
    return done


def test_every_rate_is_the_best_of_its_neighbours_and_no_run_is_made_twice(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(real, "_bytes", lambda spec: 10**6)
    log = RunLog(tmp_path / "runs.jsonl")
    first = made(plan, log, most=9)
    rest = made(plan, log)
    assert len({spec.key for spec in (*first, *rest)}) == len(first) + len(rest), "it went on where it stopped"
    rows = real.table(plan, log)
    assert [row["title"] for row in rows] == [entry.title for entry in ENTRIES]
    for row, entry in zip(rows, ENTRIES, strict=True):
        assert row["lr"] == BEST[entry.settings["name"]] and sorted(row["test"]) == [0, 1, 2]
        assert row["epochs"] == (3 if entry.is_side else 2)
    cuts = real.heads(plan, log)
    assert [cut["off"] for cut in cuts] == [1, 2, 3] and [len(cut["random"]) for cut in cuts] == [6, MASKS, MASKS]
    for cut in cuts:
        masks = [tuple(mask) for mask, *_ in cut["random"]]
        assert len({*masks}) == len(masks) and all(len(mask) == cut["off"] for mask in masks)
        difference, error = real.apart(cut)  # the toy's score spares heads 0 and 1, which a random mask hits
        assert difference > 0 and error > 0
    text = real.page(plan, log, rows, cuts, "Toys", "python -m peftcore bench real")
    assert "| LAST |" in text and "3 of 6" in text and "nan" not in text


def test_recipes_are_of_what_is_whole_and_options_must_win_by_a_point(plan, tmp_path):
    log = RunLog(tmp_path / "runs.jsonl")

    def found(bonus: float) -> dict:
        log = RunLog(tmp_path / f"{bonus}.jsonl")
        for spec in plan.runs(log):
            more = bonus if spec.method.name == "last" and spec.method.qk_norm else 0.0
            log.row(spec, lambda spec, more=more: toy(spec) | {"val": toy(spec)["val"] + more})
        return {one["method"]: one for one in recipes_of(plan, log, "mine", "python -m peftcore bench real")}

    made(plan, log, most=4)
    assert [one["method"] for one in recipes_of(plan, log, "mine", "")] in ([], ["linear"])
    plain, better = found(0.005), found(0.02)
    assert {name: one["values"]["lr"] for name, one in plain.items()} == BEST
    assert "method" not in plain["last"]["values"] and plain["last"]["values"]["epochs"] == 3
    assert better["last"]["values"] == {"lr": 0.001, "epochs": 3, "method": {"qk_norm": True}, "clip": 1.0}
    for one in better.values():
        chosen = [row for row in one["evidence"]["tried"] if one["values"].items() <= row.items()]
        assert len(chosen) == 1 and chosen[0]["seeds"] == [0, 1, 2]


def test_of_equal_rates_an_end_of_the_ladder_is_not_taken(plan, tmp_path):
    log = RunLog(tmp_path / "runs.jsonl")
    full = next(entry for entry in ENTRIES if entry.settings["name"] == "full")
    for rate, value in zip(RATES, (0.7, 0.7, 0.6, 0.1), strict=False):
        log.row(plan.spec(full, rate, 0), lambda spec, value=value: toy(spec) | {"val": value})
    assert plan.rate(full, log) == (RATES[1], True)


def test_a_run_that_diverges_is_a_worse_rate(plan, tmp_path):
    log = RunLog(tmp_path / "runs.jsonl")

    def diverges(spec: RunSpec) -> dict:
        row = toy(spec)
        return row | {"val": None, "test": None} if spec.lr > BEST[spec.method.name] else row

    for spec in plan.runs(log):
        log.row(spec, diverges)
    assert all(plan.rate(entry, log) == (BEST[entry.settings["name"]], True) for entry in ENTRIES)


def test_the_command_shows_what_is_known_of_a_log_that_holds_nothing(tmp_path):
    from typer.testing import CliRunner

    from peftcore.__main__ import app

    words = ["bench", "real", "--minutes", "0", "--storage", str(tmp_path / "runs.jsonl"), "--json"]
    found = CliRunner().invoke(app, [*words, "--task", "digits", "--backbone", "vit_micro"])
    assert found.exit_code == 0 and json.loads(found.stdout) == {"methods": [], "heads": []}


def test_the_methods_asked_for_are_all_that_runs(plan, tmp_path):
    def of(*names: str) -> set[str]:
        own = replace(plan, entries=real._entries(names))
        return {spec.method.name for spec in made(own, RunLog(tmp_path / f"{'-'.join(names)}.jsonl"))}

    assert of("linear", "last") == {"linear", "last"} and of("heart_lora") == {"heart_lora"}
    with pytest.raises(BadParameter, match=r"no line for 'ssf'; there are linear, last"):
        real._entries(["ssf"])


def test_a_log_travels_with_the_weights_name_and_digest_not_their_folder(tmp_path):
    here, there = tmp_path / "here" / "w.safetensors", tmp_path / "there" / "w.safetensors"
    for file in (here, there):
        file.parent.mkdir()
        file.write_bytes(b"weights")
    log = RunLog(tmp_path / "runs.jsonl")
    log.row(RunSpec(weights=str(here)), lambda _: {"test": 0.5})
    assert str(tmp_path) not in log.path.read_text() and '"w.safetensors"' in log.path.read_text()
    other = RunLog(log.path)
    assert other.known(RunSpec(weights=str(there)))["test"] == 0.5 and other.known(RunSpec()) is None
    there.write_bytes(b"others")
    assert other.known(RunSpec(weights=str(there))) is None
