"""The embedded backbones: found without torch, built by timm's own classes, loaded from the assets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from peftcore import load_backbone
from peftcore.backbone import embedded
from peftcore.errors import UnknownName, WeightsUnavailable
from peftcore.task import embedded_tasks

ROOT = Path(__file__).resolve().parents[2]


def create(name: str, **arguments):
    import timm

    return timm.create_model(name, **arguments).eval()


def test_timm_knows_them_as_soon_as_both_are_imported():
    code = (
        f"import peftcore, timm; print(all(timm.is_model(n) for n in {embedded.names()!r})); "
        "print(timm.create_model('vit_micro').num_features)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "128"]


def test_what_waits_for_an_import_that_was_is_done_at_once():
    from peftcore.backbone.torchvision_guard import after_import

    done = []
    after_import("json", lambda: done.append("json"))
    assert done == ["json"]


def test_names_and_cards_need_no_torch():
    code = (
        "import sys, json; from peftcore.backbone import embedded; n = embedded.names(); "
        "c = [embedded.card(x)['title'] for x in n]; print(json.dumps([n, c, 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names, titles, torch_loaded = json.loads(done.stdout)
    assert "vit_micro" in names and all(titles)
    assert not torch_loaded


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(UnknownName, match="vit_micro"):
        embedded.card("vit_mikro")


@pytest.mark.parametrize("name", embedded.names())
def test_weights_are_small_and_change_the_output(name):
    assert embedded.weights(name).stat().st_size <= 10_000_000
    images = torch.randn(2, *embedded.config(name)["input_size"], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loaded, again = create(name, pretrained=True)(images), create(name, pretrained=True)(images)
        random = create(name, pretrained=False)(images)
    assert torch.equal(loaded, again)
    assert loaded.shape == random.shape and not torch.allclose(loaded, random, atol=1e-2)


@pytest.mark.parametrize("name", embedded.names())
def test_the_file_holds_exactly_the_model(name):
    from safetensors.torch import load_file

    state, stored = create(name, pretrained=True).state_dict(), load_file(embedded.weights(name))
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[k], stored[k]) and torch.isfinite(stored[k]).all() for k in state)


@pytest.mark.parametrize("name", embedded.names())
def test_preprocessing_reaches_timm(name):
    import timm

    settings, data = (
        embedded.config(name),
        timm.data.resolve_model_data_config(create(name, pretrained=False)),
    )
    assert list(data["input_size"]) == settings["input_size"] and list(data["mean"]) == settings["mean"]
    assert list(data["std"]) == settings["std"] and data["interpolation"] == settings["interpolation"]
    assert data["crop_pct"] == 1.0


def test_a_head_can_be_asked_for():
    model = create("vit_micro", pretrained=True, num_classes=7)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("name", embedded.names())
def test_another_image_size_has_the_same_weights(name):
    """As timm's own models: positions are resized, and all else is as it was."""
    same, larger = load_backbone(name), load_backbone(name, img_size=96)
    assert larger.pretrained and larger.pooled(torch.zeros(1, 3, 96, 96)).shape == (1, larger.width)
    ours, theirs = same.module.state_dict(), larger.module.state_dict()
    assert {
        key for key in ours if not (ours[key].shape == theirs[key].shape and torch.equal(ours[key], theirs[key]))
    } <= {key for key in ours if key == "pos_embed" or "relative_position" in key}


def test_missing_weights_are_a_clear_error(tmp_path, monkeypatch):
    (tmp_path / "vit_micro").mkdir()
    text = (embedded.BACKBONES / "vit_micro" / "config.json").read_text()
    (tmp_path / "vit_micro" / "config.json").write_text(text)
    monkeypatch.setattr(embedded, "BACKBONES", tmp_path)
    with pytest.raises(WeightsUnavailable, match="pretrained=False"):
        create("vit_micro", pretrained=True)
    create("vit_micro", pretrained=False)


@pytest.mark.parametrize("name", embedded.names())
def test_the_card_says_what_was_measured(name):
    card = embedded.card(name)
    training, probes = card["training"], card["probes"]
    assert training["steps"] * training["recipe"]["batch_size"] == training["images"] > 0
    assert set(probes) == set(embedded_tasks())
    for task, row in probes.items():
        assert row["accuracy"] > row["twin"] + 0.05, task  # three standard errors of 1,000 images
    text = (embedded.folder(name) / "card.md").read_text()
    assert all(f"| {task} | {row['accuracy']:.3f} |" in text for task, row in probes.items())


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path.remove(str(ROOT / "scripts"))


def test_drawing_is_decided_by_seed_and_batch(scripts):
    from drawing import draw

    first, labels = draw(0, 5, 4, 1.0)
    again, _ = draw(0, 5, 4, 1.0)
    other, _ = draw(0, 6, 4, 1.0)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (4, 3, 64, 64) and first.min() >= 0 and first.max() <= 1
    assert torch.allclose(labels.classes.sum(1), torch.ones(4)) and torch.allclose(labels.rows.sum(1), torch.ones(4))
    assert (labels.patch_centre.sum(1) <= labels.quarters.sum(1)).all()


def test_pretraining_resumes_exactly(scripts, tmp_path):
    """Three steps in one go, and one step, a checkpoint, two more: the same bits."""
    from pretrain import Trainer, options_of

    torch.set_num_threads(1)
    options = options_of(["train", "vit_micro", "--images", "1000", "--batch-size", "4", "--device", "cpu"])
    whole = Trainer(options)
    for _ in range(3):
        whole.step()
    first = Trainer(options)
    first.step()
    first.save(tmp_path / "checkpoint.pt")
    second = Trainer(options)
    second.load(tmp_path / "checkpoint.pt")
    for _ in range(2):
        second.step()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key
    assert all(torch.equal(v, second.average[k]) for k, v in whole.average.items())
