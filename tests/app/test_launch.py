"""The launch page: forms from schemas, links that restore them, faults as sentences, and one button."""

from __future__ import annotations

import json
import shlex
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from app import forms, libraries, words
from peftcore.__main__ import app as cli
from peftcore.errors import OutOfMemory
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import recipes


@pytest.fixture(autouse=True, scope="module")
def loaded():
    libraries.load()


def launched(store) -> RunSpec:
    return RunSpec.from_dict(store.runs()[0].spec)


def test_one_button_launches_the_defaults_and_opens_the_run(at, store):
    page = at("launch")
    page.button("launch").click().run()
    assert launched(store) == recipes.with_recipe(RunSpec())
    assert page.title[0].value.startswith("What did each run learn")
    assert page.query_params["run"] == "1"


def test_the_button_waits_for_the_prediction_and_what_would_never_begin_is_not_queued(at, engine, store, monkeypatch):
    sizes = []

    def refusal(settings, predicted, owner=""):
        sizes.append(predicted["peak"])
        return OutOfMemory("More than there is.") if settings["batch_size"] == 61 else None

    monkeypatch.setattr(engine, "refusal", refusal)
    page = at("launch")
    page.text_input("batch_size").set_value("61")
    page.button("launch").click().run()  # in one run: nothing of this batch is predicted yet
    assert not store.runs() and len(set(sizes)) == 2
    assert [warning.value for warning in page.warning] == ["More than there is."], "the bill says it, once"
    assert page.button("launch").disabled and not any("begins" in text.value for text in page.markdown)
    page.text_input("batch_size").set_value("62").run()
    assert not page.button("launch").disabled and not page.warning


def test_every_choice_is_in_the_link(at, store):
    page = at("launch", method="lora", task="counting", epochs=3, seed=7, **{"lora.rank": 4})
    page.button("launch").click().run()
    spec = RunSpec(method={"name": "lora", "rank": 4}, task="counting", epochs=3, seed=7)
    assert launched(store) == recipes.with_recipe(spec, ("epochs",))


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
    RunSpec(method="lora", compile=True),
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


# Method, its settings, backbone, the sentence; the library says each too: tests/core/test_bad_input.py
IMPOSSIBLE = [
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


REFUSED = [  # query, the field that shows what is refused, what it shows, the sentence
    ({"method": "bi_lora", "bi_lora.bits": 3}, "bi_lora.bits", 3,
     "bits = 3 is not possible; it must be 1, 2, 4, 8 or 32"),
    ({"method": "heart_lora", "heart_lora.bits": "x"}, "heart_lora.bits", "x", "it must be 1, 2, 4, 8 or 32"),
    ({"method": "lora", "lora.rank": 2000}, "lora.rank", "2000",
     "rank = 2000 is not possible; it must be at least 1 and at most 1024"),
    ({"method": "lora", "lora.rank": "x"}, "lora.rank", "x", "rank = 'x' is not possible"),
    ({"method": "lora", "lora.rank": "2.5"}, "lora.rank", "2.5", "rank = 2.5 is not possible"),
    ({"method": "lora", "lora.rank": 10**30}, "lora.rank", str(10**30), "it must be at least 1 and at most 1024"),
    ({"method": "lora", "lora.alpha": "inf"}, "lora.alpha", "inf", "alpha = inf is not possible"),
    ({"method": "lora", "lora.projections": ["q", "z"]}, "lora.projections", ["q", "z"],
     "it must be 'q', 'k', 'v', 'proj', 'fc1' or 'fc2'"),
    ({"method": "lora", "lora.projections": ""}, "lora.projections", [], "it must be at least one"),
    ({"method": "last", "last.gap": 65}, "last.gap", "65", "at least 1 and at most 64"),
    ({"method": "last", "last.up_bias": "maybe"}, "last.up_bias", "maybe", "up_bias = 'maybe' is not possible"),
    ({"method": "heart_lora", "heart_lora.off": "[[0,"}, "heart_lora.off", "[[0,", "off = '[[0,' is not possible"),
    ({"method": "hf_peft", "hf_peft.options": "[1]"}, "hf_peft.options", "[1]", "options = [1] is not possible"),
    ({"epochs": 0}, "epochs", "0", "RunSpec: epochs = 0"),
    ({"lr": "1e3"}, "lr", "1e3", "lr = 1000.0 is not possible; it must be above 0 and at most 10"),
    ({"lr": "nan"}, "lr", "nan", "lr = nan is not possible"),
    ({"seed": "-1"}, "seed", "-1", "seed = -1 is not possible"),
    ({"precision": "fp8"}, "precision", "fp8", "it must be 'fp32' or 'bf16'"),
    ({"cache_features": "perhaps"}, "cache_features", "perhaps", "cache_features = 'perhaps' is not possible"),
    ({"method": "lorra"}, "launch_method", "lorra", "There is no method 'lorra'. Did you mean 'lora'?"),
    ({"task": "digit"}, "launch_task", "digit", "There is no task 'digit'. Did you mean 'digits'?"),
    ({"task": "digits:x"}, "launch_task", "digits:x", "There is no task 'digits:x'"),
    ({"task": "vtab"}, "launch_task", "vtab", "Task 'vtab' needs an argument: vtab:PATH."),
    ({"task": "vtabb:/data"}, "launch_task", "vtabb:/data", "There is no task 'vtabb:/data'. Did you mean 'vtab'?"),
    ({"race": "rank", "race.rank": "4, x"}, "race.rank", "4, x", "'x' among the values of rank is not a whole number"),
    ({"race": "rank", "race.rank": "4, 5000"}, "race.rank", "4, 5000", "rank = 5000 is not possible"),
    ({"race": "up_bias", "race.up_bias": ["on", "maybe"]}, "race.up_bias", ["on", "maybe"],
     "up_bias = 'maybe' is not possible"),
    ({"race": "up_bias", "race.up_bias": ""}, "race.up_bias", [], "The race has no value of up bias"),
    ({"race": "method", "race.method": ["lorra"]}, "race.method", ["lorra"], "There is no method 'lorra'"),
    ({"race": "method", "race.method": ["lora"], "lora.lr": "99"}, "lr", "", "lr = 99 is not possible"),
]  # fmt: skip


def told(page) -> str:
    return " ".join(e.value for kind in ("caption", "error", "warning") for e in getattr(page, kind)).replace("\\", "")


@pytest.mark.parametrize("query, key, shown, sentence", REFUSED, ids=lambda value: str(value)[:40])
def test_what_a_link_asks_for_and_nobody_can_have_stands_in_its_field_with_the_reason(at, query, key, shown, sentence):
    """And not some other value in its place: nothing is launched until it is mended."""
    page = at("launch", **query)
    assert page.session_state[key] == shown
    captions = [caption.value.replace("\\", "") for caption in page.caption]
    assert any(sentence in caption and caption.startswith(":red[") for caption in captions), captions
    assert any(sentence in error.value.replace("\\", "") for error in page.error)
    assert page.button("launch").disabled


@pytest.mark.parametrize(
    "query, mend",
    [
        ({"method": "bi_lora", "bi_lora.bits": 3}, lambda page: page.selectbox("bi_lora.bits").set_value(2)),
        ({"method": "lora", "lora.rank": 5000}, lambda page: page.text_input("lora.rank").set_value("2")),
        ({"method": "lora", "lora.rank": 5000}, lambda page: page.text_input("lora.rank").set_value("")),
        ({"last.up_bias": "maybe"}, lambda page: page.text_input("last.up_bias").set_value("false")),
        ({"task": "digit"}, lambda page: page.selectbox("launch_task").set_value("counting")),
        ({"method": "lorra"}, lambda page: page.pills("launch_method").set_value("lora")),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "mend",
)
def test_mending_the_field_lets_it_go(at, store, query, mend):
    page = at("launch", **query)
    mend(page).run()
    assert not page.error and not page.button("launch").disabled
    page.button("launch").click().run()
    assert len(store.runs()) == 1


@pytest.mark.parametrize("typed", ["5000", "0", "-1", "x", "8 8", "1e400", "9" * 40, "٨x"])
def test_what_is_typed_and_nobody_can_have_is_not_launched(at, store, typed):
    page = at("launch", method="lora")
    page.text_input("lora.rank").set_value(typed).run()
    assert page.button("launch").disabled and page.text_input("lora.rank").value == typed
    assert "rank = " in told(page) and page.query_params["lora.rank"] == typed
    page.text_input("lora.rank").set_value("4").run()
    page.button("launch").click().run()
    assert launched(store).method.rank == 4


def test_an_empty_field_is_the_default_again(at, store):
    page = at("launch", method="lora", epochs=3, **{"lora.rank": 2})
    for key in ("epochs", "lora.rank"):
        page.text_input(key).set_value("").run()
    epochs = recipes.best("lora", "vit_micro").values["epochs"]
    assert (page.text_input("epochs").value, page.text_input("lora.rank").value) == (str(epochs), "8")
    assert not {"epochs", "lora.rank"} & set(page.query_params)


@pytest.mark.parametrize(
    "name, meant", [("lora.rnk", "lora.rank"), ("epoch", "epochs"), ("rank", "rank"), ("zz", None)]
)
def test_a_name_in_the_link_that_no_setting_has_is_said(at, name, meant):
    page = at("launch", method="lora", **{name: 4})
    (warning,) = page.warning
    text = warning.value.replace("\\", "")
    assert f"there is no setting {name!r}" in text and (meant or "left out.") in text
    assert not page.button("launch").disabled


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


def test_unknown_backbone_names_the_nearest(at):
    page = at("launch", backbone="vit_base_patch16_225")
    assert "vit_base_patch16_224" in page.error[0].value.replace("\\", "")


def test_cost_names_weights_memory_and_the_queue(at, engine, store):
    page = at("launch", method="lora")
    text = " ".join(m.value for m in page.markdown)
    assert (
        "32,768 in LoRA" in text and "no run on `vit_micro` has finished here" in text and "It begins at once." in text
    )
    engine.submit(RunSpec())
    page.run()
    assert "It would be second of 2." in " ".join(m.value for m in page.markdown)


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


def test_a_click_that_overtakes_the_address_loses_nothing(at):
    """The browser sends the address as it was before the first click, or before the second."""
    page = at("launch", task="counting", method="linear")
    before = dict(page.query_params)
    page.selectbox("launch_task").set_value("digits").run()
    between = dict(page.query_params)
    page.query_params = dict(before)
    page.text_input("epochs").set_value("3").run()
    page.query_params = dict(before)
    page.pills("launch_method").set_value("lora").run()
    page.query_params = dict(between)
    page.text_input("seed").set_value("5").run()
    assert page.query_params == {"task": "digits", "method": "lora", "epochs": "3", "seed": "5"}
    page.button("launch").click().run()


def test_an_older_address_is_followed_once_the_browser_has_the_newer(at):
    page = at("launch", task="counting", method="linear")
    before = dict(page.query_params)
    page.selectbox("launch_task").set_value("digits").run()
    page.run()
    page.query_params = dict(before)
    page.run()
    assert page.selectbox("launch_task").value == "counting" and page.query_params == before


def test_the_form_comes_back_as_it_was_left(at, store):
    """By the page's name in the navigation; a link that says more is followed."""
    page = at("launch", method="lora", epochs=3, batch_size=16, lr=0.5)
    page.text_input("lora.rank").set_value("2").run()
    left = dict(page.query_params)
    page.button("launch").click().run()
    page.query_params = {}
    page.switch_page("pages/launch.py").run()
    assert page.query_params == left and page.text_input("batch_size").value == "16"
    page.button("launch").click().run()
    assert len({RunSpec.from_dict(run.spec) for run in store.runs()}) == 1
    page.query_params = {"method": "last", "epochs": "4"}
    page.switch_page("pages/launch.py").run()
    assert page.query_params == {"method": "last", "epochs": "4"} and page.text_input("batch_size").value == "64"


def test_what_a_field_shows_is_its_default_too(at):
    """Where a run was interrupted before the browser had the field, the next run's default is all that it gets."""
    page = at("launch", method="lora", race="seed", **{"lora.rank": 3, "race.seed": "1, 2"})
    shown = {field.key: (field.value, field.proto.default) for field in page.text_input}
    assert shown["lora.rank"] == ("3", "3") and shown["race.seed"] == ("1, 2", "1, 2")
    assert all(value == default for value, default in shown.values())
    assert all(toggle.value == toggle.proto.default for toggle in page.toggle)
