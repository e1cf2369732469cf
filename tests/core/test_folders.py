"""Tasks from folders: images are read as they are on disk, upright and in RGB; what is wrong is named."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peftcore import errors
from peftcore.task import embedded_tasks, load_task, task_card
from peftcore.tasks.files import vtab
from peftcore.uploads import pictures as reading
from peftcore.uploads.decoding import decode
from peftcore.uploads.pictures import Pictures

SHARED = Path(__file__).parents[3] / "shared"


CIFAR10 = SHARED / "data/vtab-1k/cifar10"


PUBLISHED = SHARED / "reference/vtab1k_published.json"


LISTS = {"train800": 8, "val200": 4, "test": 6}


KEPT = (0, 2**20)  # streamed, and kept


def colour(split: str, i: int) -> tuple[int, int, int]:
    return (36 * i, 255 - 30 * i, 80 * list(LISTS).index(split))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A task of four classes in VTAB-1K's layout, each image in a colour of its own; test images have 5 x 3 pixels."""
    task = tmp_path / "berries"
    lines = {}
    for split, count in LISTS.items():
        (task / "images" / split).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (5, 3), colour(split, i)).save(task / f"images/{split}/{i:06}.png")
        lines[split] = [f"images/{split}/{i:06}.png {i % 4}" for i in range(count)]
    lines["train800val200"] = lines["train800"] + lines["val200"]
    for split, rows in lines.items():
        (task / f"{split}.txt").write_text("\n".join(rows) + "\n")
    return task


def test_a_folder_becomes_its_lists_in_their_order(folder):
    task = load_task(f"vtab:{folder}?size=8")
    assert task.classes == ("0", "1", "2", "3") and task.title.endswith("berries")
    for name, split in zip(LISTS, (task.train, task.val, task.test), strict=True):
        assert len(split) == LISTS[name] and split.images.shape == (len(split), 8, 8, 3)
        assert split.labels.dtype == np.int64 and split.labels.tolist() == [i % 4 for i in range(len(split))]
        wanted = np.array([colour(name, i) for i in range(len(split))], np.uint8)
        assert (split.images[:] == wanted[:, None, None]).all()


def test_protocols_determine_the_training_images(folder):
    apart, all_of_it = load_task(f"vtab:{folder}"), load_task(f"vtab:{folder}?protocol=train800val200")
    assert (len(apart.train), len(apart.val)) == (8, 4) and len(all_of_it.train) == 12
    assert not {*apart.train.images.files} & {*apart.val.images.files}
    assert {*all_of_it.train.images.files} == {*apart.train.images.files, *apart.val.images.files}
    assert "trains on the validation images" in all_of_it.description not in apart.description
    for task in (apart, all_of_it):
        assert not {*task.test.images.files} & {*task.train.images.files, *task.val.images.files}


def test_an_image_is_never_trained_and_tested_on(folder):
    lines = (folder / "train800.txt").read_text().splitlines()
    with (folder / "test.txt").open("a") as file:
        file.write(f"./{lines[3]}\n{lines[5]}\n")
    for protocol in ("train800", "train800val200"):
        message = r"test\.txt: .*000003\.png is also in .*train800.*\.txt, and so are 1 more; test images must be new"
        with pytest.raises(errors.BadData, match=message):
            load_task(f"vtab:{folder}?protocol={protocol}")


@pytest.mark.parametrize("split", ["train800", "test"])
def test_nothing_is_selected_by_images_that_are_trained_or_tested_on(folder, split):
    assert load_task(f"vtab:{folder}").val_is_new and not load_task(f"vtab:{folder}?protocol=train800val200").val_is_new
    (folder / "val200.txt").write_text((folder / f"{split}.txt").read_text())
    task = load_task(f"vtab:{folder}")
    assert not task.val_is_new
    with pytest.raises(errors.InvalidSetting, match="select='val' is not possible .*trains on .*or tests on"):
        task.check_select("val")


def test_a_list_of_one_class_and_classes_without_an_image_are_reported(folder):
    known = folder.rename(folder.with_name("vtab-cifar"))
    task = load_task(f"vtab:{known}")
    assert len(task.classes) == 100 and "images of 4 of cifar's 100 classes" in task.description
    for split in (*LISTS, "train800val200"):
        file = known / f"{split}.txt"
        file.write_text(re.sub(" [0-9]+$", " 1", file.read_text(), flags=re.MULTILINE))
    with pytest.raises(errors.BadData, match="only one class"):
        load_task(f"vtab:{known}")


def test_symmetries_may_stand_in_any_order(folder):
    assert load_task(f"vtab:{folder}?symmetries=warp,mirror").symmetries == ("mirror", "warp")
    for wrong in ("mirror,mirror", "mirror,", "mirror,turn"):
        with pytest.raises(errors.InvalidSetting, match="all; none; mirror; shift; warp; mirror,shift; "):
            load_task(f"vtab:{folder}?symmetries={wrong}")


@pytest.mark.parametrize("kept", KEPT)
def test_pictures_read_like_the_array_they_stand_for(folder, kept):
    pictures = Pictures(sorted((folder / "images/train800").iterdir()), 6, kept_bytes=kept)
    whole = np.stack([decode(file, 6) for file in pictures.files])
    assert (pictures.shape, pictures.dtype, pictures.ndim) == (whole.shape, whole.dtype, whole.ndim)
    assert pictures.nbytes == whole.nbytes and len(pictures) == len(whole)
    for index in (3, -1, np.int64(2), slice(2, 7, 2), [4, 4, 0], np.array([], int), whole.sum((1, 2, 3)) > 9000):
        read = pictures[index]
        assert isinstance(read, np.ndarray) and read.dtype == np.uint8 and (read == whole[index]).all()
        assert read.shape == whole[index].shape
        read[:] = 0  # the reader's own copy
    assert (np.stack(list(pictures)) == whole).all() and pictures[0:256].tobytes() == whole.tobytes()
    with pytest.raises(IndexError):
        pictures[8]


@pytest.mark.parametrize("kept", KEPT)
def test_memory_is_bounded_and_kept_images_are_decoded_once(folder, kept, monkeypatch):
    calls = []
    monkeypatch.setattr(reading, "decode", lambda file, *how: calls.append(file) or decode(file, *how))
    pictures = Pictures(sorted((folder / "images/train800").iterdir()), 6, kept_bytes=kept)
    assert not calls, "nothing is decoded before it is read"
    for _ in range(2):
        pictures[2:5], pictures[[4, 5]]
    assert len(calls) == (4 if kept else 10) and (pictures._kept is None) == (not kept)


def test_many_are_decoded_in_the_order_of_the_index(folder):
    """More than one per thread, so that threads decode."""
    files = sorted((folder / "images/train800").iterdir()) * reading.WORKERS * 2
    index = np.random.default_rng(0).permutation(len(files))
    read = [Pictures(files, 4, kept_bytes=kept)[index][:, 0, 0].tolist() for kept in KEPT]
    assert read[0] == read[1] == [list(colour("train800", i % 8)) for i in index]


# ------------------------------------------------------------------------------------------- what is refused


def break_list(name: str, row: str):
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(path.read_text() + row + "\n")

    return change


def outside(folder: Path) -> None:
    Image.new("RGB", (4, 4)).save(folder.parent / "secret.png")
    (folder / "images/link.png").symlink_to(folder.parent / "secret.png")
    (folder / "images/up").symlink_to(folder.parent)


def outside_by(row: str):
    return lambda folder: (outside(folder), break_list("test.txt", row)(folder))


WRONG = {
    "list": (lambda f: (f / "val200.txt").unlink(), r"val200\.txt is missing"),
    "empty list": (lambda f: (f / "test.txt").write_text("\n \n"), r"test\.txt is empty"),
    "no text": (lambda f: (f / "test.txt").write_bytes(b"\xff\xfe\x00"), r"test\.txt cannot be read as text"),
    "no label": (break_list("train800.txt", "images/a.png"), r"train800\.txt, line 9: 'images/a.png' is not"),
    "negative": (break_list("train800.txt", "images/a.png -1"), r"line 9: 'images/a.png -1' is not"),
    "fraction": (break_list("train800.txt", "images/a.png 1.5"), r"line 9: 'images/a.png 1.5' is not"),
    "null byte": (break_list("train800.txt", "images/a\0.png 1"), "line 9: "),
    "missing": (break_list("test.txt", "images/test/9.png 1"), r"test\.txt: the image .*9\.png is missing"),
    "folder": (break_list("test.txt", "images/test 1"), r"the image .*images/test is not a file"),
    "long name": (break_list("test.txt", "a" * 300 + " 1"), "is missing"),
    "empty": (lambda f: (f / "images/test/000001.png").write_bytes(b""), r"000001\.png is an empty file"),
    "huge label": (break_list("test.txt", "images/test/000001.png 99999999"), "go up to 99999999, but .* 19 images"),
    "up": (outside_by("../secret.png 1"), r"\.\./secret\.png leads out of"),
    "absolute": (outside_by("/etc/hostname 1"), r"/etc/hostname leads out of"),
    "dots": (outside_by("images/test/.. 1"), "leads out of"),
    "linked file": (outside_by("images/link.png 1"), r"images/link\.png leads out of"),
    "linked folder": (outside_by("images/up/secret.png 1"), r"images/up/secret\.png leads out of"),
}


@pytest.mark.parametrize("what", WRONG)
def test_faults_are_named_when_the_task_is_loaded(what, folder):
    change, message = WRONG[what]
    change(folder)
    with pytest.raises(errors.BadData, match=message):
        load_task(f"vtab:{folder}")


def test_links_that_stay_in_the_folder_are_followed(folder):
    (folder / "images/again").symlink_to(folder / "images/test")
    (folder / "images/one.png").symlink_to("test/000001.png")
    break_list("test.txt", "images/again/000002.png 0\nimages/one.png 0")(folder)
    assert load_task(f"vtab:{folder}?size=8").test.images[-2:][:, 0, 0].tolist() == [
        list(colour("test", 2)),
        list(colour("test", 1)),
    ]


def test_names_with_spaces_and_windows_line_ends_are_read(folder):
    Image.new("RGB", (4, 4)).save(folder / "images/a b.png")
    rows = (folder / "test.txt").read_text() + "images/a b.png 3\n"
    (folder / "test.txt").write_bytes(b"\xef\xbb\xbf" + rows.replace("\n", "\r\n").encode())
    task = load_task(f"vtab:{folder}")
    assert task.test.images.files[-1].name == "a b.png" and task.test.labels[-1] == 3


def test_a_broken_image_is_named_when_it_is_read(folder):
    target = folder / "images/train800/000003.png"
    whole = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(whole).save(target)
    for data, message in (
        (target.read_bytes()[:900], "cannot be decoded"),
        (b"no image", "cannot be used: it is not an image"),
    ):
        target.write_bytes(data)
        task = load_task(f"vtab:{folder}?size=16")
        task.train.images[[0, 1, 2, 4]]
        with pytest.raises(errors.BadData, match=rf"000003\.png {message}"):
            task.train.images[:4]
    target.unlink()
    with pytest.raises(errors.BadData, match=r"000003\.png is missing"):
        task.train.images[3]


ARGUMENTS = {
    "": "needs a folder: write vtab:PATH",
    "/no/such/folder": "There is no folder /no/such/folder",
    "{}?protocol=train1000": "protocol=train1000 is not possible; it must be one of train800, train800val200",
    "{}?size=4": "size=4 is not possible; it must be one of 8 to 1024",
    "{}?fit=": "fit= is not possible",
    "{}?protocl=train800": "Did you mean 'protocol'",
}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_arguments_are_checked(argument, folder):
    with pytest.raises(errors.HeadroomError, match=re.escape(ARGUMENTS[argument])):
        load_task("vtab:" + argument.format(folder))


def test_a_question_mark_in_a_path_is_not_taken_for_settings(folder):
    odd = folder.with_name("which?one")
    folder.rename(odd)
    with pytest.raises(errors.InvalidSetting, match="rename the folder"):
        load_task(f"vtab:{odd}")


def test_the_folder_of_all_tasks_names_those_in_it(folder):
    with pytest.raises(errors.BadData, match="have it: berries; use one of them"):
        load_task(f"vtab:{folder.parent}")


def test_a_relative_path_and_a_changed_list_are_read_as_they_are_now(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    task = load_task("vtab:berries")
    assert load_task("vtab:berries") is task and task.name == "vtab:berries"
    (folder / "test.txt").write_text("images/test/000005.png 2\n")
    assert len(load_task("vtab:berries").test) == 1


# ------------------------------------------------------------------------------------------- the 19


def test_names_of_classes_come_from_their_file(folder):
    (folder / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    assert load_task(f"vtab:{folder}").classes == ("a", "b", "c", "d", "e")
    (folder / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(errors.BadData, match="has label 3, but .*classes.txt names 3 classes, 0 to 2"):
        load_task(f"vtab:{folder}")
    (folder / "classes.txt").write_text("a\nb\nc\na\n")
    with pytest.raises(errors.BadData, match="4 names, 3 of them different"):
        load_task(f"vtab:{folder}")


@pytest.mark.parametrize(
    "spelt, name",
    [("cifar", "cifar"), ("CIFAR-100", "cifar"), ("cifar10", None),
     ("oxford_pet", "oxford_iiit_pet"), ("pcam", "patch_camelyon"),
     ("Oxford-IIIT-Pet", "oxford_iiit_pet"), ("flowers102", "oxford_flowers102"), ("clevr_distance", "clevr_dist"),
     ("dSprites_location", "dsprites_loc"), ("smallnorb_azimuth", "smallnorb_azi"), ("images", None)],
)  # fmt: skip
def test_spellings_of_the_19_are_known(spelt, name):
    assert vtab.known(spelt) == name


def test_a_folder_with_a_known_name_has_that_tasks_classes_and_group(folder):
    known = folder.rename(folder.with_name("KITTI"))
    task = load_task(f"vtab:{known}")
    assert task.group == "structured" and len(task.classes) == 4
    break_list("val200.txt", "images/val200/000000.png 4")(known)
    with pytest.raises(errors.BadData, match="val200.txt: .* has label 4, but KITTI has 4 classes, 0 to 3"):
        load_task(f"vtab:{known}")
    fewer = known.rename(folder.with_name("dtd"))
    assert len(load_task(f"vtab:{fewer}").classes) == 47, "not only those whose labels occur"


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the shared folder is not here")
def test_the_19_are_those_that_are_published():
    published = json.loads(PUBLISHED.read_text())
    groups = {name: group.replace("ized", "ised") for group, names in published["tasks"].items() for name in names}
    assert {name: (group, count) for name, (group, count, _) in vtab.KNOWN.items()} == {
        name: (groups[name], published["classes"][name]) for name in groups
    }
    assert len(vtab.KNOWN) == 19


def test_no_spelling_means_two_tasks():
    spellings = [spelt for name, (_, _, others) in vtab.KNOWN.items() for spelt in (name, *others)]
    assert len({s.replace("_", "") for s in spellings}) == len(spellings)


# ------------------------------------------------------------------------------------------- few shots


@pytest.mark.parametrize("below", ["images", "."])
def test_few_shot_lists_in_noahs_layout(tmp_path, below):
    (tmp_path / "annotations").mkdir()
    (tmp_path / below).mkdir(exist_ok=True)
    for i in range(12):
        Image.new("RGB", (4, 4), (20 * i, 0, 0)).save(tmp_path / below / f"{i:07}.png")
    lists = {"val_meta.list": [9], "test_meta.list": [10, 11]}
    lists |= {f"train_meta.list.num_shot_{n}.seed_{s}": range(s, s + n) for n in (1, 2, 4) for s in (0, 1, 2)}
    for name, chosen in lists.items():
        (tmp_path / "annotations" / name).write_text("".join(f"{i:07}.png {i % 3}\n" for i in chosen))
    task = load_task(f"fewshot:{tmp_path}?shots=4&seed=2&size=8")
    assert task.train.images[:][:, 0, 0, 0].tolist() == [40, 60, 80, 100] and task.train.labels.tolist() == [2, 0, 1, 2]
    assert task.val.images[:][:, 0, 0, 0].tolist() == [180] and len(task.test) == 2 and len(task.classes) == 3
    with pytest.raises(errors.InvalidSetting, match="shots=3 is not possible; it must be one of 1, 2, 4, 8, 16"):
        load_task(f"fewshot:{tmp_path}?shots=3")
    with pytest.raises(errors.BadData, match=r"num_shot_16\.seed_0 is missing"):
        load_task(f"fewshot:{tmp_path}")


# ------------------------------------------------------------------------------------------- with the rest


def test_kinds_that_need_an_argument_say_so():
    assert task_card("vtab:/any/where").shown == "vtab:PATH" and task_card("digits").shown == "digits"
    assert "digits" in embedded_tasks() and not {"vtab", "fewshot"} & {*embedded_tasks()}


@pytest.mark.parametrize("method, cached", [("last", "disk"), ("last", False), ("lora", False)])
def test_a_run_on_a_folder_trains_as_on_the_same_images_in_memory(folder, method, cached, monkeypatch, tmp_path):
    from dataclasses import replace

    from peftcore.train import loop

    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path / "home"))
    task = load_task(f"vtab:{folder}?size=64")
    held = {
        n: replace(s, images=s.images[:]) for n, s in (("train", task.train), ("val", task.val), ("test", task.test))
    }
    spec = {
        "task": f"vtab:{folder}?size=64",
        "method": method,
        "epochs": 1,
        "batch_size": 4,
        "cache_features": cached,
        "device": "cpu",
    }
    losses = []
    for loaded in (task, replace(task, **held)):
        monkeypatch.setattr(loop, "load_task", lambda name, loaded=loaded: loaded)
        events = list(loop.finetune(spec))
        losses.append([e.loss for e in events if hasattr(e, "loss")])
    assert losses[0] == losses[1] and losses[0]


@pytest.mark.skipif(not CIFAR10.exists(), reason="the shared folder is not here")
def test_the_real_folder_is_read():
    task = load_task(f"vtab:{CIFAR10}?size=32")
    assert (len(task.train), len(task.val), len(task.test)) == (800, 200, 2000)
    assert task.classes[0] == "airplane" and len(task.classes) == 10
    file = CIFAR10 / (CIFAR10 / "test.txt").read_text().split()[0]
    assert (task.test.images[0] == np.asarray(Image.open(file))).all()
    # a photograph's pixels vary, and no two of the first are one
    assert len({image.tobytes() for image in task.test.images[:50]}) == 50
    assert os.path.isfile(task.train.images.files[-1])


def test_where_a_folder_is_named_tasks_read_nothing_outside_of_it(folder, tmp_path, monkeypatch):
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    folder.rename(allowed / "berries")
    (tmp_path / "elsewhere").mkdir()
    (allowed / "way_out").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("HEADROOM_DATA", str(allowed))
    for said in ("berries", str(allowed / "berries"), "./berries/../berries"):
        assert len(load_task(f"vtab:{said}?size=8").train) == 8
    for said in (tmp_path / "elsewhere", "/etc", "../elsewhere", "way_out", "/no/such/folder"):
        for kind in ("vtab", "fewshot"):
            with pytest.raises(errors.BadData, match="HEADROOM_DATA"):
                load_task(f"{kind}:{said}")
    with pytest.raises(errors.BadData, match="There is no folder"):
        load_task("vtab:nothing")
