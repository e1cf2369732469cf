"""The launch page: forms from schemas, links that restore them, faults as sentences, and one button."""

from __future__ import annotations

import json
import shlex
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from app import forms, libraries, words
from peftcore.__main__ import app as cli
from peftcore.registry import METHODS
from peftcore.spec import RunSpec


@pytest.fixture(autouse=True, scope="module")
def loaded():
    libraries.load()


def launched(store) -> RunSpec:
    return RunSpec.from_dict(store.runs()[0].spec)


def test_one_button_launches_the_defaults_and_opens_the_run(at, store):
    page = at("launch")
    page.button("launch").click().run()
    assert launched(store) == RunSpec()
    assert page.title[0].value.startswith("What did each run learn")
    assert page.query_params["run"] == "1"


def test_every_choice_is_in_the_link(at, store):
    page = at("launch", method="lora", task="counting", epochs=3, seed=7, **{"lora.rank": 4})
    page.button("launch").click().run()
    assert launched(store) == RunSpec(method={"name": "lora", "rank": 4}, task="counting", epochs=3, seed=7)


@pytest.mark.parametrize("name", METHODS.names())
def test_form_of_each_method_gives_its_defaults(at, name):
    page = at("launch", method=name)
    assert not page.error, [e.value for e in page.error]
    keys = {
        widget.key
        for kind in ("number_input", "selectbox", "toggle", "text_input", "pills")
        for widget in getattr(page, kind)
    }
    cls = METHODS.load(name).METHOD
    assert {f"{name}.{field}" for field in cls.model_fields} <= keys
    assert not page.button("launch").disabled


SPECS = [
    RunSpec(),
    RunSpec(
        method={"name": "lora", "rank": 4, "projections": ["k"], "dropout": 0.1},
        lr=0.02,
        weight_decay=0.3,
        precision="bf16",
    ),
    RunSpec(
        method={"name": "last", "rank": 8, "up_bias": False},
        cache_features=False,
        pretrained=False,
        augmentation="light",
        warmup=0.0,
    ),
    RunSpec(
        method="linear",
        task="orientation",
        cache_features=True,
        batch_size=32,
        device="cpu",
        weights="/tmp/a file.safetensors",
    ),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.method.name)
def test_preset_link_restores_the_form(at, store, spec):
    page = at("launch", **forms.preset(spec.to_dict()))
    page.button("launch").click().run()
    assert launched(store) == spec


def test_preset_link_shown_is_of_what_is_chosen(at):
    page = at("launch", method="lora", epochs=3)
    link = next(code.value for code in page.code if "launch?" in code.value)
    assert {key: values for key, values in parse_qs(urlsplit(link).query).items()}["lora.projections"] == ["q", "v"]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.method.name)
def test_command_means_the_same_spec(spec):
    words_ = shlex.split(words.command(spec.to_dict(), verb="predict"))[3:]
    if spec.weights:
        assert "--weights" in words_
    result = CliRunner().invoke(cli, [*words_, "--json"])
    assert result.exit_code == 0, result.output
    assert RunSpec.from_dict(json.loads(result.stdout)["spec"]) == spec


def test_impossible_settings_are_a_sentence_before_the_launch(at):
    page = at("launch", **{"last.gap": 60})
    assert len(page.error) == 1 and "gap 60 is above the depth" in page.error[0].value
    page.run()  # what is known is known before the button is drawn
    assert len(page.error) == 1 and page.button("launch").disabled


def test_a_value_that_the_schema_forbids_names_the_range(at):
    page = at("launch")
    page.number_input("lr").set_value(0.0).run()
    assert "lr = 0.0 is not possible" in page.error[0].value.replace("\\", "")
    assert page.button("launch").disabled


def test_unknown_backbone_names_the_nearest(at):
    page = at("launch", backbone="vit_base_patch16_225")
    assert "vit_base_patch16_224" in page.error[0].value.replace("\\", "")


def test_cost_names_weights_memory_and_the_queue(at, engine, store):
    page = at("launch", method="lora")
    text = " ".join(m.value for m in page.markdown)
    assert "32,768 in LoRA" in text and "No run like it" in text and "It begins at once." in text
    engine.submit(RunSpec())
    page.run()
    assert "1 run waits before it." in " ".join(m.value for m in page.markdown)


def test_duration_is_told_from_an_earlier_run_like_it(at, store):
    run = store.create_run(RunSpec(epochs=2).to_dict())
    store.append(run, [{"kind": "finished", "seconds": 14.0, "epochs": [{"seconds": 2.0}, {"seconds": 2.0}]}])
    store.set_status(run, "finished", summary={"test_accuracy": 0.9})
    page = at("launch", epochs=50)
    assert "About **2 min**, as run 1 took" in " ".join(m.value for m in page.markdown)
