"""Names and tables in any encoding, and tables of labels as people and competitions write them."""

from __future__ import annotations

import io
import itertools
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from bad_uploads import picture, zipped
from uploading import examine, in_splits, pictures

from peftcore import errors, uploads
from peftcore.uploads import encodings, table

pytestmark = pytest.mark.usefixtures("home")


# ------------------------------------------------------------------------------------------- names in a zip

WRITTEN = {
    "Japanese": ("cp932", ("ソース", "ソファ", "猫")),  # the first two hold a backslash in cp932
    "Japanese kanji": ("cp932", ("表紙", "能力", "十分")),
    "Japanese kana": ("cp932", ("りんご", "みかん")),
    "Chinese": ("gbk", ("猫", "狗")),
    "Chinese words": ("gbk", ("向日葵", "蒲公英", "玫瑰")),
    "traditional Chinese": ("cp950", ("蘋果", "香蕉")),
    "Korean": ("cp949", ("고양이", "강아지")),
    "Russian": ("cp866", ("кошка", "собака")),
    "Russian capitals": ("cp866", ("КОШКИ", "СОБАКИ")),
    "Russian of Windows": ("cp1251", ("кошка", "собака")),
    "German": ("cp437", ("Äpfel", "Hündin", "straße")),
    "French": ("cp437", ("café", "forêt")),
    "Spanish": ("cp437", ("niño", "niña")),
    "Portuguese": ("cp850", ("maçã", "pão")),
    "Polish": ("cp852", ("łoś", "żaba")),
}


def written(folder: Path, coding: str, names: tuple[str, ...]) -> Path:
    """A zip with names in an unstated encoding, as old tools write them."""
    made, stand_ins = io.BytesIO(), {}
    with zipfile.ZipFile(made, "w") as archive:
        for number, name in enumerate(names):
            stand_ins[chr(65 + number) * len(name.encode(coding))] = name.encode(coding)
            for i in range(4):
                archive.writestr(f"{[*stand_ins][-1]}/{i}.png", picture(10 * number + i))
    data = made.getvalue()
    for stand_in, raw in stand_ins.items():
        data = data.replace(stand_in.encode() + b"/", raw + b"/")
    (folder / "set.zip").write_bytes(data)
    return folder / "set.zip"


@pytest.mark.parametrize("language", WRITTEN)
def test_names_in_a_zip_in_any_encoding(home, language):
    coding, names = WRITTEN[language]
    found = uploads.examine(written(home, coding, names))
    assert {*found.classes} == {*names} and len(found) == 4 * len(names)
    assert f"({coding})" in found.notes[0] and "pack the images with a tool that writes UTF-8" in found.notes[0]


@pytest.mark.parametrize("names", [("ソース", "猫"), ("кошка", "Äpfel"), ("chat", "forêt")])
def test_names_in_utf8_are_not_guessed_marked_or_not(home, names):
    marked = uploads.examine(zipped(home, pictures(*names)))
    bare = uploads.examine(written(home, "utf-8", names))
    assert {*marked.classes} == {*bare.classes} == {*names} and not marked.notes and not bare.notes


def test_a_name_in_info_zip_s_field_counts_before_the_other(home):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number, (plain, name) in enumerate((("a", "猫"), ("b", "狗"))):
            for i in range(4):
                entry = zipfile.ZipInfo(f"{plain}/{i}.png")
                field = b"\1" + struct.pack("<L", zlib.crc32(entry.filename.encode())) + f"{name}/{i}.png".encode()
                entry.extra = struct.pack("<2H", 0x7075, len(field)) + field
                archive.writestr(entry, picture(10 * number + i))
    found = uploads.examine(made)
    assert {*found.classes} == {"猫", "狗"} and not found.notes


def test_the_rest_of_a_guess():
    guess = encodings.guess([b"\xb0", b"\xb1"], encodings.OF_ARCHIVES, "cp437")
    assert guess.name == "cp437", "where nothing is likely, what the standard says"


TABLES = {
    "Japanese": ("cp932", ("ソース", "猫")),
    "Chinese": ("gbk", ("玫瑰", "向日葵")),
    "Korean": ("cp949", ("고양이", "강아지")),
    "Cyrillic": ("cp1251", ("кошка", "собака")),
    "Western European": ("cp1252", ("Bär", "Käfer")),
    "Central European": ("cp1250", ("łoś", "żaba")),
}


@pytest.mark.parametrize("language", TABLES)
def test_tables_in_any_encoding(home, language):
    coding, names = TABLES[language]
    rows = "file;Class Name\n" + "".join(f"{i}.png;{names[i % 2]}\n" for i in range(6))
    found = uploads.examine(zipped(home, pictures("images", each=6) | {"labels.csv": rows.encode(coding)}))
    assert {*found.classes} == {*names}
    assert f"'labels.csv' is not UTF-8 and was read as {language} ({coding})." in found.notes


# ------------------------------------------------------------------------------------------- tables of splits


def kaggle(train: str = "train.csv", test: str = "test.csv", test_rows: str = "id\n0\n1\n", folders=("train", "test")):
    """A competition's files: the same names in both folders, labels for one of them."""
    rows = "id,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(12))
    empty = "id,label\n" + "0,a\n1,a\n"
    files = pictures(folders[0], each=12) | pictures(folders[1], each=2)
    return files | {train: rows.encode(), test: test_rows.encode(), "sample_submission.csv": empty.encode()}


@pytest.mark.parametrize(
    "names", [("train.csv", "test.csv"), ("Train.csv", "Test.csv"), ("train_labels.csv", "test_ids.csv")]
)
@pytest.mark.parametrize("test_rows", ["id\n0\n1\n", "id,width\n0,6\n1,6\n"], ids=["names", "widths"])
def test_a_competition_s_tables(home, names, test_rows):
    """The test table has no labels: its images are left out, and never get the training images' labels."""
    found = examine(home, kaggle(*names, test_rows))
    assert found.classes == ("a", "b") and {file.partition("/")[0] for file in found.files} == {"train"}
    assert {*found.given.tolist()} == {0} and len(found) == 12
    assert {f"test/{i}.png" for i in range(2)} <= {one.file for one in found.skipped}


@pytest.mark.parametrize(
    "folders", [("train", "test"), ("train_images", "test_images"), ("images/Train", "images/Test")]
)
def test_tables_for_each_split_name_the_files_of_their_split(home, folders):
    found = examine(home, kaggle(test_rows="id,label\n0,b\n1,a\n", folders=folders))
    placed = in_splits(found)
    assert placed[f"{folders[0]}/0.png"] == ("a", 0) and placed[f"{folders[1]}/0.png"] == ("b", 2) and len(placed) == 14


def test_class_numbers_that_are_names_of_files_too(home):
    """As in the traffic signs of GTSRB: class folders for training, one folder and a table for testing."""
    files = pictures("Train/0", "Train/1") | pictures("Test") | pictures("Meta", each=2)
    train = "".join(f"6,{c},Train/{c}/{i}.png\n" for c in (0, 1) for i in range(4))
    test = "".join(f"6,{1 - i % 2},Test/{i}.png\n" for i in range(4))
    tables = {"Train.csv": train, "Test.csv": test, "Meta.csv": "6,0,Meta/0.png\n6,1,Meta/1.png\n"}
    found = examine(home, files | {name: ("Width,ClassId,Path\n" + rows).encode() for name, rows in tables.items()})
    placed = in_splits(found)
    assert placed["Test/0.png"] == ("1", 2) and placed["Train/0/0.png"] == ("0", 0) and len(placed) == 12


@pytest.mark.parametrize("lists", [("train800", "val200", "train800val200"), ("train", "val", "trainval")])
@pytest.mark.parametrize("folders", [("train", "val"), ("train800", "val200"), ("all", "all")])
def test_a_list_of_train_and_val_together_adds_nothing_to_theirs_and_is_training_without_them(home, lists, folders):
    """As VTAB-1K and PASCAL VOC come."""
    files = {"images/test/9.png": picture(9), "test.txt": b"images/test/9.png a"}
    rows = [[f"images/{folder}/{2 * part + i}.png {'ab'[i]}" for i in range(2)] for part, folder in enumerate(folders)]
    files |= {row.split()[0]: picture(n) for n, row in enumerate(itertools.chain(*rows))}
    for name, part in zip(lists, (*rows, rows[0] + rows[1]), strict=True):
        files[f"{name}.txt"] = "\n".join(part).encode()
    found = examine(home, files)
    assert not found.skipped and f"'{lists[2]}.txt' is not read: train and val have tables of their own." in found.notes
    given = in_splits(found)
    assert [given[row.split()[0]] for part in rows for row in part] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    for name in lists[:2]:
        del files[f"{name}.txt"]
    found = uploads.examine(zipped(home, files))
    assert not found.skipped and sorted(split for _, split in in_splits(found).values()) == [0, 0, 0, 0, 2]


@pytest.mark.parametrize("rows", ["", "id,label\n", "id,label\nx,a\n"])
def test_without_labels_in_the_table_the_folders_decide(home, rows):
    found = examine(home, pictures("train/a", "train/b") | {"train.csv": rows.encode()})
    assert found.kind == "splits" and found.classes == ("a", "b") and len(found) == 8


def test_a_table_of_all_and_an_empty_answer_beside_it(home):
    rows = "id,breed\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(6))
    files = pictures("images", each=6) | {"labels.csv": rows.encode(), "sample_submission.csv": b"id,a,b\n0,1,0\n"}
    assert len(examine(home, files)) == 6


REPEATED = {  # where the images lie, and what a table calls them
    "a folder around all": ("mine/", ""),
    "paths on another machine": ("", "/content/data/"),
    "paths on another machine, and a folder around all": ("mine/", "C:\\data\\"),
}


@pytest.mark.parametrize("how", REPEATED)
def test_names_that_repeat_in_folders_are_told_apart_by_their_paths(home, how):
    """The folders are patients, not classes: a table that is passed over would leave wrong labels."""
    around, called = REPEATED[how]
    rows = "image,diagnosis\n" + "".join(
        f"{called}{p}/{i}.png,{'ill' if i % 2 else 'well'}\n" for p in "pq" for i in range(4)
    )
    files = {f"{around}{name}": data for name, data in pictures("p", "q").items()} | {f"{around}t.csv": rows.encode()}
    found = uploads.examine(zipped(home, files))
    assert found.kind == "table" and found.classes == ("ill", "well") and len(found) == 8 and not found.skipped


def test_an_image_of_another_split_is_another_image():
    known = table.Known([f"test/{p}/{i}.png" for p in "pq" for i in range(4)])
    assert known.find("/data/train/p/0.png") is None and known.find("train/p/0.png") is None
    assert known.find("p/0.png") == known.find("/data/test/p/0.png") == "test/p/0.png"


def test_an_empty_answer_beside_folders_of_classes_is_no_table_of_theirs(home):
    rows = "file,species\n" + "".join(f"{i}.png,maize\n" for i in range(4))
    files = pictures("train/maize", "train/beet") | {"test/0.png": picture(99), "sample_submission.csv": rows.encode()}
    assert examine(home, files).classes == ("beet", "maize")


def test_a_decimal_comma_separates_nothing(home):
    rows = "file;label;score\r\n" + "".join(f"{i}.png;{'ab'[i % 2]};0,{i}3\r\n" for i in range(8))
    found = examine(home, pictures("images", each=8) | {"labels.csv": rows.encode()})
    assert found.classes == ("a", "b") and len(found) == 8


def test_labels_in_a_spreadsheet_are_asked_for_as_csv(home):
    with pytest.raises(errors.BadData, match="If 'labels.xlsx' has the labels, save it as CSV"):
        uploads.examine(zipped(home, pictures("images") | {"labels.xlsx": b"PK\3\4"}))


def test_the_line_of_a_quote_that_never_closes_is_named(home):
    rows = 'file,label\n0.png,a\n1.png,b\n2.png,a\n3.png,"b\n4.png,a\n'
    with pytest.raises(errors.BadData, match="cannot be read at line 5 "):
        uploads.examine(zipped(home, pictures("images", each=5) | {"labels.csv": rows.encode()}))


def test_a_line_with_more_cells_is_named(home):
    rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(20)) + "20.png,cat, black\n"
    with pytest.raises(errors.BadData, match="cannot be read at line 21 .*quotes around cells that contain ','"):
        uploads.examine(zipped(home, pictures("images", each=21) | {"labels.csv": rows.encode()}))
