"""Tasks: the splits are what they say, the same everywhere, and balanced; names and arguments are checked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from peftcore import errors, registry, tasks
from peftcore.tasks import balanced_labels, load_task, stratified_split, task_card

ROOT = Path(__file__).parents[2]
SIZES = {"digits": (800, 200, 797), "counting": (800, 200, 1000), "orientation": (800, 200, 1000)}
DRAWN = ("counting", "orientation")
GOLDEN = {
    "digits": "26f4da07e7a404d75e11ef73b7760558d855deaee2e18b39abe6303a2c3188fc",
    "counting": "4e57b31224cded712f1027111f1984722008386b65efc60fe44196d75209defc",
    "orientation": "f12d6d024578d9f7e996c3f05a434492390eecd4807b755ee001541d7e49e1a9",
}


def splits(task: tasks.Task) -> tuple[tasks.Split, ...]:
    return task.train, task.val, task.test


def fingerprint(task: tasks.Task) -> str:
    """sha256 over every byte of images and labels."""
    digest = hashlib.sha256()
    for split in splits(task):
        digest.update(split.images.tobytes())
        digest.update(split.labels.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", SIZES)
def test_splits_have_the_promised_sizes_types_and_balance(name):
    task = load_task(name)
    assert task.name == name and task.group in tasks.GROUPS
    assert tuple(len(split) for split in splits(task)) == SIZES[name]
    for split in splits(task):
        assert split.images.shape == (len(split), 64, 64, 3) and split.images.dtype == np.uint8
        assert split.labels.shape == (len(split),) and split.labels.dtype == np.int64
        counts = np.bincount(split.labels, minlength=len(task.classes))
        assert len(counts) == len(task.classes)
        # the digits themselves are uneven (174 to 183 of each), so a proportional split is within two of even
        assert counts.max() - counts.min() <= (1 if name in DRAWN else 5), counts
        assert (np.diff(split.labels) != 0).mean() > 0.8, "labels stand in order: batches would be one class"


@pytest.mark.parametrize("name", SIZES)
def test_no_image_is_in_two_places(name):
    images = [image.tobytes() for split in splits(load_task(name)) for image in split.images]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize("name", SIZES)
def test_the_bytes_are_those_that_published_accuracies_were_measured_on(name):
    """Golden: whoever changes a drawing on purpose changes this too, and measures the accuracies again."""
    assert fingerprint(load_task(name)) == GOLDEN[name]


@pytest.mark.parametrize("name", SIZES)
def test_a_cached_task_is_one_copy_that_cannot_be_changed(name):
    task = load_task(name)
    assert load_task(name) is task
    for split in splits(task):
        for array in (split.images, split.labels):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


@pytest.mark.parametrize("name", DRAWN)
def test_an_image_depends_on_its_seed_split_and_index_alone(name):
    from peftcore.tasks import _drawing

    module, task = registry.TASKS.load(name), load_task(name)
    first = 1 if name == "counting" else 0  # label 0 of counting means one berry
    for number, split in enumerate(splits(task)):
        for index in (7, 150):
            rng = np.random.default_rng([module.SEED, number, index])
            picture = module.scene(rng, int(split.labels[index]) + first)
            assert (_drawing.to_bytes(picture) == split.images[index]).all()


def test_another_process_loads_the_same_bytes():
    """Also with another hash seed, so that no order of a set or dict gets into the pictures."""
    code = (
        "import sys; sys.path.insert(0, 'tests/core')\n"
        "from test_tasks import SIZES, fingerprint, load_task\n"
        "print(*(fingerprint(load_task(name)) for name in SIZES))"
    )
    environment = dict(os.environ, PYTHONHASHSEED="12345")
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == [fingerprint(load_task(name)) for name in SIZES]


def test_importing_and_describing_tasks_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from peftcore import registry, tasks\n"
        "print([tasks.task_card(name).title for name in registry.TASKS.names()])\n"
        "heavy = {'torch', 'timm', 'sklearn', 'scipy', 'PIL', 'streamlit', 'ray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("name", registry.TASKS.names())
def test_every_task_file_has_a_card(name):
    card = task_card(name)
    assert card.name == name and card.group in tasks.GROUPS
    assert all(text.strip() for text in (card.title, card.description, card.source))
    assert len(set(card.classes)) == len(card.classes)


def test_unknown_names_and_stray_arguments_are_refused_with_the_remedy():
    with pytest.raises(errors.UnknownName, match="Did you mean 'counting'"):
        load_task("countng")
    with pytest.raises(errors.UnknownName, match="'digits'"):
        task_card("digit:8")
    with pytest.raises(errors.UnknownName):
        load_task("_drawing")
    for name in SIZES:
        with pytest.raises(errors.InvalidSetting, match=f"{name}.*no argument.*'x'"):
            load_task(f"{name}:x")


@pytest.mark.parametrize("sizes", [(60, 20, 20), (10, 90), (33, 33), (100,), (0, 7)])
def test_stratified_split_is_exact_disjoint_and_proportional(sizes):
    labels = np.repeat([0, 1, 2, 7], [50, 30, 15, 5])
    parts = stratified_split(labels, sizes, seed=3)
    assert [len(part) for part in parts] == list(sizes)
    together = np.concatenate(parts)
    assert len(set(together)) == len(together)
    for part in parts:
        for label, count in ((0, 50), (1, 30), (2, 15), (7, 5)):
            assert abs((labels[part] == label).sum() - len(part) * count / 100) <= 1.5
    again = stratified_split(labels, sizes, seed=3)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    if sizes == (60, 20, 20):
        assert any((a != b).any() for a, b in zip(parts, stratified_split(labels, sizes, seed=4), strict=True))
    with pytest.raises(errors.InvalidSetting, match="only 100"):
        stratified_split(labels, (90, 20), seed=0)


def test_balanced_labels_differ_by_at_most_one():
    counts = np.bincount(balanced_labels(800, 12, np.random.default_rng(0)))
    assert counts.sum() == 800 and set(counts) == {66, 67}


def test_digits_are_scikit_learns_images_enlarged():
    """Oracle: shrinking an enlarged image by area gives back the original's pattern, and the label is its label."""
    from sklearn.datasets import load_digits

    data = load_digits()
    known = data.images.reshape(len(data.images), -1)
    task = load_task("digits")
    for image, label in zip(task.test.images[:40], task.test.labels[:40], strict=True):
        assert (image == image[..., :1]).all(), "grey stays grey"
        small = image[..., 0].reshape(8, 8, 8, 8).mean(axis=(1, 3)).ravel() * 16 / 255
        assert data.target[np.abs(known - small).mean(1).argmin()] == label


def test_berries_are_as_many_as_asked_and_none_is_cut_off_or_hidden():
    from peftcore.tasks import counting

    for count in range(1, 9):
        for size in (4.2, 6.6):
            spots = counting._places(np.random.default_rng(count), count, size)
            assert len(spots) == count
            for i, (x, y, r) in enumerate(spots):
                assert r <= x <= 64 - r and r <= y <= 64 - r, "a berry is cut off by the border"
                assert all(np.hypot(x - a, y - b) > 0.9 * (r + s) for a, b, s in spots[:i])


@pytest.mark.parametrize("hour", range(12))
def test_the_koi_looks_towards_its_hour(hour, monkeypatch):
    """A white koi in plain water: from the middle of the fish to its eyes is the direction of the hand."""
    from peftcore.tasks import _drawing, orientation

    monkeypatch.setattr(orientation, "_coat", lambda rng: (np.ones(3), np.ones(3)))
    monkeypatch.setattr(orientation, "_pond", lambda rng: (np.full((64, 64, 3), 0.6), np.full(3, 0.6)))
    for nothing in ("pebble", "leaf", "darken"):
        monkeypatch.setattr(_drawing, nothing, lambda *_: None)
    monkeypatch.setattr(orientation, "_lily", lambda *_: None)
    monkeypatch.setattr(_drawing, "smooth_noise", lambda *_: np.zeros((64, 64)))  # no glints
    monkeypatch.setattr(_drawing, "photograph", lambda rng, image: image)
    for seed in range(4):
        grey = orientation.scene(np.random.default_rng([seed, hour]), hour).mean(-1)
        fish = grey > 0.68
        eyes = grey < np.partition(grey.ravel(), 4)[4]
        x, y = (axis[eyes].mean() - axis[fish].mean() for axis in (_drawing.X, _drawing.Y))
        seen = np.degrees(np.arctan2(x, -y))  # clockwise from 12 o'clock
        off = (seen - 30 * hour + 180) % 360 - 180
        assert abs(off) < 30, f"seed {seed}: the fish looks {off:.0f} degrees past {hour} o'clock"
