"""Recipes: measured rates are the default, others say where they come from, and a given rate stays."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from peftcore import errors
from peftcore.__main__ import app
from peftcore.backbone import embedded
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import recipes

RATES = {"0.001": {"val": 0.2, "test": 0.24}, "0.02": {"val": 0.5, "test": 0.51}}


def entry(method: str, backbone: str, lr: float) -> dict:
    return {"method": method, "backbone": backbone, "values": {"lr": lr}, "evidence": {"rates": RATES}}


@pytest.fixture
def known(monkeypatch):
    """known(entries): nothing else was measured."""
    return lambda *entries: monkeypatch.setattr(recipes, "recorded", lambda: entries)


def test_the_recorded_rate_is_the_best_by_validation_and_every_rate_is_valid():
    for each in recipes.recorded():
        assert each["method"] in METHODS.names() and each["backbone"] in embedded.names()
        rates = each["evidence"]["rates"]
        assert each["values"]["lr"] == float(max(rates, key=lambda lr: rates[lr]["val"]))
        RunSpec(backbone=each["backbone"], method=each["method"], **each["values"])
        found = recipes.best(each["method"], each["backbone"])
        assert found.measured and found.values == each["values"] and found.evidence == (each,)


def test_the_file_is_what_the_script_gathers():
    sys.path.insert(0, str(recipes.FILE.parents[1] / "scripts"))
    from gather_recipes import gathered

    assert list(recipes.recorded()) == gathered()


@pytest.mark.parametrize(
    "method, backbone, lr, basis",
    [
        ("lora", "vit_micro", 0.02, "best of 2 tried with LoRA on vit_micro"),
        ("ssf", "vit_micro", 0.01, "not measured for SSF; from LoRA, Serial LoRA and VPT on vit_micro"),
        ("last", "vit_micro", 0.003, "not measured for LAST; from LST on vit_micro"),
        ("lora", "swin_micro", 0.02, "not measured on swin_micro; from LoRA on vit_micro"),
        ("ssf", "swin_micro", 0.01, "not measured for SSF on swin_micro; from LoRA, Serial LoRA and VPT on vit_micro"),
        ("full", "vit_micro", 0.0005, "best of 2 tried with Full fine-tuning on vit_micro"),
        (
            "lora",
            "vit_base_patch16_224",
            0.001,
            "nothing was measured on vit_base_patch16_224; 0.001 is the general default",
        ),
    ],
)  # fmt: skip
def test_where_a_rate_comes_from(known, method, backbone, lr, basis):
    rates = {"lora": 0.02, "serial_lora": 0.01, "vpt": 0.005, "lst": 0.003, "full": 0.0005}
    known(*(entry(name, "vit_micro", rate) for name, rate in rates.items()))
    found = recipes.best(method, backbone)
    assert found.values["lr"] == lr and found.basis == basis
    assert found.measured == (backbone == "vit_micro" and method in rates)


def test_without_any_record_the_default_is_the_spec_s_own(known):
    known()
    for backbone in ("vit_micro", "vit_base_patch16_224"):
        assert recipes.best("lora", backbone).values == {"lr": RunSpec().lr}
    with pytest.raises(errors.UnknownName, match="Did you mean 'lora'"):
        recipes.best("lorra", "vit_micro")


def spec_of(*words: str) -> RunSpec:
    result = CliRunner().invoke(app, ["predict", *words, "--json"])
    assert result.exit_code == 0, result.output
    return RunSpec.from_dict(json.loads(result.stdout)["spec"])


def test_the_command_line_takes_the_recipe_s_rate_unless_one_is_given(known):
    known(entry("lora", "vit_micro", 0.02))
    assert spec_of("--method", "lora") == RunSpec(method="lora", lr=0.02)
    assert spec_of("--method", "lora", "--lr", "0.001") == RunSpec(method="lora")


def test_a_race_over_methods_gives_each_its_own_rate(known, monkeypatch):
    from peftcore.train import race

    known(entry("lora", "vit_micro", 0.02), entry("last", "vit_micro", 0.005))
    asked: list[list[RunSpec]] = []

    def none(specs):
        asked.append(list(specs))
        return iter(())

    monkeypatch.setattr(race, "race_events", none)
    words = ["race", "--method", "lora", "--vary", "method=lora,last", "--json"]
    for more, rates in ([], [0.02, 0.005]), (["--lr", "0.1"], [0.1, 0.1]), (["--vary", "lr=1"], [1.0, 1.0]):
        result = CliRunner().invoke(app, [*words, *more])
        assert result.exit_code == 0, result.output
        assert [spec.lr for spec in asked[-1]] == rates


def test_recipes_are_read_without_torch():
    code = (
        "import sys; from peftcore.store import recipes; recipes.best('ssf', 'vit_micro'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=recipes.FILE.parents[1])
