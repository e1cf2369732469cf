"""Tasks: splits are as described, the same everywhere, and balanced; names and arguments are checked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from peftcore import errors, registry
from peftcore import task as tasks
from peftcore.bench.tasks import MINI_VTAB
from peftcore.task import embedded_tasks, load_task, task_card
from peftcore.tasks.drawn._drawing import balanced_labels
from peftcore.uploads.division import stratified_split

ROOT = Path(__file__).parents[2]
DRAWN = MINI_VTAB
EMBEDDED = embedded_tasks()
SIZES = {"digits": (800, 200, 797)} | dict.fromkeys(DRAWN, (800, 200, 1000))
GOLDEN = {
    "digits": "26f4da07e7a404d75e11ef73b7760558d855deaee2e18b39abe6303a2c3188fc",
    "counting": "4f6c1bdcd5ec5d8360404b9d35239731af058441ab057ffa9be7deb7789ce9f5",
    "orientation": "f12d6d024578d9f7e996c3f05a434492390eecd4807b755ee001541d7e49e1a9",
    "house_numbers": "127eff2182aa00bc5a89381cec11684ef7738d70916a6690f0e860575d6003fb",
    "textures": "74801cf0d1826fb3fcfa6bd754ed9f1d7e2b65e5276697b9359d954516e58bc2",
    "syllables": "3e209c6af530aa7fc62603b4969deaf11b9e4be33d165916df170097a942bbf3",
    "cells": "9f3a035623c737e8fe6a5faaa34a2f24a3e18c7bfb8fff2bebd5eb52063cdeaf",
    "defects": "598423158e0454d77ca43f24102dd641dab646a0caf9d9c5e2e6a08a354b0346",
    "position": "e6a76ce093dc8f68a2b2b5f5a6835ae83ee7802a775d83fce45bc4db552e8b4b",
    "distance": "7461c9e042afd65a81bd685952be57600c1edfe05e121d1e5d8a11d8c63a62f0",
}


def splits(task: tasks.Task) -> tuple[tasks.Split, ...]:
    return task.train, task.val, task.test


def fingerprint(task: tasks.Task) -> str:
    """sha256 over every byte of images and labels."""
    digest = hashlib.sha256()
    for split in splits(task):
        digest.update(split.images[:].tobytes())
        digest.update(split.labels.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", EMBEDDED)
def test_splits_match_the_card(name):
    """Every registered task that takes no argument, including one that somebody adds."""
    task, card = load_task(name), task_card(name)
    assert task.name == name and task.group in tasks.GROUPS
    for said in ("title", "description", "group", "classes", "source", "symmetries"):
        assert getattr(task, said) == getattr(card, said), said
    for split in splits(task):
        assert split.images[:1].ndim == 4 and split.images.shape[-1] == 3 and split.images.dtype == np.uint8
        assert split.labels.shape == (len(split),) and split.labels.dtype == np.int64
        assert set(np.unique(split.labels)) == set(range(len(task.classes))), "a class has no image"
        assert (np.diff(split.labels) != 0).any(), "labels stand in order: batches would be one class"


@pytest.mark.parametrize("name", SIZES)
def test_splits_have_the_promised_sizes_and_balance(name):
    task = load_task(name)
    assert tuple(len(split) for split in splits(task)) == SIZES[name]
    for split in splits(task):
        assert split.images.shape == (len(split), 64, 64, 3)
        counts = np.bincount(split.labels, minlength=len(task.classes))
        # the digits themselves are uneven (174 to 183 of each), so a proportional split is within two of even
        assert counts.max() - counts.min() <= (1 if name in DRAWN else 5), counts
        assert (np.diff(split.labels) != 0).mean() > 0.8, "labels stand in order: batches would be one class"


def test_these_are_the_embedded_tasks_and_each_has_its_group():
    assert set(SIZES) <= set(EMBEDDED)
    groups = [task_card(name).group for name in MINI_VTAB]
    assert groups == ["natural"] * 3 + ["specialised"] * 2 + ["structured"] * 4


@pytest.mark.parametrize("name", EMBEDDED)
def test_no_image_is_in_two_places(name):
    images = [image.tobytes() for split in splits(load_task(name)) for image in split.images]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize("name", SIZES)
def test_the_bytes_are_those_that_published_accuracies_were_measured_on(name):
    """Golden: a deliberate change to a drawing changes this too, and the accuracies must be measured again."""
    assert fingerprint(load_task(name)) == GOLDEN[name]


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_cached_task_is_one_copy_that_cannot_be_changed(name):
    task = load_task(name)
    assert load_task(name) is task
    for split in splits(task):
        for array in (split.images, split.labels):  # numpy's word for it, or Python's
            with pytest.raises((ValueError, TypeError), match="read-only|item assignment"):
                array[0] = 0


WANTED = (7, 150)  # images of each split


@pytest.fixture(scope="module")
def alone() -> dict[str, list[str]]:
    """By task, the sha256 of some images of every split, each drawn by itself in a process with another hash seed."""
    environment = dict(os.environ, PYTHONHASHSEED="12345", PYTHONPATH=str(ROOT))
    code = "import test_tasks; test_tasks.print_alone()"
    tests = Path(__file__).parent
    out = subprocess.run([sys.executable, "-c", code], cwd=tests, env=environment, capture_output=True, check=True)
    return json.loads(out.stdout)


@pytest.mark.parametrize("name", DRAWN)
def test_an_image_depends_on_its_seed_split_and_index_alone(name, alone):
    """The same when drawn alone, in another process and with another hash seed: it depends on no set's order."""
    images = [split.images[index] for split in splits(load_task(name)) for index in WANTED]
    assert alone[name] == [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def print_alone() -> None:
    print(json.dumps({name: drawn_alone(name) for name in DRAWN}))


def drawn_alone(name: str) -> list[str]:
    from peftcore.tasks.drawn import _drawing

    module, found = registry.TASKS.load(name), []
    for number, count in enumerate(_drawing.SIZES.values()):
        labels = _drawing.split_labels(module.SEED, number, count, len(module.CLASSES))
        for index in WANTED:
            rng = np.random.default_rng([module.SEED, number, index])
            if name == "house_numbers":
                picture = module.picture(*module.handwriting(number), rng, index)
            else:
                picture = module.scene(rng, int(labels[index]) + (name == "counting"))  # its label 0 means one berry
            found.append(hashlib.sha256(_drawing.to_bytes(picture).tobytes()).hexdigest())
    return found


@pytest.mark.parametrize("name", DRAWN)
def test_only_what_is_read_is_drawn(name):
    images = registry.TASKS.load(name)._task.__wrapped__().test.images  # not the copy that others have read
    few = images[[5, 3, 5]]
    assert np.flatnonzero(images._done).tolist() == [3, 5]
    assert (few == load_task(name).test.images[:6][[5, 3, 5]]).all()


@pytest.mark.parametrize("name", DRAWN)
def test_colour_and_brightness_hardly_tell_the_class(name):
    """Logistic regression on the mean and spread of each colour stays within ten points of chance."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    task = load_task(name)
    train, test = (
        np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=1)
        for images in (task.train.images[:], task.test.images[:])
    )
    scaler = StandardScaler().fit(train)
    probe = LogisticRegression(max_iter=200).fit(scaler.transform(train), task.train.labels)
    assert probe.score(scaler.transform(test), task.test.labels) < 1 / len(task.classes) + 0.10


def test_importing_and_describing_tasks_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from peftcore import registry, task as tasks\n"
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
    """Oracle: shrinking an enlarged image by area returns the original's pattern, with its label."""
    from sklearn.datasets import load_digits

    data = load_digits()
    known = data.images.reshape(len(data.images), -1)
    task = load_task("digits")
    for image, label in zip(task.test.images[:40], task.test.labels[:40], strict=True):
        assert (image == image[..., :1]).all(), "grey stays grey"
        small = image[..., 0].reshape(8, 8, 8, 8).mean(axis=(1, 3)).ravel() * 16 / 255
        assert data.target[np.abs(known - small).mean(1).argmin()] == label


def test_berries_are_as_many_as_asked_and_none_is_cut_off_or_hidden():
    from peftcore.tasks.drawn import counting

    for count in range(1, 9):
        for area in np.exp(counting.AREA):
            size = float(np.clip(np.sqrt(area / np.pi / count), 4, 11))
            spots = counting._places(np.random.default_rng(count), count, size)
            assert len(spots) == count
            for i, (x, y, r) in enumerate(spots):
                assert r <= x <= 64 - r and r <= y <= 64 - r, "a berry is cut off by the border"
                assert all(np.hypot(x - a, y - b) > 0.9 * (r + s) for a, b, s in spots[:i])


@pytest.mark.parametrize("hour", range(12))
def test_the_koi_looks_towards_its_hour(hour, monkeypatch):
    """A white koi in plain water: the clock's hand points from the middle of the fish to its eyes."""
    from peftcore.tasks.drawn import _drawing, orientation

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


def test_no_handwriting_of_house_numbers_is_in_two_splits_or_in_another_split_of_the_digits():
    from peftcore.tasks.drawn import digits, house_numbers

    shown = [house_numbers.handwriting(number) for number in range(3)]
    pools = [{image.tobytes() for image in written} for written, _ in shown]
    assert sum(map(len, pools)) == len(set.union(*pools)) == 1797
    for number, ((written, middles), split) in enumerate(zip(shown, splits(load_task("digits")), strict=True)):
        labels = splits(load_task("house_numbers"))[number].labels
        assert (split.labels[middles] == labels).all(), "the digit in the middle is another than the label says"
        assert all((digits.enlarge(written[i] * 16) == split.images[i]).all() for i in (0, 99))
        assert np.bincount(middles, minlength=len(written)).max() <= 2
    assert len(set(shown[2][1])) > 780, "nearly all of the digits held out are asked for"


def plain(monkeypatch) -> None:
    """No camera, no noise: what a scene draws, and nothing else."""
    from peftcore.tasks.drawn import _drawing

    monkeypatch.setattr(_drawing, "photograph", lambda rng, image: image)


@pytest.mark.parametrize("square", range(16))
def test_the_crab_sits_in_its_square(square, monkeypatch):
    from peftcore.tasks.drawn import _drawing, position

    plain(monkeypatch)
    monkeypatch.setattr(position, "_beach", lambda rng: np.ones((64, 64, 3)))
    monkeypatch.setattr(position, "THINGS", (lambda *_: None,))
    monkeypatch.setattr(position, "_tint", lambda rng: np.zeros(3))
    monkeypatch.setattr(_drawing, "darken", lambda *_: None)
    for seed in range(3):
        crab = position.scene(np.random.default_rng([seed, square]), square).mean(-1) < 0.5
        at = [int(axis[crab].mean() // 16) for axis in (_drawing.Y, _drawing.X)]
        assert at == list(divmod(square, 4)), f"seed {seed}: the crab is in {at}"


@pytest.mark.parametrize("infected", range(6))
def test_the_stated_number_of_cells_is_infected_all_in_sight(infected, monkeypatch):
    from peftcore.tasks.drawn import cells

    found: list[tuple[float, float]] = []
    monkeypatch.setattr(cells, "_parasite", lambda rng, taken, at, radius, purple: found.append(at))
    for seed in range(5):
        found.clear()
        cells.scene(np.random.default_rng([seed, infected]), infected)
        assert len(found) == infected
        assert all(4 < value < 60 for place in found for value in place), "a parasite may be cut off"
        apart = [np.hypot(a[0] - b[0], a[1] - b[1]) for i, a in enumerate(found) for b in found[:i]]
        assert min(apart, default=9) > 6, "one infected cell hides another"


@pytest.mark.parametrize("band", range(6))
def test_the_nearest_car_is_in_its_range_and_other_cars_are_farther(band, monkeypatch):
    from peftcore.tasks.drawn import distance

    found: list[float] = []
    monkeypatch.setattr(distance, "_car", lambda rng, image, camera, x, z, air: found.append(z))
    for seed in range(5):
        found.clear()
        distance.scene(np.random.default_rng([seed, band]), band)
        nearest, *others = sorted(found)
        assert distance.EDGES[band] < nearest < distance.EDGES[band + 1]
        assert all(z >= 1.25 * nearest for z in others)


def test_the_camera_sees_in_perspective():
    """A metre at z metres is FOCAL / z pixels, and what is far away approaches the horizon."""
    from peftcore.tasks.drawn.distance import FOCAL, Camera

    camera = Camera(height=1.5, horizon=25.0, roll=0.0, shift=0.0, bend=0.0)
    for z in (5.0, 20.0):
        (ax, ay), (bx, by) = camera.at(0, 0, z), camera.at(1, 1, z)
        assert bx - ax == pytest.approx(FOCAL / z) and ay - by == pytest.approx(FOCAL / z)
        assert ay - camera.horizon == pytest.approx(1.5 * FOCAL / z)
    assert camera.at(3, 0, 1e6) == pytest.approx((32, 25), abs=1e-2)


def test_no_two_signs_look_alike():
    """Drawn without wobble in the same place, any two of the 32 differ in many pixels."""
    from peftcore.tasks.drawn import syllables

    class Still:
        def normal(self, mean, spread, size):
            return np.zeros(size)

    y, x = np.mgrid[-1:1:48j, -1:1:48j] * 1.05
    drawn = [syllables._strokes(Still(), sign, x, y) < 0.1 for sign in range(32)]
    for i, one in enumerate(drawn):
        assert 60 < one.sum() < 800
        assert all((one ^ other).sum() > 15 for other in drawn[:i])


def test_each_class_has_its_drawing():
    from peftcore.tasks.drawn import defects, textures

    assert len(textures.MATERIALS) == len(textures.CLASSES) == 12
    assert len(defects.FAULTS) + 1 == len(defects.CLASSES) == 7
    clean, scratched = (defects.scene(np.random.default_rng(3), fault) for fault in (0, 1))
    assert np.abs(clean - scratched).max() > 0.05
