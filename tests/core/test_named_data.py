"""Data sets by name: what torchvision and the hub have is read as it is, whole or not at all; the rest is sentences.

No network: files are made in the layout that torchvision expects, and a server on this machine stands for the hosts."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
import threading
from collections import Counter

import numpy as np
import pytest
from remote_data import picture

from peftcore import errors
from peftcore import task as tasks
from peftcore.task import load_task
from peftcore.tasks.remote import _named, torchvision

pytestmark = pytest.mark.usefixtures("place")


EVERY = {"train": 800, "shots": None, "val": 200, "test": "all", "seed": 0}


# Which images


@pytest.mark.parametrize(
    "labels, own, tested",
    [
        ({"train": 3000, "val": 300, "test": 500}, "train", "test"),
        ({"train": 3000, "test": 500}, "train", "test"),
        ({"train": 3000, "val": 300}, "train", "val"),
        ({"all": 3000}, "all", "all"),
        ({"train": 3000}, "train", "train"),
    ],
)
def test_splits_are_the_data_sets_own_and_never_share_an_image(labels, own, tested):
    labels = {split: np.arange(n) % 10 for split, n in labels.items()}
    found, text = _named.places("x:Y", labels, EVERY)
    assert {name: split for name, (split, _) in found.items()} == {"train": own, "val": own, "test": tested}
    assert [len(found[name][1]) for name in ("train", "val")] == [800, 200]
    assert len(found["test"][1]) == (600 if tested == own else len(labels[tested]))
    numbers = [(split, n) for split, ns in found.values() for n in ns.tolist()]
    assert len(numbers) == len(set(numbers))
    assert set(Counter(labels[own][found["train"][1]]).values()) == {80}
    assert f"its {tested} split" in text or "set apart" in text
    again, _ = _named.places("x:Y", labels, EVERY)
    other, _ = _named.places("x:Y", labels, EVERY | {"seed": 1})
    assert all((found[name][1] == again[name][1]).all() for name in found)
    assert (other["test"][1] == found["test"][1]).all() and (other["train"][1] != found["train"][1]).any()


def test_sizes_are_those_that_are_asked_for():
    labels = {"train": np.arange(2000) % 4, "test": np.arange(400) % 4}

    def sizes(**said):
        found, _ = _named.places("x:Y", labels, EVERY | said)
        return {name: len(numbers) for name, (_, numbers) in found.items()}, found

    assert sizes(train="all", val=100)[0] == {"train": 1900, "val": 100, "test": 400}
    assert sizes(test=40)[0]["test"] == 40
    counts, found = sizes(shots=5, val=20)
    assert counts == {"train": 20, "val": 20, "test": 400}
    assert set(Counter(labels["train"][found["train"][1]]).values()) == {5}
    assert not {*found["train"][1]} & {*found["val"][1]}
    for impossible in ({"train": 1900}, {"test": 401}, {"shots": 501}, {"train": "all", "val": 2000}):
        with pytest.raises(errors.InvalidSetting, match="x:Y"):
            sizes(**impossible)


# torchvision


def make_eurosat(root, classes=("Forest", "River"), each=30):
    for k, name in enumerate(classes):
        folder = root / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for i in range(each):
            picture(k * each + i).save(folder / f"{name}_{i}.png")


def make_dtd(root):
    for k, name in enumerate(("banded", "woven")):
        for i in range(12):
            file = root / "dtd" / "dtd" / "images" / name / f"{name}_{i:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(k * 12 + i).save(file)
    labels = root / "dtd" / "dtd" / "labels"
    labels.mkdir()
    for split, some in (("train", range(6)), ("val", range(6, 8)), ("test", range(8, 12))):
        lines = [f"{name}/{name}_{i:04}.png" for i in some for name in ("woven", "banded")]
        (labels / f"{split}1.txt").write_text("\n".join(lines) + "\n")


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def mnist_files() -> dict[str, bytes]:
    made = {}
    for split, n in (("train", 60), ("t10k", 20)):
        images = np.arange(n, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)
        made[f"{split}-images-idx3-ubyte.gz"] = gzip.compress(idx(images))
        made[f"{split}-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(n, dtype=np.uint8) % 10))
    return made


def test_every_data_set_of_the_table_is_torchvisions_and_takes_its_arguments():
    import inspect

    for name, splits in torchvision.SPLITS.items():
        arguments = {}
        for cls in torchvision._class(name).__mro__[:-1]:
            arguments |= inspect.signature(cls.__init__).parameters
        for which in splits.values():
            assert which.keys() <= arguments.keys(), name
        assert ("download" in arguments) or name in torchvision.BY_HAND, name
        assert {"train", "all"} & splits.keys(), name


def test_folders_of_images_become_a_task(place):
    make_eurosat(torchvision.folder("EuroSAT"))
    task = load_task("torchvision:EuroSAT?train=30&val=10&size=8")
    assert task.classes == ("Forest", "River") and task.group == "specialised" and "set apart" in task.description
    assert [len(s) for s in (task.train, task.val, task.test)] == [30, 10, 12]
    seen = set()
    for split in (task.train, task.val, task.test):
        images = split.images[:]
        assert images.shape == (len(split), 8, 8, 3) and images.dtype == np.uint8
        assert (images[:, 0, 0, 0] // 30 == split.labels).all()  # the colour says the class
        seen |= set(images[:, 0, 0, 0].tolist())
    assert len(seen) == 52  # each once


def test_own_splits_are_used_as_they_are(place):
    make_dtd(torchvision.folder("DTD"))
    task = load_task("torchvision:DTD?train=all&val=2&size=8")
    assert [len(s) for s in (task.train, task.val, task.test)] == [10, 2, 8]
    assert sorted(task.test.images[:][:, 0, 0, 0].tolist()) == [8, 9, 10, 11, 20, 21, 22, 23]
    assert (task.test.labels == (task.test.images[:][:, 0, 0, 0] >= 12)).all() and task.classes == ("banded", "woven")


def make_aircraft(root):
    data = root / "fgvc-aircraft-2013b" / "data"
    for split, numbers in (("train", range(20)), ("test", range(20, 26))):
        for i in numbers:
            save(data / "images" / f"{i:05}.png", i % 2).rename(data / "images" / f"{i:05}.jpg")
        rows = [f"{i:05} {('A 1', 'B 2')[i % 2]}" for i in numbers]
        (data / f"images_variant_{split}.txt").write_text("\n".join(rows) + "\n")
    (data / "images_variant_val.txt").write_text("")
    (data / "variants.txt").write_text("A 1\nB 2\n")


def make_gtsrb(root):
    rows = []
    for i in range(20):
        save(root / "gtsrb/GTSRB/Training" / f"{i % 2:05}" / f"{i}.ppm", i % 2)
    for i in range(6):
        save(root / "gtsrb/GTSRB/Final_Test/Images" / f"{i}.ppm", i % 2)
        rows.append(f"{i}.ppm;{i % 2}")
    (root / "gtsrb" / "GT-final_test.csv").write_text("\n".join(["Filename;ClassId", *rows]) + "\n")


def make_clevr(root):
    folder = root / "clevr" / "CLEVR_v1.0"
    for split in ("train", "val"):
        scenes = [{"image_filename": f"{i:02}.png", "objects": [0] * (3 + i % 2)} for i in range(20)]
        for i, scene in enumerate(scenes):
            save(folder / "images" / split / scene["image_filename"], i % 2)
        file = folder / "scenes" / f"CLEVR_{split}_scenes.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"scenes": scenes}))


def make_inaturalist(root):
    for version in ("2021_train_mini", "2021_valid"):
        for i in range(20):
            save(root / version / f"{i % 2:05}_a_b_c_d_e_f_s{i % 2}" / f"{i}.png", i % 2)


def make_sun(root):
    for i in range(30):
        name = ("abbey", "zoo")[i % 2]
        save(root / "SUN397" / name[0] / name / f"sun_{i}.png", i % 2).rename(
            root / "SUN397" / name[0] / name / f"sun_{i}.jpg"
        )
    (root / "SUN397" / "ClassName.txt").write_text("/a/abbey\n/z/zoo\n")


def save(file, n):
    file.parent.mkdir(parents=True, exist_ok=True)
    picture(n).save(file)
    return file


@pytest.mark.parametrize(
    "name, make, classes",
    [
        ("FGVCAircraft", make_aircraft, ("A 1", "B 2")),
        ("GTSRB", make_gtsrb, ("0", "1")),
        ("CLEVRClassification", make_clevr, ("3", "4")),
        ("INaturalist", make_inaturalist, ("00000_a_b_c_d_e_f_s0", "00001_a_b_c_d_e_f_s1")),
        ("SUN397", make_sun, ("abbey", "zoo")),
    ],
)
def test_labels_are_the_images_own_however_a_class_keeps_them(place, name, make, classes):
    make(torchvision.folder(name))
    task = load_task(f"torchvision:{name}?train=8&val=4&size=8")
    assert task.classes == classes
    for split in (task.train, task.val, task.test):
        assert len(split) and (split.images[:][:, 0, 0, 0] == split.labels).all()


@pytest.fixture
def mnist(server, monkeypatch):
    """Sixty images of torchvision's MNIST, served by this machine."""
    files = mnist_files()
    server.files = {f"/{name}": data for name, data in files.items()}
    cls = torchvision._class("MNIST")
    monkeypatch.setattr(cls, "mirrors", [f"{server.url}/"])
    resources = [(name, hashlib.md5(data).hexdigest()) for name, data in files.items()]
    monkeypatch.setattr(cls, "resources", resources)
    return server


NAME = "torchvision:MNIST"


def test_a_fetched_data_set_is_here_and_asks_nobody_again(mnist):
    assert not tasks.here(NAME)
    with pytest.raises(errors.DataUnavailable, match=f"peftcore fetch {NAME}"):
        load_task(NAME)
    progress = []
    folder = tasks.fetch(NAME, lambda *now: progress.append(now))
    assert tasks.here(NAME) and [path.name for path in folder.parent.iterdir()] == ["MNIST"]
    assert {total for _, total in progress} > {len(data) for data in mnist.files.values()}
    task = load_task(f"{NAME}?train=30&val=10&size=28")
    assert len(task.test) == 20 and task.classes[3] == "3 - three"
    assert (task.train.images[:][:, 0, 0, 0] % 10 == task.train.labels).all()
    mnist.asked.clear()
    tasks.fetch(NAME)
    load_task(NAME + "?train=20&val=10", download=True)
    assert not mnist.asked


@pytest.mark.parametrize("at", range(4))
def test_a_stopped_fetch_never_counts_and_goes_on(mnist, at):
    """Stopped in the middle of each of its files."""
    names = list(mnist.files)
    seen = []

    class Stop(Exception):
        pass

    def tell(done, total):
        if total and (not seen or seen[-1] != total):
            seen.append(total)
        if len(seen) == at + 1 and done:
            raise Stop

    with pytest.raises(Stop):
        tasks.fetch(NAME, tell)
    assert not tasks.here(NAME)
    mnist.asked.clear()
    tasks.fetch(NAME)
    assert load_task(f"{NAME}?train=30&val=10").classes
    assert {path for path, _ in mnist.asked} <= set(names[at:])  # what had come whole is not asked for again


def test_leftovers_of_a_crash_do_not_count(mnist):
    """Killed while it unpacks, so nothing is tidied up."""
    root = torchvision.folder("MNIST").with_name(".MNIST.unpacking") / "MNIST" / "raw"
    root.mkdir(parents=True)
    (root / "train-images-idx3-ubyte").write_bytes(b"half")
    assert not tasks.here(NAME)
    tasks.fetch(NAME)
    assert (load_task(f"{NAME}?train=30&val=10").train.images[:].max()) < 60


def test_a_wrong_checksum_a_broken_archive_and_a_lost_connection_are_sentences(mnist, monkeypatch):
    first = next(iter(mnist.files))
    good = mnist.files[first]
    mnist.files[first] = good + b"x"
    with pytest.raises(errors.DataUnavailable, match="another checksum"):
        tasks.fetch(NAME)
    assert not tasks.here(NAME) and not list(torchvision.folder("MNIST").parent.iterdir())
    mnist.files[first], mnist.cut = good, 50
    with pytest.raises(errors.DataUnavailable, match="could not be downloaded .*MB that have come are kept"):
        tasks.fetch(NAME)
    mnist.cut = None
    tasks.fetch(NAME)
    assert tasks.here(NAME)


def test_an_archive_that_writes_elsewhere_is_refused(server, monkeypatch):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../outside"), io.BytesIO())
    server.files["/aircraft.tar.gz"] = data.getvalue()
    monkeypatch.setattr(torchvision._class("FGVCAircraft"), "_URL", f"{server.url}/aircraft.tar.gz")
    words = "outside the destination" if hasattr(tarfile, "data_filter") else "use Python 3.11.4 or newer"
    with pytest.raises(errors.DataUnavailable, match=words):
        tasks.fetch("torchvision:FGVCAircraft")
    assert not tasks.here("torchvision:FGVCAircraft") and not list(torchvision.folder("x").parent.rglob("outside"))


def test_torchvision_is_as_it_was_after_a_fetch(mnist):
    from torchvision.datasets import utils

    unpacks = "extraction_filter" if hasattr(tarfile, "data_filter") else "extractall"
    before = utils._urlretrieve, getattr(tarfile.TarFile, unpacks)
    tasks.fetch(NAME)
    assert before == (utils._urlretrieve, getattr(tarfile.TarFile, unpacks))


@pytest.mark.parametrize(
    "name, kind, message",
    [
        ("torchvision:", errors.InvalidSetting, "needs a data set of torchvision: write torchvision:NAME"),
        ("torchvision:FGVCAirplane", errors.UnknownName, "Did you mean 'FGVCAircraft'"),
        ("torchvision:cifar-10", errors.UnknownName, "torchvision:CIFAR10"),
        ("torchvision:FakeData", errors.UnknownName, "no data set"),
        ("torchvision:DTD?tests=3", errors.UnknownName, "Did you mean 'test'"),
        ("torchvision:DTD?train=0", errors.InvalidSetting, "train=0"),
        ("torchvision:DTD?seed=x", errors.InvalidSetting, "seed=x"),
        ("torchvision:ImageNet", errors.DataUnavailable, "cannot be downloaded for you"),
        ("hf:", errors.InvalidSetting, "hf:OWNER/NAME"),
        ("hf:../../etc", errors.InvalidSetting, "hf:OWNER/NAME"),
        ("hf:a/b?trust_remote_code=1", errors.UnknownName, "setting"),
        ("hf:a/b", errors.DataUnavailable, "could not be downloaded"),
        ("torchvision:SEMEION", errors.DataUnavailable, "Connect to the network"),
    ],
)
def test_mistakes_are_clear_errors(name, kind, message, monkeypatch):
    monkeypatch.setattr(torchvision._class("SEMEION"), "url", "http://127.0.0.1:9/semeion.data")
    with pytest.raises(kind, match=message):
        tasks.fetch(name)


def test_files_of_another_data_set_are_an_error(place):
    torchvision.folder("DTD").mkdir(parents=True)
    with pytest.raises(errors.DataUnavailable, match="expects them"):
        load_task("torchvision:DTD")


# Runs and the command line

RUN = {"backbone": "vit_micro", "task": f"{NAME}?train=30&val=10&test=20&size=64", "epochs": 1, "batch_size": 16}


def test_a_run_fetches_its_data_set_before_it_begins(mnist, monkeypatch):
    from peftcore.fetch import arrivals
    from peftcore.spec import RunSpec
    from peftcore.train.loop import finetune

    monkeypatch.setattr(arrivals, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.01)
    closed = threading.Event()
    mnist.piece, mnist.after = 10, lambda: closed.wait(60)
    spec = RunSpec(method={"name": "linear"}, **RUN)
    stream = finetune(spec)
    first = next(stream)
    stream.close()
    assert (first.kind, first.what) == ("download", NAME) and not tasks.here(NAME)
    closed.set()
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 30.0)  # the rest arrives unseen, and is reported all the same
    kinds = list(dict.fromkeys(event.kind for event in finetune(spec)))
    assert kinds[0] == "download" and kinds[-1] == "finished" and tasks.here(NAME)
    assert "download" not in {event.kind for event in finetune(spec)}


def test_a_race_fetches_it_once_for_all_and_tells_each(mnist, monkeypatch):
    from peftcore.fetch import arrivals
    from peftcore.spec import RunSpec
    from peftcore.train.race import race_events

    monkeypatch.setattr(arrivals, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.01)
    events = list(race_events([RunSpec(method={"name": "linear"}, lr=lr, **RUN) for lr in (0.01, 0.001)]))
    assert {i for i, event in events if event.kind == "download"} == {0, 1}
    assert {i for i, event in events if event.kind == "finished"} == {0, 1}
    assert len({path for path, _ in mnist.asked}) == len(mnist.asked)  # each file once


def test_a_race_without_a_network_fails_for_each_spec(place):
    from peftcore.spec import RunSpec
    from peftcore.train.race import race_events

    specs = [RunSpec(method={"name": "linear"}, lr=lr, **RUN | {"task": "hf:zoo/animals"}) for lr in (0.01, 0.001)]
    events = [(i, event) for i, event in race_events(specs) if event.kind != "download"]
    assert [(i, event.kind, event.error) for i, event in events] == [(i, "failed", "DataUnavailable") for i in (0, 1)]


def test_the_command_line_fetches_data_sets(mnist, capsys):
    from peftcore.__main__ import app

    app(["fetch", NAME, "--json"], standalone_mode=False)
    [answer] = json.loads(capsys.readouterr().out)
    assert answer["name"] == NAME and answer["file"] == str(torchvision.folder("MNIST"))
    assert answer["bytes"] > sum(map(len, mnist.files.values()))
    with pytest.raises(errors.DataUnavailable, match="nothing to fetch"):
        app(["fetch", "vtab:/somewhere"], standalone_mode=False)


def test_what_a_task_costs_is_not_predicted_by_downloading_it(mnist):
    from peftcore.bench._real_step import classes_of

    with pytest.raises(errors.DataUnavailable):
        classes_of(NAME)
    assert not mnist.asked
