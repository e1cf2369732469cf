"""What an earlier Headroom saved still opens, and what it trained still comes out the same.

tests/fixtures/yesterday was written at the commit that its README names, by its make.py. Only public names are used
here, so the code behind them may move. Bits are compared where torch itself rounds as it did then (`rounding`);
elsewhere the numbers need only be close.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import peftcore as pc
from peftcore.backbone import embedded

YESTERDAY = Path(__file__).resolve().parents[1] / "fixtures" / "yesterday"


def recorded(name: str) -> Any:
    return json.loads((YESTERDAY / name).read_text()) if (YESTERDAY / name).exists() else {}


TRAINED, STORED, ADAPTERS, KEYS = map(
    recorded, ("weights/trained.json", "store.json", "adapters/expected.json", "keys.json")
)


# What both sides of a comparison are made of; make.py uses these as well.


def rounding() -> str:
    """How torch rounds on this machine: a hash of one training step of a plain transformer layer, without Headroom."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(128, 8, 512, dropout=0.0, activation="gelu", batch_first=True)
        patches = nn.Conv2d(3, 128, 8, 8)
        images = torch.randn(16, 3, 64, 64)
        out = layer(patches(images).flatten(2).mT).softmax(-1)
        out.square().sum().backward()
    return digest(torch.cat([out.detach().flatten(), *(p.grad.flatten() for p in layer.parameters())]))


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def fingerprints(model: pc.TunedModel) -> dict[str, dict[str, Any]]:
    """Hash and norm of every tensor that training changes."""
    state = model.adapter_state()
    return {name: {"sha256": digest(t), "norm": t.double().norm().item()} for name, t in state.items()}


def logits(model: pc.TunedModel) -> list[list[float]]:
    """A model's output for two images of noise."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        return model.eval()(torch.randn(2, 3, 64, 64)).double().tolist()


def in_runs(kinds: list[str]) -> list[list]:
    """['step', 'step', 'evaluation'] as [['step', 2], ['evaluation', 1]]."""
    return [[kind, len(list(same))] for kind, same in groupby(kinds)]


def result(model: pc.TunedModel, test: float, val: float, kinds: list[str] | None = None) -> dict[str, Any]:
    found = {"test_accuracy": test, "val_accuracy": val, "tensors": fingerprints(model)}
    return found if kinds is None else {**found, "events": in_runs(kinds)}


def alone(spec: pc.RunSpec, resume: bytes | None = None) -> dict[str, Any]:
    """A run, followed event by event."""
    events, seen = pc.finetune(spec, resume=resume), []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            # Files are looked at once in a process, whichever run is the first to read them.
            kinds = [event.kind for event in seen if getattr(event, "what", "") != "looking at the images"]
            kinds = [kind for kind in kinds if kind != pc.events.SideEntropy.kind]  # of later days
            return result(end.value, seen[-1].test_accuracy, seen[-1].val_accuracy, kinds)


def resumed(spec: pc.RunSpec) -> dict[str, Any]:
    """A run that is stopped after its first epoch and resumed from the checkpoint."""
    events = pc.finetune(spec)
    blob = next(event.blob for event in events if event.kind == "checkpoint")
    events.close()
    return alone(spec, blob)


def train(how: str, specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of training, as in trained.json."""
    specs = [pc.RunSpec.from_dict(spec) for spec in specs]
    if how == "race":
        return [result(one.model, one.test_accuracy, one.val_accuracy) for one in pc.race(specs)]
    return [{"alone": alone, "resumed": resumed}[how](spec) for spec in specs]


# Comparing


@pytest.fixture(scope="module")
def same_bits() -> bool:
    """Whether numbers may be compared to the bit."""
    torch.set_num_threads(TRAINED["threads"])
    same = rounding() == TRAINED["rounding"]
    if not same:
        warnings.warn("torch rounds otherwise here than it did then: numbers are only compared roughly", stacklevel=1)
    return same


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A copy of yesterday's HEADROOM_HOME, in use."""
    home = tmp_path / "yesterday"
    shutil.copytree(YESTERDAY / "store", home)
    monkeypatch.setenv("HEADROOM_HOME", str(home))
    return home


@pytest.fixture
def weights_of_then(monkeypatch) -> pc.Backbone:
    """vit_micro with the weights that it had; what trains in this test trains on them."""
    known = json.loads((YESTERDAY / "adapters" / "lora" / "adapter.json").read_text())["backbone"]
    file = embedded.earlier("vit_micro", known["fingerprint"]) or embedded.weights("vit_micro")
    monkeypatch.setattr(embedded, "weights", lambda name: Path(file))
    return pc.load_backbone("vit_micro")


def assert_same(found: dict[str, Any], kept: dict[str, Any], same_bits: bool, rel: float = 1e-2) -> None:
    assert found.get("events") == kept.get("events")
    assert found["tensors"].keys() == kept["tensors"].keys()
    if same_bits:
        assert found == kept
        return
    for name in ("test_accuracy", "val_accuracy"):
        assert found[name] == pytest.approx(kept[name], abs=0.05)
    for name, tensor in found["tensors"].items():
        assert tensor["norm"] == pytest.approx(kept["tensors"][name]["norm"], rel=rel, abs=rel / 100), name


def assert_says(model: pc.TunedModel, kept: list[list[float]], same_bits: bool) -> None:
    if same_bits:
        assert logits(model) == kept
    else:
        np.testing.assert_allclose(logits(model), kept, rtol=1e-4, atol=1e-5)


def test_the_folder_is_there():
    assert TRAINED and STORED and ADAPTERS and KEYS


# The store


@pytest.mark.parametrize("kept", STORED, ids=lambda kept: f"{kept['id']}-{kept['spec']['method']['name']}")
def test_a_run_of_the_store_is_as_it_was(kept, home):
    """Record, spec, summary, events and artifacts."""
    store = pc.store.Store(home)
    record = store.run(kept["id"])
    assert {name: getattr(record, name) for name in ("status", "title", "race", "spec", "summary")} == {
        name: kept[name] for name in ("status", "title", "race", "spec", "summary")
    }
    spec = pc.RunSpec.from_dict(record.spec)
    method, kept_method = spec.to_dict()["method"], record.spec["method"]
    assert spec.key == kept["key"]  # fields may have come since, of the run and of its method
    assert (spec.to_dict() | {"method": None}).items() >= (record.spec | {"method": None}).items()
    assert method.items() >= kept_method.items()
    events = store.events(record.id)
    assert in_runs([event["kind"] for event in events]) == kept["events"]
    for event in events:
        plain = {name: value for name, value in event.items() if name not in ("seq", "time")}
        assert pc.events.from_dict(plain).to_dict() == plain
    artifacts = {name: store.get_artifact(record.id, name) for name in store.artifact_names(record.id)}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in artifacts.items()} == kept["artifacts"]


def test_the_store_lists_runs_and_races(home):
    store = pc.store.Store(home)
    assert [record.id for record in store.runs()] == [kept["id"] for kept in STORED][::-1]
    races = {kept["race"] for kept in STORED} - {None}
    for race in races:
        assert [r.id for r in store.runs(race=race)][::-1] == [kept["id"] for kept in STORED if kept["race"] == race]


@pytest.mark.parametrize("kept", [kept for kept in STORED if "logits" in kept], ids=lambda kept: str(kept["id"]))
def test_an_adapter_from_the_store_computes_as_before(kept, home, same_bits):
    blob = pc.store.Store(home).get_artifact(kept["id"], "adapter")
    assert_says(pc.adapters.from_bytes(blob), kept["logits"], same_bits)


def test_head_scores_of_the_store_show_the_heads_that_were_cut(home):
    store = pc.store.Store(home)
    [heart] = [kept for kept in STORED if kept["spec"]["method"]["name"] == "heart_lora"]
    cut = store.last_event(heart["id"], "heads_cut")
    model = pc.adapters.from_bytes(store.get_artifact(heart["id"], "adapter"))
    mask = pc.head_energy(model).mask  # layers x projections x heads, True where a head is on
    assert [np.flatnonzero(~layer.any(0)).tolist() for layer in mask] == cut["off"] == heart["off"]


@pytest.mark.usefixtures("weights_of_then")
def test_a_stopped_run_goes_on_from_its_checkpoint(home, same_bits):
    store = pc.store.Store(home)
    [stopped] = [kept for kept in STORED if kept["status"] == "cancelled"]
    spec = pc.RunSpec.from_dict(store.run(stopped["id"]).spec)
    again = pc.run(spec, resume=store.get_artifact(stopped["id"], "checkpoint"))
    found = result(again.model, again.test_accuracy, again.val_accuracy)
    kept = TRAINED["few"]["resumed"]["results"][0]
    assert_same(found, {name: value for name, value in kept.items() if name != "events"}, same_bits)


# What else was kept beside it


def test_kept_images_are_the_digits_that_they_were(home):
    task = pc.load_task("upload:few-digits?size=64")
    digits = pc.load_task("digits")
    for split in ("train", "val", "test"):
        few, all_ = getattr(task, split), getattr(digits, split)
        known = {image.tobytes(): label for image, label in zip(all_.images, all_.labels, strict=True)}
        found = {image.tobytes(): label for image, label in zip(few.images[: len(few)], few.labels, strict=True)}
        assert found.items() <= known.items() and len(found) == len(few) == TRAINED["images"][split]


@pytest.mark.usefixtures("weights_of_then")
def test_frozen_features_on_the_disk_are_used_again(home, same_bits):
    before = sorted(path.name for path in (home / "features").iterdir())
    run = TRAINED["few"]["linear from the disk"]
    found = train("alone", run["specs"])
    after = sorted(path.name for path in (home / "features").iterdir())
    if TRAINED["versions"]["torch"] == str(torch.__version__):  # features of another torch are computed anew
        assert after == before and found[0]["events"] == run["results"][0]["events"]
    assert found[0]["test_accuracy"] == pytest.approx(run["results"][0]["test_accuracy"], abs=0.05)


# Adapters as folders


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_saved_adapter_computes_as_before(name, same_bits, weights_of_then):
    folder = YESTERDAY / "adapters" / name
    for model in [pc.load_adapter(folder, weights_of_then)] + ([] if name == "peft" else [pc.load_adapter(folder)]):
        assert_says(model, ADAPTERS[name], same_bits and name != "peft")  # an import may fold scales in another order


def test_an_adapter_opens_on_the_weights_that_it_was_trained_on():
    """Whatever the embedded backbone's weights are today; today's own are refused where they are others."""
    folder, today = YESTERDAY / "adapters" / "lora", pc.load_backbone("vit_micro")
    model = pc.load_adapter(folder)
    assert_says(model, ADAPTERS["lora"], same_bits=False)
    if today.fingerprint != model.fingerprint:
        with pytest.raises(pc.errors.AdapterMismatch, match="trained on vit_micro"):
            pc.load_adapter(folder, today)


# Training


def norm_of_then(x, shape, weight, bias, eps):
    """Mean and 1 / sigma as LAST's lean step took them: equal to today's kernel's but for the last bits."""
    spread, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    return x, mean, spread.add_(eps).rsqrt_()


def assert_trains_as_before(run: dict[str, Any], same_bits: bool, monkeypatch) -> None:
    """To the bit, with LAST's norm as it was computed then; with today's kernel it rounds otherwise."""
    if {spec["method"]["name"] for spec in run["specs"]} == {"last"}:
        for found, kept in zip(train(run["how"], run["specs"]), run["results"], strict=True):
            assert_same(found, kept, same_bits=False, rel=1e-5 if same_bits else 1e-2)
    monkeypatch.setattr(torch, "native_layer_norm", norm_of_then)
    for found, kept in zip(train(run["how"], run["specs"]), run["results"], strict=True):
        assert_same(found, kept, same_bits)


@pytest.mark.parametrize("name", [name for name in TRAINED.get("few", ()) if name != "linear from the disk"])
@pytest.mark.usefixtures("weights_of_then")
def test_training_ends_with_the_same_bits(name, home, same_bits, monkeypatch):
    """Each way to train, on a few digits."""
    assert_trains_as_before(TRAINED["few"][name], same_bits, monkeypatch)


@pytest.mark.skipif("HEADROOM_LONG" not in os.environ, reason="takes minutes; set HEADROOM_LONG=1")
@pytest.mark.parametrize("name", TRAINED.get("digits", ()))
@pytest.mark.usefixtures("weights_of_then")
def test_training_on_all_digits_ends_with_the_same_bits(name, same_bits, monkeypatch):
    assert_trains_as_before(TRAINED["digits"][name], same_bits, monkeypatch)


# Specs


@pytest.mark.parametrize("text", KEYS, ids=lambda text: KEYS[text]["key"])
def test_a_spec_has_the_key_that_it_had(text):
    spec = pc.RunSpec.from_json(text)
    assert spec.key == KEYS[text]["key"] and list(spec.forward) == KEYS[text]["forward"]
    assert pc.RunSpec.from_json(spec.to_json()) == spec
