"""Recipes: measured rates are the default, others say where they come from, and a given rate stays."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import timm
import torch
from typer.testing import CliRunner

import peftcore as pc
from peftcore import errors
from peftcore.__main__ import app
from peftcore.backbone import embedded
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import recipes

OURS = {"method": {"qk_norm": True}, "clip": 1.0}


def entry(name: str, backbone: str, lr: float, tried: tuple = (), **values) -> dict:
    rows = tried or tuple({"lr": rate, "epochs": 5, "val": 0.2, "seeds": [0]} for rate in (lr, 2 * lr))
    return {"method": name, "backbone": backbone, "values": {"lr": lr, **values}, "evidence": {"tried": rows}}


@pytest.fixture
def known(monkeypatch):
    """known(entries): nothing else was measured."""
    return lambda *entries: monkeypatch.setattr(recipes, "recorded", lambda: entries)


def test_the_best_is_of_what_took_no_more_epochs(known):
    rows = [{"lr": lr, "epochs": n, "val": n / 100, "seeds": [0]} for n in (20, 40) for lr in (0.01, 0.03)]
    known(entry("last", "vit_micro", 0.01, tuple(rows), epochs=20))
    assert recipes.best("last", "vit_micro").basis == "best of 2 tried with LAST on vit_micro", "40 may have won"
    known(entry("last", "vit_micro", 0.01, tuple(rows), epochs=40))
    assert recipes.best("last", "vit_micro").basis == "best of 4 tried with LAST on vit_micro"


def test_the_recorded_rate_is_the_best_by_validation_and_every_rate_is_valid():
    for each in recipes.recorded():
        assert each["method"] in METHODS.names() and (each["backbone"] in embedded.names() or each["evidence"]["of"])
        tried = [row for row in each["evidence"]["tried"] if row["val"] is not None]
        chosen = next(row for row in tried if all(row.get(name) == value for name, value in each["values"].items()))
        others = [row for row in tried if len(row["seeds"]) == len(chosen["seeds"])]
        assert chosen["val"] >= max(row["val"] for row in others) - 0.01 * len(each["values"])  # each has its margin
        found = recipes.best(each["method"], each["backbone"])
        assert found.measured and found.values == each["values"] and found.evidence == (each,)
        recipes.with_recipe(RunSpec(backbone=each["backbone"], method=each["method"]))
        assert found.lr in {row["lr"] for row in tried}


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


@pytest.mark.parametrize(
    "backbone, lora, last, source",
    [
        ("vit_small_patch14_dinov2", 0.003, 0.01, "best of 2 tried with LoRA on vit_small_patch14_dinov2 (mine)"),
        ("vit_tiny_patch16_224", 0.003, 0.01, "on vit_tiny_patch16_224; from LoRA on vit_small_patch14_dinov2 (mine)"),
        ("vit_base_patch16_224", 0.001, 0.003, "(mine), at a rate lowered for a backbone 2 times as wide"),
        ("vit_large_patch16_224", 0.001, 0.003, "lowered for a backbone 2.67 times as wide"),
        ("vit_giant_patch14_dinov2", 0.0003, 0.001, "lowered for a backbone 4 times as wide"),
        ("swin_base_patch4_window7_224", 0.001, 0.003, "lowered for a backbone 2.67 times as wide"),
        ("my_own", 0.003, 0.01, "(mine), at its rate as it is: how wide this backbone is, its name does not say"),
    ],
)  # fmt: skip
def test_a_wider_backbone_than_the_measured_one_has_lower_rates(known, backbone, lora, last, source):
    measured = [entry("lora", "vit_small_patch14_dinov2", 0.003), entry("last", "vit_small_patch14_dinov2", 0.01)]
    for each in measured:
        each["evidence"]["of"] = "mine"
    known(entry("lora", "vit_micro", 0.1), entry("last", "vit_micro", 0.1), *measured)
    assert (recipes.best("lora", backbone).lr, recipes.best("last", backbone).lr) == (lora, last)
    assert recipes.best("ssf", backbone).values["lr"] == lora, "the middle rate of its kind"
    assert recipes.best("full", backbone).evidence == (), "a baseline takes no rate of those that train little"
    assert recipes.best("lora", backbone).basis.endswith(source)
    assert recipes.best("lora", "vit_micro").lr == recipes.best("lora", "swin_micro").lr == 0.1, "small ones by small"


def test_widths_are_those_of_timm_s_architectures():
    """One architecture for each word and each exception, with one block: the width is what it is with all."""
    names = [name for name in pc.backbones() if name not in embedded.names()]
    assert all(recipes.width(name) for name in names)
    for key in (*recipes.WIDTHS, *recipes.UNLIKE):
        alike = [name for name in names if ("swin" in name) == ("swin" in key)]
        name = next(n for n in alike if n.startswith(key) or key in n.partition(".")[0].split("_"))
        blocks = {"depths": (1, 1, 1, 1)} if "swin" in name else {} if "sapiens" in name else {"depth": 1}
        with torch.device("meta"):
            assert timm.create_model(name, num_classes=0, **blocks).num_features == recipes.width(name), name
    swins = [next(n for n in names if "swin" in n and word in n.split("_")) for word in recipes.SWIN_WIDTHS]
    for name in swins:
        with torch.device("meta"):
            assert timm.create_model(name, depths=(1, 1, 1, 1), num_classes=0).num_features == recipes.width(name)


def test_what_is_measured_on_a_backbone_takes_nothing_from_its_other_methods(known):
    known(entry("lora", "vit_micro", 0.02), entry("last", "vit_micro", 0.01), entry("heart_lora", "swin_micro", 0.03))
    rates = {name: recipes.best(name, "swin_micro").lr for name in ("lora", "last", "lst", "heart_lora", "ssf")}
    assert rates == {"lora": 0.02, "last": 0.01, "lst": 0.01, "heart_lora": 0.03, "ssf": 0.03}


def test_a_whole_recipe_is_taken_but_for_what_is_given_and_a_race_takes_the_rate_alone(known):
    tried = (
        {"lr": 0.003, "epochs": 20, "val": 0.5, "seeds": [0, 1, 2]},
        {"lr": 0.03, "epochs": 20, "val": 0.6, "seeds": [0]},
        {"lr": 0.01, "epochs": 20, **OURS, "val": 0.55, "seeds": [0, 1, 2]},
    )
    known(entry("last", "vit_micro", 0.01, tried, epochs=20, **OURS), entry("lst", "vit_micro", 0.1, epochs=40))
    spec = RunSpec(method={"name": "last", "rank": 8}, seed=3)
    ours = {"name": "last", "rank": 8, "qk_norm": True}
    whole = recipes.with_recipe(spec)
    assert whole == RunSpec(method=ours, seed=3, lr=0.01, epochs=20, clip=1.0)
    assert recipes.with_recipe(spec, ("epochs", "lr")) == RunSpec(method=ours, seed=3, clip=1.0)
    assert recipes.with_recipe(spec, "lr").lr == spec.lr
    with pytest.raises(errors.UnknownName, match="'learning_rate'"):
        recipes.with_recipe(spec, ("epochs", "learning_rate"))
    assert recipes.with_recipe(spec, ("qk_norm",)) == spec.replace(lr=0.003, epochs=20), "off, so as published"
    plain = recipes.best("last", "vit_micro").as_published()
    assert plain.basis == "best of 2 tried as published with LAST on vit_micro" and plain.measured
    assert recipes.at_its_rate(spec) == spec.replace(lr=0.003)
    swin = recipes.best("last", "swin_micro")
    assert swin.values == recipes.best("last", "vit_micro").values and not swin.measured
    assert recipes.best("side_tuning", "vit_micro").values == {"lr": 0.003, "epochs": 20}


def test_other_weights_than_those_that_were_measured_are_said(known):
    one = entry("lora", "vit_micro", 0.01)
    one["evidence"]["weights"] = recipes.weights_digest("vit_micro")
    known(one)
    assert "earlier" not in recipes.best("lora", "vit_micro").basis
    one["evidence"]["weights"] = "0" * 64
    assert recipes.best("lora", "vit_micro").basis == "best of 2 tried with LoRA on vit_micro with earlier weights"
    assert len(recipes.weights_digest("swin_micro")) == 64 and recipes.weights_digest("vit_base_patch16_224") == ""


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
    known(entry("lora", "vit_micro", 0.02), entry("last", "vit_micro", 0.01, epochs=20, **OURS))
    assert spec_of("--method", "lora") == RunSpec(method="lora", lr=0.02)
    assert spec_of("--method", "lora", "--lr", "0.001") == RunSpec(method="lora")
    ours = {"name": "last", "qk_norm": True}
    assert spec_of() == RunSpec(method=ours, lr=0.01, epochs=20, clip=1.0)
    assert spec_of("--epochs", "10", "--clip", "2") == RunSpec(method=ours, lr=0.01, epochs=10, clip=2.0)
    assert spec_of("--set", "qk_norm=false") == RunSpec(lr=0.01, epochs=20), "as published"
    assert spec_of("--clip", "none") == RunSpec(method=ours, lr=0.01, epochs=20)
    assert spec_of("--lr", "0.01") == RunSpec(lr=0.01)


def test_a_race_over_methods_gives_each_its_own_rate(known, monkeypatch):
    from peftcore.train import race

    known(entry("lora", "vit_micro", 0.02), entry("last", "vit_micro", 0.005, epochs=20))
    asked: list[list[RunSpec]] = []

    def none(specs):
        asked.append(list(specs))
        return iter(())

    monkeypatch.setattr(race, "race_events", none)
    words = ["race", "--method", "lora", "--vary", "method=lora,last", "--json"]
    for more, rates in ([], [0.02, 0.005]), (["--lr", "0.1"], [0.1, 0.1]), (["--vary", "lr=1"], [1.0, 1.0]):
        result = CliRunner().invoke(app, [*words, *more])
        assert result.exit_code == 0, result.output
        assert [spec.lr for spec in asked[-1]] == rates and {spec.epochs for spec in asked[-1]} == {10}


def test_recipes_are_read_without_torch():
    code = (
        "import sys; from peftcore.store import recipes; recipes.best('ssf', 'vit_micro'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=recipes.FILE.parents[1])


def test_none_is_among_the_values_of_a_race_and_the_recipe_is_told(known):
    from peftcore.cli.options import choices
    from peftcore.cli.training import _recipe

    assert choices(["clip=none,1", "weight-decay=none,0.1"]) == {"clip": [None, 1], "weight_decay": [None, 0.1]}
    known(entry("last", "vit_micro", 0.01, epochs=20, **OURS))
    spec = recipes.with_recipe(RunSpec())
    whole = "Recipe: lr 0.01, epochs 20, clip 1, qk_norm true (best of 2 tried with LAST on vit_micro)."
    assert _recipe(spec) == whole
    assert _recipe(spec.replace(epochs=3, clip=None)) == f"{whole} Given instead: epochs 3; clip none."


def test_a_dict_of_fields_has_its_recipe_too():
    given = {"backbone": "vit_micro", "method": "lora", "task": "digits"}
    assert recipes.with_recipe(given) == recipes.with_recipe(RunSpec(**given))
