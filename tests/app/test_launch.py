"""The launch page: forms from schemas, links that restore them, faults as sentences, and one button."""

from __future__ import annotations

import json
import shlex
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from app import forms, libraries, links, words
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


IMPOSSIBLE = [  # method, its settings, backbone, what is told; each is told in the library too: tests/core/test_bad_input.py
    ("last", {"rank": 129}, "vit_micro", "rank 129 is above the width of vit_micro; choose 1 to 128"),
    ("lora", {"rank": 129}, "vit_micro", "rank 129 is above the width of vit_micro; choose 1 to 128"),
    ("heart_lora", {"rank": 129}, "vit_micro", "choose 1 to 128"),
    ("last", {"gap": 60}, "vit_micro", "gap 60 is above the depth of vit_micro; choose 1 to 8"),
    ("last", {"heads": 3}, "vit_micro", "3 heads do not divide rank 16 evenly; choose 1, 2, 4, 8, 16 heads"),
    ("heart_lora", {"n_off": 9}, "vit_micro", "n_off 9 leaves no head in a block of vit_micro with 8; choose 0 to 7"),
    ("heart_lora", {"n_off": 3}, "swin_tiny_patch4_window7_224", "choose 0 to 2, or percent_off"),
    ("vpt", {}, "swin_tiny_patch4_window7_224", "have no place for prompt tokens; choose a plain ViT"),
    ("hf_peft", {"tuner": "lorra"}, "vit_micro", "Did you mean 'lora'? There are: adalora"),
]


@pytest.mark.parametrize("method, settings, backbone, told", IMPOSSIBLE, ids=lambda value: str(value)[:30])
def test_what_is_impossible_is_a_sentence_before_the_launch(at, store, method, settings, backbone, told):
    page = at("launch", method=method, backbone=backbone, **{f"{method}.{k}": v for k, v in settings.items()})
    (error,) = page.error
    assert told in error.value.replace("\\", "")
    assert page.button("launch").disabled and not store.runs()


LINKS = [  # query, what is told, what the form shows instead
    ({"method": "bi_lora", "bi_lora.bits": 3}, "bits = 3 is not possible; it must be 1, 2, 4, 8 or 32", "shows 1."),
    ({"method": "heart_lora", "heart_lora.bits": 3}, "it must be 1, 2, 4, 8 or 32", "shows 1."),
    (
        {"method": "lora", "lora.rank": 2000},
        "rank = 2000 is not possible; it must be at least 1 and at most 1024",
        "8.",
    ),
    ({"method": "lora", "lora.rank": "x"}, "rank = 'x' is not possible", "shows 8."),
    ({"method": "lora", "lora.projections": ["z"]}, "it must be 'q', 'k', 'v', 'proj', 'fc1' or 'fc2'", "shows q, v."),
    ({"method": "last", "last.gap": 65}, "at least 1 and at most 64", "shows 2."),
    ({"method": "last", "epochs": 0}, "RunSpec: epochs = 0", "shows 10."),
    ({"precision": "fp8"}, "it must be 'fp32' or 'bf16'", "shows fp32."),
    ({"method": "lorra"}, "There is no method 'lorra'. Did you mean 'lora'?", "shows last."),
    ({"task": "digit"}, "There is no task 'digit'. Did you mean 'digits'?", "shows digits."),
    ({"task": "vtab"}, "Task 'vtab' needs an argument: vtab:PATH.", "shows digits."),
    ({"task": "vtabb:/data"}, "There is no task 'vtabb:/data'. Did you mean 'vtab'?", "shows digits."),
]


@pytest.mark.parametrize("query, told, shown", LINKS, ids=lambda value: str(value)[:30])
def test_a_link_outside_the_form_is_told_and_not_silently_replaced(at, query, told, shown):
    page = at("launch", **query)
    (warning,) = page.warning
    text = warning.value.replace("\\", "")
    assert told in text and text.endswith(shown) and not page.error


def test_a_folder_that_the_link_names_is_one_choice_more(at, tmp_path):
    """The form itself lists only what is complete by its name; a folder that is not there is told, not launched."""
    from PIL import Image

    from peftcore.task import embedded_tasks

    options = at("launch").selectbox("launch_task").options
    assert {option.partition(",")[0] for option in options} == set(map(words.task_title, embedded_tasks()))
    for label, name in enumerate(("train800", "val200", "test")):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"{name}.png {label}\n")
    page = at("launch", task=f"vtab:{tmp_path}?size=64")
    assert page.selectbox("launch_task").options[-1] == f"VTAB-1K folder: {tmp_path.name}, size=64"
    assert page.selectbox("launch_task").value == f"vtab:{tmp_path}?size=64" and not page.warning and not page.error
    assert any("1 training images" in caption.value for caption in page.caption)
    page = at("launch", task="vtab:/no/such/folder")
    assert any("There is no folder" in told.value for told in (*page.warning, *page.error))
    assert page.button("launch").disabled


def test_what_the_link_asked_for_is_forgotten_once_another_value_is_chosen(at):
    page = at("launch", method="bi_lora", **{"bi_lora.bits": 3})
    page.run()
    assert len(page.warning) == 1
    page.selectbox("bi_lora.bits").set_value(2).run()
    assert not page.warning
    assert not at("launch", method="bi_lora", **{"bi_lora.bits": 2}).warning


def test_a_value_that_the_schema_forbids_names_the_range(at):
    page = at("launch")
    page.number_input("lr").set_value(0.0).run()
    told = page.error[0].value.replace("\\", "")
    assert "lr = 0.0 is not possible; it must be above 0 and at most 10" in told
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


@pytest.mark.parametrize("room, told", [("8", "are kept in memory"), ("0", "are kept on disk")])
def test_the_place_of_the_frozen_features_is_told_before_the_launch(at, monkeypatch, room, told):
    monkeypatch.setenv("HEADROOM_CACHE_GB", room)
    page = at("launch", method="linear", batch_size=32 if room == "0" else 64)  # predictions are kept per spec
    assert told in " ".join(c.value for c in page.caption)


def test_duration_is_told_from_an_earlier_run_like_it(at, store):
    run = store.create_run(RunSpec(epochs=2).to_dict())
    store.append(run, [{"kind": "finished", "seconds": 14.0, "epochs": [{"seconds": 2.0}, {"seconds": 2.0}]}])
    store.set_status(run, "finished", summary={"test_accuracy": 0.9})
    page = at("launch", epochs=50)
    assert "About **2 min**, as run 1 took" in " ".join(m.value for m in page.markdown)


@pytest.mark.parametrize("late, task", [(False, "digits"), (True, "counting")])
def test_a_click_that_overtakes_the_address_loses_nothing(at, monkeypatch, late, task):
    """The browser sends the address as it was before the first click; later than that, an older address is a reader's."""
    page = at("launch", task="counting", method="linear")
    page.selectbox("launch_task").set_value("digits").run()
    page.query_params["task"] = "counting"
    monkeypatch.setattr(links, "LAG", 0.0 if late else 60.0)
    page.pills("launch_method").set_value("lora").run()
    assert page.query_params["task"] == [task] or page.query_params["task"] == task
    assert page.query_params["method"] in ("lora", ["lora"])
