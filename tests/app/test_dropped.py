"""What is dropped or pasted on Launch fills the form, or is refused in a sentence and changes nothing."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from pathlib import Path
from urllib.parse import urlencode

import pytest

from app import forms, libraries
from app.launch import drop_zone, dropped, request
from app.runs import races
from peftcore.errors import HeadroomError
from peftcore.spec import RunSpec
from peftcore.store import recipes
from peftcore.store.variations import variations

ADAPTERS = Path(__file__).resolve().parents[1] / "fixtures" / "yesterday" / "adapters"
SPEC = RunSpec(method={"name": "lora", "rank": 2, "projections": ["k"]}, epochs=3, lr=0.02, task="cells", seed=4)


@pytest.fixture(autouse=True, scope="module")
def loaded():
    libraries.load()


def as_json(value) -> bytes:
    return json.dumps(value).encode()


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"run-3-adapter/{name}", data)
    return out.getvalue()


def headed(header: object) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0\0\0\0"


def launches(found: dropped.Found) -> list[RunSpec]:
    return request.from_query(found.query).specs


@pytest.mark.parametrize(
    "name, data",
    [
        ("run-3.json", as_json(SPEC.to_dict())),
        ("result.json", as_json({"spec": SPEC.to_dict(), "test_accuracy": 0.5, "epochs": []})),
        ("adapter.json", as_json({"format": 1, "backbone": {"name": "x"}, "method": {}, "spec": SPEC.to_dict()})),
        ("a.zip", zipped(**{"adapter.json": as_json({"spec": SPEC.to_dict()}), "adapter.safetensors": b"x"})),
        ("a.safetensors", headed({"__metadata__": {"headroom": json.dumps({"spec": SPEC.to_dict()})}})),
        ("runs.json", as_json([{"id": 3, "spec": SPEC.to_dict()}, {"id": 4, "spec": SPEC.to_dict()}])),
        ("\N{ZERO WIDTH NO-BREAK SPACE}.txt", b"\xef\xbb\xbf" + as_json(SPEC.to_dict())),
    ],
)
def test_each_kind_of_file_fills_in_its_run(name, data):
    found = dropped.of_file(name, data)
    assert launches(found) == [SPEC] and found.rest == () and "LoRA on cells" in found.title


@pytest.mark.parametrize("folder", sorted(path.name for path in ADAPTERS.iterdir() if (path / "adapter.json").exists()))
def test_adapters_of_yesterday_fill_in_their_run(folder):
    about = json.loads((ADAPTERS / folder / "adapter.json").read_text())
    found = dropped.of_file("adapter.safetensors", (ADAPTERS / folder / "adapter.safetensors").read_bytes())
    said = RunSpec.of(about["spec"]) if about["spec"] else None
    assert launches(found) == [said] if said else launches(found)[0].method.name == about["method"]["name"]
    assert dropped.of_file("adapter.json", (ADAPTERS / folder / "adapter.json").read_bytes()).query == found.query


def test_a_peft_adapter_is_trained_by_the_same_tuner_and_the_rest_of_the_form_stays():
    config = json.loads((ADAPTERS / "peft" / "adapter_config.json").read_text())
    found = dropped.of_file("adapter_config.json", as_json(config))
    [spec] = launches(found)
    own = spec.method.settings()
    assert (own["name"], own["tuner"], spec.backbone) == ("hf_peft", "lora", "vit_micro")
    assert own["options"]["r"] == 4 and sorted(own["options"]["target_modules"]) == sorted(config["target_modules"])
    assert {"task", "epochs", "lr", "seed"} <= set(found.rest)
    assert dropped.of_file("p.zip", zipped(**{"adapter_config.json": as_json(config)})).query == found.query


@pytest.mark.parametrize("several", [{"rank": [2, 4], "seed": [0, 1]}, {"method": ["lora", "last", "linear"]}])
def test_what_a_race_printed_is_that_race(several):
    specs = variations(RunSpec(method="lora"), several)
    specs = [recipes.at_its_rate(spec) for spec in specs] if "method" in several else specs
    found = dropped.of_file("race.json", as_json([{"spec": spec.to_dict()} for spec in specs[::-1]]))
    assert sorted(spec.key for spec in launches(found)) == sorted(spec.key for spec in specs)


BAD = {
    "empty.json": (b"", "is not JSON"),
    "cut.json": (b'{"method": ', "is not JSON"),
    "deep.json": (b"[" * 100_000, "JSON"),
    "number.json": (b"3", "no spec"),
    "other.json": (b'{"a": 1}', "no spec"),
    "newer.json": (as_json({**SPEC.to_dict(), "colour": 1}), "no setting of RunSpec called 'colour'"),
    "method.json": (as_json({"method": "lorra"}), "Did you mean 'lora'"),
    "range.json": (as_json({"method": "lora", "epochs": 0}), "epochs = 0 is not possible"),
    "picture.json": (b"\x89PNG\r\n\xff\xfe", "is not text"),
    "large.json": (b" " * 2_100_000, "a spec is a small file"),
    "race.json": (as_json([{"spec": RunSpec(seed=s, epochs=e).to_dict()} for s, e in ((0, 1), (1, 2))]), "no race"),
    "short.safetensors": (b"\1\2", "header is missing"),
    "cut.safetensors": (struct.pack("<Q", 1000) + b"{", "cut off"),
    "odd.safetensors": (headed([1]), "cannot be read|can be read"),
    "foreign.safetensors": (headed({"weight": {}}), "was not saved by Headroom"),
    "peft.safetensors": (headed({"base_model.model.x.lora_A.weight": {}}), "drop the adapter_config.json"),
    "half.safetensors": (headed({"__metadata__": {"headroom": "{"}}), "damaged"),
    "bare.safetensors": (headed({"__metadata__": {"headroom": "{}"}}), "does not say which method"),
    "adapter_config.json": (as_json({"peft_type": "WHAT"}), "peft_type that PEFT has"),
    "broken.zip": (b"PK\3\4 no", "zip is truncated"),
    "nothing.zip": (zipped(readme=b"x"), "holds neither"),
    "spec.pt": (b"\x80\x04\x95.", "is not text"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_a_sentence(name):
    with pytest.raises(HeadroomError, match=BAD[name][1]):
        dropped.of_file(name, BAD[name][0])


def test_what_the_browser_sends_fills_the_form_or_is_refused(monkeypatch):
    filled: list[dropped.Found] = []
    monkeypatch.setattr(drop_zone, "fill", filled.append)
    monkeypatch.setattr(drop_zone.st, "session_state", said := {})
    drop_zone.take({"name": "spec.json", "data": base64.b64encode(as_json(SPEC.to_dict())).decode()})
    assert launches(filled.pop()) == [SPEC] and not said
    for bad in ({"name": "huge.zip", "size": 5e7}, {"name": "a.json", "data": "*"}, {"text": "no link"}):
        drop_zone.take(bad)
        assert said.popitem()[1] and not filled


def test_links_of_this_app_say_what_they_show(store):
    query = {**forms.preset(SPEC.to_dict())}
    link = f"https://elsewhere.org:8501/launch?{urlencode(query, doseq=True)}&strange=1"
    assert launches(dropped.of_text(f" {link} ")) == [SPEC]
    assert launches(dropped.of_text(json.dumps(SPEC.to_dict()))) == [SPEC]
    run = store.create_run(SPEC.to_dict())
    assert launches(dropped.of_text(f"http://here:8501/runs?run={run}&show=results", "here:8501")) == [SPEC]
    specs = variations(RunSpec(), {"seed": [0, 1]})
    race = store.create_race([spec.to_dict() for spec in specs])[0]
    races.remember(race, RunSpec(), {"seed": [0, 1]})
    assert launches(dropped.of_text(f"http://here:8501/runs?race={race}", "here:8501")) == specs
    for text, why in (
        (f"http://there/runs?run={run}", "another Headroom"),
        ("http://here:8501/runs?run=99", "no run 99"),
        ("http://here:8501/heads?run=1", "page 'heads'"),
        ("https://here:8501/launch", "neither JSON nor a link"),
        ("https://here:8501/launch?utm=1", "No setting of Launch"),
        ("hello", "neither JSON nor a link"),
    ):
        with pytest.raises(HeadroomError, match=why):
            dropped.of_text(text, "here:8501")


def test_the_form_is_filled_and_what_was_there_comes_back(at, store):
    page = at("launch", method="last", epochs=7, task="counting", **{"last.rank": 4})
    page.text_input("launch_paste").set_value(json.dumps(SPEC.to_dict())).run()
    assert page.text_input("epochs").value == "3" and page.text_input("lora.rank").value == "2"
    assert any("filled the form" in one.value for one in page.caption) and page.text_input("launch_paste").value == ""
    assert "last.rank" not in page.query_params
    page.button("launch_undo").click().run()
    assert page.text_input("epochs").value == "7" and page.text_input("last.rank").value == "4"
    assert not any("filled the form" in one.value for one in page.caption)
    before = dict(page.query_params)
    page.text_input("launch_paste").set_value("{no").run()
    assert "is not JSON" in page.error[0].value and "Nothing in the form was changed" in page.error[0].value
    assert dict(page.query_params) == before and page.text_input("launch_paste").value == "{no", "it can be mended"
    page.text_input("launch_paste").set_value(json.dumps(SPEC.to_dict())).run()
    page.button("launch").click().run()
    assert RunSpec.of(store.runs(limit=1)[0].spec) == SPEC
