"""A folder of images that changes between the beginning of a run and its going on, or its predicting again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from backbones import small
from PIL import Image

import peftcore as pc
from peftcore import errors
from peftcore.events import Checkpoint
from peftcore.store.again import predictions
from peftcore.train.checkpoint import State

pytestmark = pytest.mark.usefixtures("home")


def fill(folder: Path, name: str, *numbers: int) -> None:
    (folder / name).mkdir(exist_ok=True, parents=True)
    for n in numbers:
        Image.new("RGB", (8, 8), (n * 9 % 256, 7 * len(name), 90)).save(folder / name / f"{n:03}.png")


@pytest.fixture
def begun(tmp_path):
    """A run on a folder of two classes, stopped after an epoch: its spec and its checkpoint."""
    for name in ("cat", "dog"):
        fill(tmp_path / "pets", name, *range(10))
    settings = dict(epochs=2, batch_size=8, lr=0.01, pretrained=False, device="cpu")
    spec = pc.RunSpec(method="linear", task=f"folder:{tmp_path / 'pets'}?size=8", **settings)
    events = pc.finetune(spec, backbone=small("vit"))
    blob = next(event.blob for event in events if isinstance(event, Checkpoint))
    events.close()
    return spec, blob


CHANGES = {
    "a class has another name": lambda pets: (pets / "cat").rename(pets / "feline"),
    "there are more images": lambda pets: fill(pets, "dog", *range(10, 16)),
    "as many, and not the same": lambda pets: ((pets / "dog/003.png").unlink(), fill(pets, "dog", 12)),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_run_does_not_go_on_with_other_images_than_it_began_with(tmp_path, begun, how):
    spec, blob = begun
    CHANGES[how](tmp_path / "pets")
    with pytest.raises(errors.AdapterMismatch, match="of other images than the task has now"):
        [*pc.finetune(spec, resume=blob, backbone=small("vit"))]


def test_a_run_goes_on_with_a_copy_of_its_images_and_from_a_checkpoint_of_before(tmp_path, begun, monkeypatch):
    spec, blob = begun
    shutil.copytree(tmp_path / "pets", tmp_path / "copy")
    shutil.rmtree(tmp_path / "pets")
    (tmp_path / "copy").rename(tmp_path / "pets")
    assert [*pc.finetune(spec, resume=blob, backbone=small("vit"))]
    pack = State.pack
    monkeypatch.setattr(State, "pack", lambda self, key, seconds: pack(self, key.partition(" ")[0], seconds))
    events = pc.finetune(spec, backbone=small("vit"))
    old = next(event.blob for event in events if isinstance(event, Checkpoint))
    events.close()
    assert [*pc.finetune(spec, resume=old, backbone=small("vit"))]


def test_a_run_predicts_again_only_the_images_that_it_had(tmp_path, begun):
    spec, _ = begun
    *_, end = pc.finetune(spec, backbone=(backbone := small("vit")))
    started = next(iter(pc.finetune(spec, backbone=backbone)))
    sizes, classes = started.settings["images"], started.classes
    fill(tmp_path / "pets", "dog", *range(10, 23))
    with pytest.raises(errors.BadData, match="other images now than when run 3 was trained"):
        next(predictions(spec.to_dict(), end.blob, classes, "run 3", sizes))
