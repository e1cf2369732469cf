"""Pictures that somebody took by class become a kept set: any name is a name, any file clean or a sentence."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from peftcore import errors, uploads
from peftcore.task import load_task

RNG = np.random.default_rng(0)


def picture(value: int | None = None) -> bytes:
    pixels = RNG.integers(0, 255, (12, 16, 3), dtype=np.uint8) if value is None else np.full((12, 16, 3), value, "u1")
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path))


def test_any_name_of_a_class_stays_as_it_was_typed():
    names = ("<b>a</b> & b", 'one, "two"', "../../etc", "=1+1", "001", "naïve 猫")
    kept = uploads.keep_collected({name: [picture() for _ in range(10)] for name in names}, "../<i>x</i>")
    task = load_task(kept.task)
    assert sorted(task.classes) == sorted(names) and kept.name == "i-x-i"
    assert len(task.train) + len(task.val) + len(task.test) == len(kept) == 60
    assert set(task.train.labels) == set(range(6)) and len(task.test) == 12, "every class trains, a fifth is tested on"


def test_copies_of_a_picture_count_once():
    one = picture()
    with pytest.raises(errors.BadData, match="'b' has 1 different pictures"):
        uploads.keep_collected({"a": [picture() for _ in range(3)], "b": [one] * 10}, "x")
    many = {"a": [picture() for _ in range(4)] + [one], "b": [picture() for _ in range(4)] + [one]}
    assert len(uploads.keep_collected(many, "x")) == 8, "one picture of two classes teaches neither"


@pytest.mark.parametrize("given", [{}, {"a": [b""] * 5}, {"a": [b""] * 5, " ": [b""] * 5}])
def test_too_little_is_a_sentence(given):
    with pytest.raises(errors.BadData, match="at least two classes"):
        uploads.keep_collected(given, "x")


def test_a_clean_picture_is_upright_on_white_small_and_without_metadata():
    tall = Image.fromarray(np.zeros((700, 1400, 3), np.uint8))
    exif = tall.getexif()
    exif[0x0112], exif[0x010F] = 6, "maker"  # to be turned by a quarter; the camera's maker
    out = io.BytesIO()
    tall.save(out, "JPEG", exif=exif)
    clean = Image.open(io.BytesIO(uploads.clean_picture(io.BytesIO(out.getvalue()))))
    assert clean.size == (256, 512) and clean.format == "PNG" and not clean.getexif()
    out = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 4), np.uint8), "RGBA").save(out, "PNG")
    assert np.asarray(Image.open(io.BytesIO(uploads.clean_picture(io.BytesIO(out.getvalue()))))).min() == 255


@pytest.mark.parametrize("data", [b"", b"hello", picture()[:60], b"%PDF-1.4 x"])
def test_what_is_no_whole_image_is_a_sentence(data):
    with pytest.raises(errors.BadData, match="cannot be used"):
        uploads.clean_picture(io.BytesIO(data))
