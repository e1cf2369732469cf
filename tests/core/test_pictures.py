"""Images from files: the same kept or streamed, in bounded memory; a broken one is named before training."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from backbones import small
from PIL import Image

import peftcore as pc
from peftcore import errors
from peftcore.task import Split, load_task
from peftcore.train import loop
from peftcore.uploads import pictures as reading
from peftcore.uploads.decoding import decode, look
from peftcore.uploads.pictures import Pictures

STREAMED, KEPT = 0, 2**20


@pytest.fixture
def files(tmp_path):
    """Twelve pictures of noise, 20 x 16, PNG and JPEG alternating."""
    rng, found = np.random.default_rng(0), []
    for i in range(12):
        found.append(tmp_path / f"{i:02}.{('png', 'jpg')[i % 2]}")
        Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(found[-1])
    return found


def test_images_read_ahead_are_the_ones_read(files, monkeypatch):
    whole, calls = np.stack([decode(file, 8) for file in files]), []
    monkeypatch.setattr(reading, "decode", lambda file, *how: calls.append(file) or decode(file, *how))
    pictures = Pictures(files, 8, kept_bytes=STREAMED)
    orders = np.random.default_rng(1).permutation(12).reshape(4, 3)
    for order in orders:
        pictures.ahead(order)
        pictures.ahead(order)  # said twice, done once
    for order in (*orders, np.array([1, 1])):
        assert (pictures[order] == whole[order]).all()
    assert len(calls) == 12 + 2 and not pictures._coming
    pictures.ahead(slice(10, 20))
    assert (pictures[10:20] == whole[10:]).all()


def test_images_read_ahead_but_never_requested_stay_bounded(files):
    pictures = Pictures(files, 8, kept_bytes=STREAMED)
    for start in range(40):
        pictures.ahead([start % 12, (start + start // 12) % 12])
    assert len(pictures._coming) <= reading.MOST_AHEAD
    kept = Pictures(files, 8, kept_bytes=KEPT)
    kept.ahead([0, 1])
    assert not kept._coming and not kept._done.any()


def test_together_they_take_no_more_than_is_allowed(files, monkeypatch):
    each = 12 * 8 * 8 * 3
    monkeypatch.setattr(reading, "_keeping", reading.WeakSet())
    monkeypatch.setenv("HEADROOM_IMAGES_GB", str(2.5 * each / 1e9))
    made = [Pictures(files, 8) for _ in range(3)]
    assert [pictures.kept for pictures in made] == [True, True, False]
    del made[0]
    assert Pictures(files, 8).kept, "what is gone takes nothing"
    monkeypatch.setenv("HEADROOM_IMAGES_GB", "0")
    assert not Pictures(files, 8).kept
    monkeypatch.delenv("HEADROOM_IMAGES_GB")
    assert Pictures(files, 8).kept, "by itself a share of the memory that is free"
    monkeypatch.setenv("HEADROOM_IMAGES_GB", "much")
    with pytest.raises(errors.InvalidSetting, match="HEADROOM_IMAGES_GB='much' is not a size"):
        Pictures(files, 8)


@pytest.mark.parametrize("kept", [STREAMED, KEPT])
@pytest.mark.parametrize("number", [0, 1])  # a PNG, a JPEG
@pytest.mark.parametrize("damage", ["cut", "text", "gone"])
def test_a_check_names_the_file_that_is_broken(files, kept, number, damage):
    file, pictures = files[number], Pictures(files, 8, kept_bytes=kept)
    whole = file.read_bytes()
    file.write_bytes(whole[:-40] if damage == "cut" else b"no image at all")
    if damage == "gone":
        file.unlink()
    with pytest.raises(errors.BadData, match=file.name):
        list(pictures.check())
    file.write_bytes(whole)
    assert list(pictures.check()) == [12] and list(pictures.check()) == [], "looked at once"
    assert pictures._done.all() == bool(kept)


def test_bytes_after_the_end_of_a_jpeg_are_harmless(files):
    files[1].write_bytes(files[1].read_bytes() + b"a camera's own words" * 10)
    look(files[1])


@pytest.fixture
def task(files):
    """Ten images to train on, one to validate, one to test."""
    labels = np.arange(12) % 2

    def make(kept):
        parts = [files[:10], files[10:11], files[11:]]
        splits = [Split(Pictures(part, 32, kept_bytes=kept), labels[: len(part)]) for part in parts]
        names = dict(zip(("train", "val", "test"), splits, strict=True))
        return dataclasses.replace(load_task("digits"), classes=("a", "b"), **names)

    return make


@pytest.mark.parametrize("augmentation", ["none", "randaugment"])
@pytest.mark.parametrize("method", ["linear", {"name": "lora", "rank": 2}])
def test_kept_and_streamed_images_train_the_same_model(task, method, augmentation, monkeypatch):
    spec = pc.RunSpec(method=method, epochs=2, batch_size=4, pretrained=False, augmentation=augmentation, warmup=0)
    losses = []
    for kept in (KEPT, STREAMED):
        made = task(kept)
        monkeypatch.setattr(loop, "load_task", lambda name, made=made: made)
        events = list(pc.finetune(spec, backbone=small("swin")))
        losses.append([e.loss for e in events if hasattr(e, "loss")])
        assert any(e.kind == "progress" and e.what == "looking at the images" for e in events)
    assert losses[0] == losses[1] and len(losses[0]) == 2 * 3 + 3


@pytest.mark.parametrize("kept", [STREAMED, KEPT])
def test_a_broken_test_image_ends_a_run_before_its_first_step(task, files, kept, monkeypatch):
    files[11].write_bytes(files[11].read_bytes()[:-40])
    monkeypatch.setattr(loop, "load_task", lambda name: task(kept))
    seen = []
    with pytest.raises(errors.BadData, match=r"11\.jpg cannot be decoded"):
        for event in pc.finetune(pc.RunSpec(method="linear", epochs=1, pretrained=False), backbone=small("swin")):
            seen.append(event.kind)
    assert "step" not in seen
