"""Folders of splits, in every spelling and depth, are splits and no classes."""

from __future__ import annotations

import pytest
from bad_uploads import zipped
from uploading import examine, in_splits, pictures

from peftcore import errors, uploads
from peftcore.uploads.splits import split_of, splits_of

pytestmark = pytest.mark.usefixtures("home")


SPELLINGS = {
    "plain": ("train", "val", "test"),
    "capitals": ("TRAIN", "VALID", "TEST"),
    "title": ("Train", "Validation", "Test"),
    "-ing": ("Training", "validation", "Testing"),
    "sets": ("training_set", "validation_set", "test_set"),
    "sets with a dash": ("Train-Set", "Val-Set", "Test-Set"),
    "in one word": ("trainset", "valset", "testset"),
    "data": ("train_data", "valid_data", "test_data"),
    "images": ("train_images", "val_images", "test_images"),
    "images first": ("images_train", "images_val", "images_test"),
    "camel": ("TrainImages", "ValImages", "TestImages"),
    "years": ("train2017", "val2017", "test2017"),
    "spaces": ("Train Data", "Dev Data", "Test Data"),
    "a family": ("seg_train", "seg_val", "seg_test"),
    "a longer family": ("chest_xray_train", "chest_xray_val", "chest_xray_test"),
    "numbers": ("1_train", "2_val", "3_test"),
    "short": ("trn", "dev", "tst"),
    "Chinese": ("训练集", "验证集", "测试集"),
    "Japanese": ("訓練データ", "検証データ", "テストデータ"),
    "full-width letters": ("ＴＲＡＩＮ", "ＶＡＬ", "ＴＥＳＴ"),
    "long": ("training_dataset", "development_dataset", "evaluation_dataset"),
}


NESTED = ("{0}/{1}", "{0}/{0}/{1}", "my set/{0}/{1}", "data/{0}/images/{1}", "{0}/{1}/deeper")


@pytest.mark.parametrize("path", NESTED)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_split_folders_do_not_become_classes(home, spelling, path):
    names = SPELLINGS[spelling]
    files = pictures(*(path.format(split, name) for split in names for name in ("cat", "dog")))
    found = uploads.examine(zipped(home, files))
    assert found.kind == "splits" and found.classes == ("cat", "dog") and not found.skipped and not found.notes
    for file, (label, split) in in_splits(found).items():
        assert f"/{label}/" in f"/{file}" and names[split] in file


def test_splits_and_what_lies_beside_them(home):
    beside = {**pictures("seg_pred/seg_pred", each=2), "notes.md": b"x"}
    found = examine(
        home, pictures(*(f"seg_{s}/seg_{s}/{c}" for s in ("train", "test") for c in ("sea", "street"))) | beside
    )
    assert found.classes == ("sea", "street") and {one.file for one in found.skipped} == {*beside}


def test_splits_deeper_than_their_neighbours(home):
    """As in an archive packed with the unlabelled test images beside the set."""
    files = pictures(*(f"New Set (Augmented)/New Set (Augmented)/{s}/{c}" for s in ("train", "valid") for c in "ab"))
    found = examine(home, files | pictures("test/test", each=2) | pictures("docs", each=1))
    assert found.classes == ("a", "b") and {*found.given.tolist()} == {0, 1} and len(found) == 16
    assert {one.file.partition("/")[0] for one in found.skipped} == {"test", "docs"}


def test_splits_within_each_class(home):
    found = examine(home, pictures(*(f"{c}/{s}" for c in ("cat", "dog") for s in ("Train", "test"))))
    assert found.classes == ("cat", "dog") and {*in_splits(found).values()} == {
        (name, split) for name in ("cat", "dog") for split in (0, 2)
    }
    assert "test and train are read as splits" in " ".join(found.notes)


def test_splits_within_each_class_and_what_lies_beside_them(home):
    within = pictures(*(f"{c}/{s}/good" for c in ("bottle", "cable") for s in ("train", "test")))
    masks, whole = pictures("bottle/ground_truth", "cable/ground_truth", each=2), pictures("nut")
    found = examine(home, within | masks | whole)
    assert found.classes == ("bottle", "cable", "nut") and {one.file for one in found.skipped} == {*masks}
    assert all(split == -1 for label, split in in_splits(found).values() if label == "nut")
    assert not [note for note in found.notes if "no training image" in note], "they train, or are drawn from"
    assert [int((found.given == split).sum()) for split in (0, 2)] == [8, 8]


NO_SPLITS = {  # classes whose names look like splits, or only half
    "a vehicle": ("train", "car", "bus"),
    "valid or not": ("valid", "invalid"),
    "treated or not": ("test", "control"),
    "trains": ("bullet train", "freight train", "steam train"),
    "drives": ("test_drive", "race"),
    "with the word in them": ("contest", "latest", "value"),
}


@pytest.mark.parametrize("kind", NO_SPLITS)
def test_classes_may_be_called_like_a_split(home, kind):
    for deeper in ("", "/old"):
        found = uploads.examine(zipped(home, pictures(*(name + deeper for name in NO_SPLITS[kind]))))
        assert found.kind == "folders" and {*found.classes} == {*NO_SPLITS[kind]} and not found.notes


UNKNOWN_SPLITS = [
    ("Training", "PublicTest", "PrivateTest"),
    ("apprentissage", "validation", "test"),
    ("Learning", "Test"),
    ("train", "holdout"),
    ("tuning", "train"),
    ("train", "dev_test"),
    ("train", "train_extra", "test_unseen"),
    ("Trainingsdaten", "Validierungsdaten", "Testdaten"),
    ("训练样本", "留出"),
]


@pytest.mark.parametrize("names", UNKNOWN_SPLITS)
def test_folders_with_the_same_folders_and_a_word_for_a_split_are_refused(home, names):
    files = pictures(*(f"{split}/{name}" for split in names for name in ("cat", "dog")))
    for more in ({}, pictures(f"{names[0]}/cow"), pictures("docs", each=1)):
        with pytest.raises(errors.BadData, match="all hold the folders 'cat', 'dog', as splits do: rename the outer"):
            uploads.examine(zipped(home, files | more))


def test_folders_with_the_same_folders_are_classes_with_a_note(home):
    found = examine(home, pictures("tr/cat", "tr/dog", "te/cat", "te/dog"))
    assert found.classes == ("te", "tr") and "If they are splits, rename them to train, val and test" in found.notes[0]


def test_folders_of_images_and_masks_within_classes_need_no_note(home):
    found = examine(home, pictures("boxer/images", "boxer/masks", "train/images", "train/masks"))
    assert found.classes == ("boxer", "train") and not found.notes


FLAT = {
    "two": ("train", "test"),
    "three": ("Train", "Val", "Test"),
    "sets": ("training_set", "test_set"),
    "a family": ("seg_train", "seg_test"),
    "one": ("train",),
    "twice": ("train/train", "test/test"),
    "in images": ("images/train", "images/val"),
}


@pytest.mark.parametrize("kind", FLAT)
def test_splits_without_classes_are_refused_with_the_remedy(home, kind):
    with pytest.raises(
        errors.BadData, match="Its folders are splits that .*put a folder for each class into each of them"
    ):
        uploads.examine(zipped(home, pictures(*FLAT[kind])))


@pytest.mark.parametrize("names", [("images", "masks"), ("train/images", "train/labels"), ("Images", "Ground_Truth")])
def test_images_and_what_accompanies_them_are_not_classes(home, names):
    with pytest.raises(errors.BadData, match="hold images and what accompanies them, not classes"):
        uploads.examine(zipped(home, pictures(*names)))


def test_names_of_splits():
    assert [split_of(name) for name in ("trainval", "train_val", "train_test", "dataset", "", "Test (1)")] == [
        0, 0, None, None, None, 2,
    ]  # fmt: skip
    assert splits_of(["dogs_train", "dogs_test", "cats"]) == {"dogs_train": 0, "dogs_test": 2}
    assert splits_of(["bullet_train", "crash_test"]) == {}
