"""The split of an image that a table of labels names: by a column of any heading, by the table, or by the folders."""

from __future__ import annotations

import pytest
from uploading import examine, in_splits, pictures

from peftcore import uploads

pytestmark = pytest.mark.usefixtures("home")

FOLDERS = {  # where the images lie, and how the table calls them
    "in splits": (("train", "valid", "test"), "{folder}/{i}.png"),
    "within images": (("images/train", "images/valid", "images/test"), "{folder}/{i}.png"),
    "in a family of names": (("seg_train", "seg_test"), "{folder}/{i}.png"),
    "in classes as well": (("train/cat", "train/dog", "test/cat", "test/dog"), "{folder}/{i}.png"),
    "with splits in each class": (("cat/train", "dog/train", "cat/test", "dog/test"), "{folder}/{i}.png"),
}


@pytest.mark.parametrize("how", FOLDERS)
def test_a_table_of_labels_keeps_the_splits_of_the_folders(home, how):
    folders, called = FOLDERS[how]
    kinds = {folder: ["train", "val", "test"].index(name) for folder in folders for name in ("train", "val", "test")
             if name in folder}  # fmt: skip
    rows = "file,label\n" + "".join(
        f"{called.format(folder=folder, i=i)},{('cat', 'dog')[i % 2]}\n" for folder in folders for i in range(4)
    )
    found = in_splits(examine(home, pictures(*folders) | {"labels.csv": rows.encode()}))
    assert len(found) == 4 * len(folders)
    for file, (_, split) in found.items():
        assert split == kinds[file.rpartition("/")[0]], file


def test_a_split_in_the_table_counts_before_that_of_the_folder(home):
    rows = "file,label,split\n" + "".join(
        f"{folder}/{i}.png,{'ab'[i % 2]},{'val' if folder == 'train' and i == 3 else ''}\n"
        for folder in ("train", "test") for i in range(4)
    )  # fmt: skip
    found = in_splits(examine(home, pictures("train", "test") | {"labels.csv": rows.encode()}))
    assert found["train/3.png"][1] == 1 and found["train/0.png"][1] == 0 and found["test/3.png"][1] == 2


def test_one_folder_called_like_a_split_is_none(home):
    rows = "file,label\n" + "".join(f"{f}/{i}.png,{'ab'[i % 2]}\n" for f in ("train", "bus") for i in range(4))
    found = examine(home, pictures("train", "bus") | {"labels.csv": rows.encode()})
    assert {split for _, split in in_splits(found).values()} == {-1}


@pytest.mark.parametrize("heading", ["Usage", "fold", "dataset", "data set", "phase", None])
def test_a_column_of_splits_is_one_under_any_heading_and_under_none(home, heading):
    names = ("Training", "valid", "test_set", "train")
    head = f"file,label,{heading}\n" if heading else ""
    rows = head + "".join(f"{i}.png,{'ab'[i % 2]},{names[i % 4]}\n" for i in range(8))
    found = in_splits(examine(home, pictures("images", each=8) | {"labels.csv": rows.encode()}))
    assert [found[f"images/{i}.png"] for i in range(4)] == [("a", 0), ("b", 1), ("a", 2), ("b", 0)]


def test_a_column_that_only_speaks_of_splits_is_told(home):
    rows = "file,label,Usage\n" + "".join(
        f"{i}.png,{'ab'[i % 2]},{('Training', 'PublicTest', 'PrivateTest')[i % 3]}\n" for i in range(9)
    )
    found = examine(home, pictures("images", each=9) | {"labels.csv": rows.encode()})
    assert {split for _, split in in_splits(found).values()} == {-1}
    assert "'PrivateTest', 'PublicTest', 'Training' in 'labels.csv' seem to be splits" in " ".join(found.notes)


@pytest.mark.parametrize("labels", ["train,test", "val,test"])
def test_labels_that_are_called_like_splits_stay_labels(home, labels):
    rows = "file,label\n" + "".join(f"{i}.png,{labels.split(',')[i % 2]}\n" for i in range(8))
    found = examine(home, pictures("images", each=8) | {"labels.csv": rows.encode()})
    assert {*found.classes} == {*labels.split(",")} and {split for _, split in in_splits(found).values()} == {-1}


def test_y_beside_x_is_a_coordinate(home):
    rows = "file,x,y,species\n" + "".join(f"{i}.png,{i},{i % 3},{'ab'[i % 2]}\n" for i in range(8))
    found = examine(home, pictures("images", each=8) | {"labels.csv": rows.encode()})
    assert found.classes == ("a", "b") and "are its column 'species'" in " ".join(found.notes)
    alone = "file,y\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(8))
    assert uploads.examine(home / "plain").classes == ("a", "b")
    (home / "plain/labels.csv").write_text(alone)
    assert uploads.examine(home / "plain").classes == ("a", "b")


@pytest.mark.parametrize("mark", [";", ",", "\t"])
def test_excel_s_own_first_line_is_no_row(home, mark):
    rows = f"sep={mark}\r\n" + "".join(mark.join(row) + "\r\n" for row in [
        ("file", "label", "remark"), *((f"{i}.png", "ab"[i % 2], "") for i in range(8))
    ])  # fmt: skip
    found = examine(home, pictures("images", each=8) | {"labels.csv": rows.encode()})
    assert found.classes == ("a", "b") and len(found) == 8 and not found.skipped
