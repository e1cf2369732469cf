"""Uploads as people make them, kind by kind: the result of each spelling, encoding, format and habit."""

from __future__ import annotations

import io
import itertools
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from bad_uploads import picture, tarred, zipped
from PIL import Image

from peftcore import errors, uploads
from peftcore.task import load_task
from peftcore.uploads import encodings, kinds
from peftcore.uploads.splits import split_of, splits_of


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path / "home"))
    return tmp_path


def pictures(*folders: str, each: int = 4, ending: str = ".png") -> dict[str, bytes]:
    """Different images, `each` in every folder, called 0, 1, ... in each."""
    number = itertools.count()
    return {f"{folder}/{i}{ending}": picture(next(number)) for folder in folders for i in range(each)}


def on_disk(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def examine(home: Path, files: dict[str, bytes]) -> uploads.Survey:
    """What these files give as a zip; a tar and the folder itself give the same."""
    found = uploads.examine(zipped(home, files))
    for other in (tarred(home, files), on_disk(home / "plain", files)):
        again = uploads.examine(other)
        assert (again.classes, again.kind, again.notes) == (found.classes, found.kind, found.notes)
        assert {*again.files} == {*found.files} and {*again.skipped} == {*found.skipped}
    return found


def in_splits(found: uploads.Survey) -> dict[str, tuple[str, int]]:
    """By file, its class and its split."""
    return {
        file: (found.classes[label], int(split))
        for file, label, split in zip(found.files, found.labels, found.given, strict=True)
    }


# ------------------------------------------------------------------------------------------- folders of splits

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


def test_labels_in_a_spreadsheet_are_asked_for_as_csv(home):
    with pytest.raises(errors.BadData, match="If 'labels.xlsx' has the labels, save it as CSV"):
        uploads.examine(zipped(home, pictures("images") | {"labels.xlsx": b"PK\3\4"}))


def test_a_line_with_more_cells_is_named(home):
    rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(20)) + "20.png,cat, black\n"
    with pytest.raises(errors.BadData, match="cannot be read at line 21 .*quotes around cells that contain ','"):
        uploads.examine(zipped(home, pictures("images", each=21) | {"labels.csv": rows.encode()}))


# ------------------------------------------------------------------------------------------- what is an image


def saved(image: Image.Image, form: str, **how) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **how)
    return out.getvalue()


def ftyp(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0" * 200


UNREAD = {  # name: bytes, and what it is called
    "photo.HEIC": (ftyp(b"heic"), "HEIC"),
    "photo.heif": (ftyp(b"mif1"), "HEIC"),
    "renamed.jpg": (ftyp(b"heic"), "HEIC"),  # as phones' share menus make them
    "no ending": (ftyp(b"heix"), "HEIC"),
    "shot.CR2": (b"II*\0\x10\0\0\0CR" + b"\0" * 200, "a camera's raw format"),
    "shot.NEF": (b"MM\0*" + b"\0" * 200, "a camera's raw format"),
    "scan.dcm": (bytes(128) + b"DICM" + b"\0" * 99, "DICOM"),
    "art.psd": (b"8BPS\0\1" + b"\0" * 99, "Photoshop"),
    "page.pdf": (b"%PDF-1.4\n", "PDF"),
    "new.jxl": (b"\xff\x0a" + b"\0" * 99, "JPEG XL"),
    "array.npy": (b"\x93NUMPY\1\0" + b"\0" * 99, "a NumPy array"),
    "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_formats_that_are_not_read_are_named_with_the_remedy(home, name):
    data, called = UNREAD[name]
    why = f"it is {called}, which cannot be read here; convert it to JPEG or PNG"
    found = examine(home, pictures("a", "b") | {f"a/{name}": data})
    assert {*found.skipped} == {(f"a/{name}", why)}
    with pytest.raises(errors.BadData, match=why):
        uploads.examine(zipped(home, {f"{folder}/{i}{name}": data for folder in "ab" for i in range(3)}))


READ = {  # name: image as bytes, and its colour
    "a.avif": (lambda: saved(Image.new("RGB", (8, 8), (255, 0, 0)), "AVIF"), (255, 0, 0)),
    "b.webp": (lambda: saved(Image.new("RGB", (8, 8), (255, 0, 0)), "WEBP"), (255, 0, 0)),
    "c.jp2": (lambda: saved(Image.new("RGB", (8, 8), (255, 0, 0)), "JPEG2000"), (255, 0, 0)),
    "d.tif": (lambda: saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    "e.gif": (lambda: saved(Image.new("RGB", (8, 8), (255, 0, 0)).convert("P"), "GIF"), (255, 0, 0)),
    "f.png": (lambda: saved(Image.new("LA", (8, 8), (0, 0)), "PNG"), (255, 255, 255)),
    "g.tif": (lambda: saved(Image.fromarray(np.full((8, 8), 0x80FF, np.uint16)), "TIFF"), (128, 128, 128)),
    "h.png": (lambda: deep_png(np.full((8, 8, 3), 0x80FF)), (128, 128, 128)),
    "i": (lambda: saved(Image.new("L", (8, 8), 7), "PNG"), (7, 7, 7)),  # no ending
    "j.jpg_large": (lambda: saved(Image.new("RGB", (8, 8), (255, 0, 0)), "JPEG"), (255, 0, 0)),
    "k.JPG": (lambda: saved(Image.new("L", (8, 8), 7), "PNG"), (7, 7, 7)),  # of another kind than it says
}


def deep_png(values: np.ndarray) -> bytes:
    """A PNG with 16 bits per channel, (H, W, 3), which Pillow itself cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_formats_that_are_read_are_read_by_folders_too(home):
    files = pictures("b") | {f"a/{name}": make() for name, (make, _) in READ.items()}
    found = examine(home, files)
    assert len(found) == len(files) and not found.skipped
    task = load_task(f"folder:{home / 'plain'}?size=8")
    seen = {
        path.name: split.images[i].astype(int)
        for split in (task.train, task.val, task.test)
        for i, path in enumerate(split.images.files)
        if path.parent.name == "a"
    }
    assert seen.keys() == READ.keys()
    for name, (_, colour) in READ.items():
        assert np.abs(seen[name] - colour).max() <= 6, name


@pytest.mark.parametrize("size", [1, 8])
def test_images_of_several_pictures_are_noted(home, size):
    frames = [Image.new("RGB", (size, size), (i, 0, 0)) for i in (10, 90)]
    more = {
        "a/loop.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "b/stack.tif": saved(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
    }
    note = "There are 2 images with more than one picture in the file: only the first is read."
    assert note in examine(home, pictures("a", "b") | more).notes


# ------------------------------------------------------------------------------------------- values of 16-bit images

DEPTHS = {8: 255, 10: 1023, 12: 4095, 14: 16_383}


@pytest.mark.parametrize("bits", DEPTHS)
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_fewer_bits_in_16_are_noted_and_read_as_such(home, bits, form):
    """They would be almost black, and at 8 bits all duplicates."""
    values = np.random.default_rng(bits).integers(0, DEPTHS[bits] + 1, (8, 8, 8)).astype(np.uint16)
    values[:, 0, 0] = DEPTHS[bits]
    files = {f"{'ab'[i % 2]}/{i}.{form.lower()}": saved(Image.fromarray(one), form) for i, one in enumerate(values)}
    found = examine(home, files)
    assert f"There are 8 images of 16 bits with no value above {DEPTHS[bits]:,} of 65,535" in found.notes[0]
    assert f"bits={bits}" in found.notes[0] and found.bits == bits and not found.duplicates
    for name in (uploads.keep(found, "deep").task, f"folder:{home / 'plain'}"):
        task = load_task(f"{name}?size=8{'&bits=' + str(bits) if name.startswith('folder') else ''}")
        seen = {path.stem: task.train.images[i] for i, path in enumerate(task.train.images.files)}
        for number, image in seen.items():
            assert (image[..., 0] == values[int(number)] >> (bits - 8)).all()
    assert (load_task(f"folder:{home / 'plain'}?size=8").train.images[0] < 1 + (DEPTHS[bits] >> 8)).all()


def test_all_16_bits_need_no_note(home):
    values = np.random.default_rng(0).integers(0, 2**16, (8, 8, 8)).astype(np.uint16)
    files = {f"{'ab'[i % 2]}/{i}.png": saved(Image.fromarray(one), "PNG") for i, one in enumerate(values)}
    found = examine(home, files)
    assert not found.notes and found.bits == 16


def test_fewer_bits_in_colours_of_16_are_noted_with_the_remedy(home):
    values = np.random.default_rng(0).integers(0, 4096, (8, 8, 8, 3))
    found = examine(home, {f"{'ab'[i % 2]}/{i}.png": deep_png(one) for i, one in enumerate(values)})
    assert "almost black: stretch them to the whole range, or convert them to 8 bits" in " ".join(found.notes)


def test_one_picture_for_the_probes_may_have_fewer_bits(home):
    values = np.random.default_rng(0).integers(0, 4096, (16, 16)).astype(np.uint16)
    code = uploads.keep_picture(io.BytesIO(saved(Image.fromarray(values), "PNG")))
    assert uploads.picture(code, 16).max() > 200


@pytest.mark.parametrize("mode, pixels", [("F", 0.5), ("I", 2**20), ("I", -5)])
def test_pixels_without_a_range_are_left_out_with_the_remedy(home, mode, pixels):
    values = np.full((4, 4), pixels, np.float32 if mode == "F" else np.int32)
    found = examine(home, pictures("a", "b") | {"a/x.tif": saved(Image.fromarray(values), "TIFF")})
    [(file, why)] = found.skipped
    assert file == "a/x.tif" and "only 8 and 16 bits have a fixed range; convert it to 8" in why


# ------------------------------------------------------------------------------------------- names of classes

ALIKE = {
    "case": ("Cat", "cat"),
    "a space": ("polar bear", "polarbear"),
    "a dash": ("polar-bear", "polar_bear"),
    "width": ("ｃａｔ", "cat"),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_nearly_equal_classes_are_noted_with_the_remedy(home, kind):
    one, other = ALIKE[kind]
    rows = "".join(f"{i}.png,{(one, other, 'dog')[i % 3]}\n" for i in range(12))
    by_table = uploads.examine(zipped(home, pictures("images", each=12) | {"labels.csv": rows.encode()}))
    by_split = uploads.examine(zipped(home, pictures(f"train/{one}", "train/dog", f"test/{other}", "test/dog")))
    for found in (by_table, by_split):
        assert {*found.classes} == {one, other, "dog"}
        [note] = [note for note in found.notes if "kept apart" in note]
        assert f"'{one}'" in note and f"'{other}'" in note and "give them the same name" in note
    task = load_task(f"folder:{on_disk(home / 'set', pictures(one, other, 'dog'))}?size=8")
    assert "kept apart" in task.description


def test_punctuation_alone_names_classes_too(home):
    assert not uploads.examine(zipped(home, pictures("+", "-"))).notes


# ------------------------------------------------------------------------------------------- what lies beside

BESIDE = {
    "README.md": "it is not an image that can be read",
    "README": "it is not an image that can be read",
    "README.txt": "it is neither an image nor a table",
    "LICENSE.txt": "it is neither an image nor a table",
    "classes.txt": "it is neither an image nor a table",
    "data.yaml": "it is not an image that can be read",
    "info.json": "it is not an image that can be read",
    "set.xml": "it is not an image that can be read",
    "code.py": "it is not an image that can be read",
    "more.zip": "it is an archive within this one",
}
NOTHING = (
    ".DS_Store", "images/.DS_Store", "images/cat/_DS_Store",
    "__MACOSX/images/cat/._0.png", "images/cat/._1.png", "images/cat/Thumbs.db",
    "images/Thumbs.db", "desktop.ini", ".git/config", "images/cat/.ipynb_checkpoints/0-checkpoint.png", ".hidden.png",
    "images/@eaDir/cat/0.png",
)  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_a_file_beside_the_images_changes_no_class(home, name):
    found = examine(home, pictures("images/cat", "images/dog") | {name: b"hello"})
    assert found.classes == ("cat", "dog") and [one.file for one in found.skipped] == [name]
    assert found.skipped[0].why.startswith(BESIDE[name])
    task = load_task(f"folder:{home / 'plain'}?size=8")
    assert task.classes == found.classes and "1 other file is left out" in task.description


def test_what_systems_leave_behind_is_nothing(home):
    found = examine(home, pictures("images/cat", "images/dog") | dict.fromkeys(NOTHING, picture(999)))
    assert found.classes == ("cat", "dog") and len(found) == 8 and not found.skipped and not found.notes
    assert load_task(f"folder:{home / 'plain'}?size=8").classes == ("cat", "dog")


def test_kinds_do_not_overlap():
    endings = (*kinds.IMAGES, *kinds.TABLES, *kinds.ARCHIVES, *kinds._UNREAD)
    assert len({*endings}) == len(endings)
