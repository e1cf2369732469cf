"""Users' own images: every packing gives the same set, with its splits, tables and duplicates, kept under its name."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bad_uploads import good, picture, tarred, zipped
from PIL import Image
from uploading import on_disk

from peftcore import errors, uploads
from peftcore.task import load_task
from peftcore.uploads import decoding, layout, names, placed, survey, table
from peftcore.uploads.division import divide
from peftcore.uploads.limits import Limits
from peftcore.uploads.sets import slug


@pytest.mark.parametrize(
    "name, wanted",
    [("a/b.png", ("a", "b.png")), ("./a//b.png", ("a", "b.png")), ("a\\b.png", ("a", "b.png")), ("a/.DS_Store", None),
     ("__MACOSX/a/._b.png", None), ("a/Thumbs.db", None), (".", None), ("a/x..b.png", ("a", "x..b.png")),
     ("\u05d7\u05ea\u05d5\u05dc/1.png", ("\u05d7\u05ea\u05d5\u05dc", "1.png")), ("e\u0301.png", ("\u00e9.png",)),
     ("\u0645\u06cc\u200c\u062e/1.png", ("\u0645\u06cc\u200c\u062e", "1.png"))],
)  # fmt: skip
def test_names_as_they_are_kept(name, wanted):
    assert names.parts(name) == wanted


def test_limits_are_settings(monkeypatch):
    monkeypatch.setenv("HEADROOM_UPLOAD_FILES", "7")
    monkeypatch.setenv("HEADROOM_UPLOAD_BYTES", "2e9")
    assert (Limits.here().files, Limits.here().bytes) == (7, 2 * 10**9)
    for bad in ("many", "-1", "1.5", "1e"):
        monkeypatch.setenv("HEADROOM_UPLOAD_FILES", bad)
        with pytest.raises(
            errors.InvalidSetting, match=f"FILES={bad} is not possible; it must be a whole number, at least 1"
        ):
            Limits.here()
    monkeypatch.setenv("HEADROOM_UPLOAD_FILES", "7")
    monkeypatch.setenv("HEADROOM_UPLOAD_TABLE", "1e")  # the one that is wrong is named, not the first
    with pytest.raises(errors.InvalidSetting, match="HEADROOM_UPLOAD_TABLE=1e is not"):
        Limits.here()


def test_the_server_takes_what_the_limits_allow():
    config = (Path(__file__).resolve().parents[2] / ".streamlit/config.toml").read_text()
    assert int(re.search(r"maxUploadSize = (\d+)", config)[1]) * 2**20 == Limits().archive


# ------------------------------------------------------------------------------------------- layouts


def test_every_packing_of_the_same_images_gives_the_same_survey(stocked, tmp_path):
    plain = None
    wrapped = {f"my set/deeper/{name}": data for name, data in good("abc").items()}
    noise = {"my set/.DS_Store": b"x", "__MACOSX/my set/._0.png": b"x", "my set/deeper/a/Thumbs.db": b"x"}
    for number, make in enumerate(
        (lambda f: zipped(f, good("abc")), lambda f: zipped(f, wrapped | noise, how=zipfile.ZIP_STORED),
         lambda f: tarred(f, good("abc")), lambda f: tarred(f, wrapped | noise, "x.tar.gz"),
         lambda f: tarred(f, wrapped, "x.tar.bz2"), lambda f: tarred(f, good("abc"), "x.tar.xz"),
         lambda f: zipped(f, good("abc")).rename(f / "wrong.tar.gz"),
         lambda f: tarred(f, good("abc"), format=tarfile.PAX_FORMAT))
    ):  # fmt: skip
        (folder := tmp_path / str(number)).mkdir()
        found = uploads.examine(make(folder))
        shown = [(Path(file).name, found.classes[label]) for file, label in zip(found.files, found.labels, strict=True)]
        plain = plain or shown
        assert shown == plain and found.classes == ("a", "b", "c") and not found.skipped and found.kind == "folders"
        assert (found.sizes == (6, 5)).all() and found.bytes == sum(map(len, good("abc").values()))
        found.discard()
    loose = [(name, io.BytesIO(data)) for name, data in good("abc").items()]
    assert len(uploads.examine(loose)) == len(plain)


def test_names_in_any_script_survive(stocked, tmp_path):
    files = {
        f"{name}/1{i}.png": picture(hash((name, i)) % 999)
        for name in ("\u732b", "\u05db\u05dc\u05d1", "cr\u00e8me")
        for i in range(3)
    }
    for make in (zipped, tarred):
        kept = uploads.keep(uploads.examine(make(tmp_path, files)), "scripts")
        assert {*kept.classes} == {"\u732b", "\u05db\u05dc\u05d1", "cr\u00e8me"} and len(
            load_task(f"upload:{kept.name}").train
        )


def split_set() -> dict[str, bytes]:
    parts = (("Train", 6), ("valid", 2), ("TEST", 3))
    return {f"set/{p}/{c}/{i}.png": picture(hash((p, c, i)) % 9999) for p, n in parts for c in "ab" for i in range(n)}


def test_splits_are_taken_from_their_folders_and_missing_ones_drawn(stocked, tmp_path):
    kept = uploads.keep(uploads.examine(zipped(tmp_path, split_set())), "given")
    task = load_task(f"upload:{kept.name}?seed=5")
    for split, folder in ((task.train, "Train"), (task.val, "valid"), (task.test, "TEST")):
        assert {path.parts[-3] for path in split.images.files} == {folder}
    drawn = load_task(f"upload:{kept.name}?split=drawn")
    assert {path.parts[-3] for path in drawn.train.images.files} == {"Train", "valid", "TEST"}
    (tmp_path / "two").mkdir()
    part = {name: data for name, data in split_set().items() if "valid" not in name}
    found = uploads.examine(zipped(tmp_path / "two", part))
    assert "There is no val folder; it is drawn from training." in found.notes
    task = load_task(f"upload:{uploads.keep(found, 'part').name}")
    assert len(task.val) == 2 and len(task.train) == 10 and {p.parts[-3] for p in task.test.images.files} == {"TEST"}


TABLES = {
    "comma": "0.png,x\n1.png,y\n2.png,x\n3.png,y\n",
    "header": "file,label\n0.png,x\n1.png,y\n2.png,x\n3.png,y\n",
    "other way": "label;file\nx;0.png\ny;1.png\nx;2.png\ny;3.png\n",
    "tabs, Windows": "0.png\tx\r\n1.png\ty\r\n2.png\tx\r\n3.png\ty\r\n",
    "pipes and quotes": '"0.png"|"x"\n"1.png"|"y"\n2.png|x\n3.png|y\n',
    "paths": "pics/0.png,x\npics/1.png,y\n./pics/2.png,x\npics\\3.png,y\n",
    "full paths": "/home/me/pics/0.png,x\nC:\\pics\\1.png,y\npics/2.png,x\npics/3.png,y\n",
    "no endings": "id,breed\n0,x\n1,y\n2,x\n3,y\n",
    "spaces": "0.png x\n1.png y\n2.png x\n3.png y\n",
    "more columns": "id,width,filename,label\n7,6,0.png,x\n8,6,1.png,y\n9,6,2.png,x\n1,6,3.png,y\n",
    "twice the same": "0.png,x\n1.png,y\n2.png,x\n3.png,y\n0.png,x\n",
    "blank lines": "\n0.png,x\n\n1.png,y\n2.png,x\n ,\n3.png,y\n\n",
}  # fmt: skip


@pytest.mark.parametrize("coding", ("utf-8", "utf-8-sig", "utf-16"))
@pytest.mark.parametrize("name", TABLES)
def test_tables_in_every_shape_say_the_same(name, coding, tmp_path):
    (tmp_path / "t.csv").write_bytes(TABLES[name].encode(coding))
    files = [f"pics/{i}.png" for i in range(4)]
    rows, _, note = table.read(tmp_path / "t.csv", "t.csv", table.Known(files), Limits())
    found = layout.read(tmp_path, [*files, "t.csv"], Limits())
    assert [(one.file, one.label) for one in found.placed] == [(f"pics/{i}.png", "xyxy"[i]) for i in range(4)]
    assert found.kind == "table" and not found.skipped and not note and len(rows) >= 4


def test_tables_may_say_splits_or_be_one_for_each(stocked, tmp_path):
    files = {f"img/{i}.png": picture(i) for i in range(12)}
    where = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    rows = [f"{i}.png,{'xy'[i % 2]},{where[i]}" for i in range(12)]
    one = {**files, "labels.csv": ("name,class,split\n" + "\n".join(rows)).encode()}
    three = files | {
        f"{s}.csv": "".join(f"{i}.png,{'xy'[i % 2]}\n" for i in range(12) if where[i] == s).encode() for s in {*where}
    }
    for one_set in (one, three):
        kept = uploads.keep(uploads.examine(zipped(tmp_path, one_set)), "table")
        task = load_task(f"upload:{kept.name}")
        assert [len(part) for part in (task.train, task.val, task.test)] == [6, 2, 4]


def test_contradicting_tables_are_reported_with_both_lines(stocked, tmp_path):
    files = {f"img/{i}.png": picture(i) for i in range(6)}
    rows = "".join(f"{i}.png,{'xy'[i % 2]}\n" for i in range(6))
    both = files | {"train.csv": rows.encode(), "test.csv": b"file,label\n4.png,x\n"}
    sentence = "line 5 of 'train.csv' says 'x' in train, line 2 of 'test.csv' says 'x' in test; keep one"
    with pytest.raises(errors.BadData, match=sentence):
        uploads.examine(zipped(tmp_path, both))
    with pytest.raises(errors.BadData, match="line 1 of 'a.csv' says 'x', line 7 of 'a.csv' says 'y'; keep one"):
        uploads.examine(zipped(tmp_path, files | {"a.csv": (rows + "0.png,y\n").encode()}))


def test_split_folders_are_not_classes(stocked, tmp_path):
    """Also with another folder beside them, and with the training folder missing."""
    train, test = ({f"{split}/{name}": data for name, data in good().items()} for split in ("train", "Test"))
    beside = {"docs/readme.txt": b"hello", "sample/0.png": picture(9)}
    classes = uploads.examine(zipped(tmp_path, good())).classes
    found = uploads.examine(zipped(tmp_path, train | test | beside))
    assert found.kind == "splits" and found.classes == classes == uploads.examine(zipped(tmp_path, train)).classes
    assert {one.file for one in found.skipped} == beside.keys()
    val = {name.replace("Test", "val"): data for name, data in test.items()}
    for some in (test, test | val):
        with pytest.raises(
            errors.BadData, match="classes in test.*, but none to train on; rename one of them to train"
        ):
            uploads.examine(zipped(tmp_path, some))
    vehicles = {f"{kind}/old/{i}.png": picture(i) for i, kind in enumerate(("train", "car", "bus") * 3)}
    assert uploads.examine(zipped(tmp_path, vehicles)).classes == ("bus", "car", "train")


def test_folders_count_where_a_table_is_about_something_else(stocked, tmp_path):
    rows = "file,width\n" + "".join(f"{name},6\n" for name in good())
    found = uploads.examine(zipped(tmp_path, good() | {"sizes.csv": rows.encode()}))
    assert found.kind == "folders" and [file for file, _ in found.skipped] == ["sizes.csv"]
    rows = "file,label\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(good()))
    found = uploads.examine(zipped(tmp_path, good() | {"labels.csv": rows.encode()}))
    assert found.kind == "table" and found.classes == ("0", "1")


def test_classes_stand_in_the_order_people_count():
    found = [placed.Placed(f"{name}.png", name, -1) for name in ("10", "9", "b", "a10", "a9", "B")]
    assert placed.classes_of(found) == ("9", "10", "a9", "a10", "B", "b")


# ------------------------------------------------------------------------------------------- duplicates, keeping


def test_duplicates_are_found_across_classes_and_splits_and_may_go(stocked, tmp_path):
    files = split_set()
    files["set/TEST/a/0.png"] = files["set/Train/a/1.png"]  # in training and in test
    files["set/Train/b/3.png"] = files["set/Train/b/2.png"]  # twice in training
    files["set/Train/b/5.png"] = files["set/Train/a/5.png"]  # of two classes
    found = uploads.examine(zipped(tmp_path, files))
    groups = {
        tuple(sorted(found.files[i][4:] for i in d.files)): (d.across_splits, d.across_classes)
        for d in found.duplicates
    }
    assert groups == {
        ("TEST/a/0.png", "Train/a/1.png"): (True, False), ("Train/b/2.png", "Train/b/3.png"): (False, False),
        ("Train/a/5.png", "Train/b/5.png"): (False, True),
    }  # fmt: skip
    kept = uploads.keep(found, "once", drop_duplicates=True)
    gone = {*files} - {*kept.files}
    assert gone == {f"set/{name}" for name in ("Train/a/1.png", "Train/b/3.png", "Train/a/5.png", "Train/b/5.png")}
    on_disk = {path.relative_to(kept.folder).as_posix() for path in kept.folder.rglob("*.png")}
    assert on_disk == {*kept.files} and kept.left_out == 4


def test_one_picture_in_other_files_is_a_duplicate(stocked, tmp_path):
    """The same pixels as PNG, BMP, palette PNG, or rotated and marked to be rotated back; changing one pixel counts."""
    pixels = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3) // 64 * 64  # few colours, for the palette
    image, other = Image.fromarray(pixels), pixels.copy()
    other[0, 0, 0] ^= 1
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter, clockwise

    def saved(image, kind, **more):
        image.save(out := io.BytesIO(), kind, **more)
        return out.getvalue()

    files = {
        "a/1.png": saved(image, "PNG"),
        "a/2.bmp": saved(image, "BMP"),
        "a/3.png": saved(image.quantize(64), "PNG"),
        "b/4.png": saved(image.rotate(90, expand=True), "PNG", exif=turned),
        "b/5.png": saved(Image.fromarray(other), "PNG"),
    }
    found = uploads.examine(zipped(tmp_path, files))
    assert [sorted(found.files[i] for i in one.files) for one in found.duplicates] == [sorted(files)[:4]]
    assert found.duplicates[0].across_classes


def test_a_name_is_never_taken_twice_and_a_set_can_go(stocked, tmp_path):
    first = uploads.kept()
    sets = [uploads.keep(uploads.examine(zipped(tmp_path, good())), "My set!") for _ in range(3)]
    assert [one.name for one in sets] == ["my-set", "my-set-2", "my-set-3"]
    uploads.remove("my-set-2")
    assert uploads.kept() == sorted([*first, "my-set", "my-set-3"]) and not list(survey.shelf().glob(".*"))
    with pytest.raises(errors.UnknownName, match="There is no kept set of images 'my-set-2'"):
        load_task("upload:my-set-2")
    with pytest.raises(errors.UnknownName):
        uploads.remove("../../etc")


def test_what_was_kept_or_discarded_cannot_be_kept_again(stocked, tmp_path):
    for ending in (lambda one: uploads.keep(one, "once"), lambda one: one.discard()):
        found = uploads.examine(zipped(tmp_path, good()))
        ending(found)
        with pytest.raises(errors.BadData, match="already kept, or discarded"):
            uploads.keep(found, "again")


@pytest.mark.parametrize("name", ["../..", "", "a/b", "C:\\x", ".", "\u732b", "x" * 300, "CON\0", "-"])
def test_a_set_s_name_is_a_plain_word(name):
    assert (
        re.fullmatch("[a-z0-9](-?[a-z0-9])*", slug(name)) and len(slug(name)) <= 48 and slug(slug(name)) == slug(name)
    )


def test_files_left_out_are_not_kept_on_disk(stocked, tmp_path):
    found = uploads.examine(zipped(tmp_path, good() | {"a/notes.txt": b"hello", "readme": b"x"}))
    kept = uploads.keep(found, "clean", consent=True)
    assert kept.left_out == 2 and {p.suffix for p in kept.folder.rglob("*") if p.is_file()} == {".png"}


# ------------------------------------------------------------------------------------------- division


@pytest.mark.parametrize("seed", range(5))
def test_a_division_is_of_all_images_in_proportion_and_its_seed_s(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(6), [1, 2, 3, 10, 40, 100]))
    given = np.full(len(labels), -1, np.int8)
    parts = divide(labels, given, 0.2, 0.25, seed)
    assert sorted(np.concatenate([*parts.values()])) == [*range(len(labels))]
    assert {*labels[parts["train"]]} == {*labels}, "every class can be learnt"
    for part, share in (("val", 0.2), ("test", 0.25)):
        for label in range(3, 6):
            assert abs((labels[parts[part]] == label).sum() - share * (labels == label).sum()) <= 1
    again, other = divide(labels, given, 0.2, 0.25, seed), divide(labels, given, 0.2, 0.25, seed + 1)
    assert all((parts[name] == again[name]).all() for name in parts)
    assert any(not np.array_equal(parts[name], other[name]) for name in parts)


def test_too_few_images_to_divide_are_reported():
    with pytest.raises(errors.BadData, match="too few images to draw from"):
        divide(np.array([0, 0, 1, 1]), np.full(4, -1))


# ------------------------------------------------------------------------------------------- pixels


def _save(image: Image.Image, form: str, **how) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **how)
    return out.getvalue()


def test_every_kind_of_image_comes_out_right_through_an_upload(stocked, tmp_path):
    """Grey, palette, half transparent, 16-bit, CMYK and rotated: the pixels that a person would see."""
    red, turned = (255, 0, 0), Image.Exif()
    turned[0x0112] = 6  # stored lying on its left side
    lying = Image.fromarray(np.array([[red] * 4 + [(0, 0, 255)] * 4] * 8, np.uint8))  # red left, blue right, as stored
    kinds = {
        "grey.png": (_save(Image.new("L", (8, 8), 90), "PNG"), (90, 90, 90)),
        "palette.gif": (_save(Image.new("RGB", (8, 8), red).convert("P"), "GIF"), red),
        "alpha.png": (_save(Image.new("RGBA", (8, 8), (*red, 128)), "PNG"), (255, 127, 127)),
        "deep.png": (_save(Image.fromarray(np.full((8, 8), 0x80FF, np.uint16)), "PNG"), (128, 128, 128)),
        "ink.jpg": (_save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), red),
        "turned.png": (_save(lying, "PNG", exif=turned), None),
    }
    files = {f"a/{name}": data for name, (data, _) in kinds.items()} | {f"b/{i}.png": picture(i) for i in range(4)}
    kept = uploads.keep(uploads.examine(zipped(tmp_path, files)), "kinds")
    task = load_task(f"upload:{kept.name}?size=8")
    seen = {
        path.name: part.images[i]
        for part in (task.train, task.val, task.test)
        for i, path in enumerate(part.images.files)
    }
    for name, (_, wanted) in kinds.items():
        if wanted:
            assert np.abs(seen[name].astype(int) - wanted).max() <= 2, name
    upright = seen["turned.png"]  # turned to the right: what was left is on top
    assert (upright[:4] == red).all() and (upright[4:] == (0, 0, 255)).all()


def test_one_picture_for_the_probes_is_kept_without_what_else_its_file_tells(stocked):
    exif = Image.Exif()
    exif[0x010E] = "my address"
    exif[0x0112] = 3
    scene = np.zeros((600, 1200, 3), np.uint8)
    scene[:300] = (255, 0, 0)
    code = uploads.keep_picture(io.BytesIO(_save(Image.fromarray(scene), "PNG", exif=exif)))
    stored = next((stocked / "pictures").iterdir())
    assert b"my address" not in stored.read_bytes() and Image.open(stored).size == (512, 256)
    seen = uploads.picture(code, 64)
    assert seen.shape == (64, 64, 3) and (seen[40:] == (255, 0, 0)).all() and (seen[:24] == 0).all()
    for bad, why in (
        (b"", "it is empty"),
        (b"text", "it is not an image"),
        (picture(1, size=(90, 90))[:5000], "it is broken"),
    ):
        with pytest.raises(errors.BadData, match=f"The image cannot be used: {why}"):
            uploads.keep_picture(io.BytesIO(bad))
    with pytest.raises(errors.BadData, match="is no longer kept"):
        uploads.picture("../../../etc/passwd", 64)
    assert len([*(stocked / "pictures").iterdir()]) == 1


# ------------------------------------------------------------------------------------------- folder:


def test_a_format_that_is_not_read_is_named_when_the_folder_is_and_can_be_left_out(tmp_path):
    for name, data in good("abc", 10).items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    heic = b"\0\0\0\x18ftypheic" + bytes(40)
    (tmp_path / "set/a/x.HEIC").write_bytes(heic)
    with pytest.raises(errors.BadData, match=r"x.HEIC cannot be used: it is HEIC.*convert it.*skip=yes"):
        load_task(f"folder:{tmp_path}/set")
    task = load_task(f"folder:{tmp_path}/set?skip=yes")
    assert "30 images of your own. 1 other file is left out." in task.description
    for label in "abc":
        shutil.rmtree(tmp_path / "set" / label)
        (tmp_path / "set" / label).mkdir()
        (tmp_path / "set" / label / "1.heic").write_bytes(heic)
    with pytest.raises(errors.BadData, match="too few classes are left"):
        load_task(f"folder:{tmp_path}/set?skip=yes")
    (tmp_path / "named.jpg").write_bytes(heic)
    with pytest.raises(errors.BadData, match="named.jpg cannot be used: it is HEIC.*convert it"):
        decoding.decode(tmp_path / "named.jpg", 8, "crop")


def test_a_folder_of_twelve_bit_images_says_that_they_are_almost_black(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(4):
            values = np.random.default_rng(number).integers(0, 4096, (16, 16)).astype(np.uint16)
            values[0, 0] = 4095
            Image.fromarray(values).save(tmp_path / label / f"{number}.png")
    assert "no value above 4,095 of 65,535" in load_task(f"folder:{tmp_path}").description
    assert "With bits=12" in load_task(f"folder:{tmp_path}").description
    assert "almost black" not in load_task(f"folder:{tmp_path}?bits=12").description


def test_a_folders_task_says_which_class_has_images_for_testing_alone(tmp_path):
    given = {f"{split}/{name}": data for split in ("train", "test") for name, data in good().items()}
    on_disk(tmp_path / "set", given | {"test/c/0.png": picture(7)})
    assert "There is no training image of 'c'" in load_task(f"folder:{tmp_path}/set").description
    assert "no training image" not in load_task(f"folder:{tmp_path}/set?split=drawn").description


def test_a_folder_is_a_task_without_any_upload(tmp_path):
    for name, data in (good("abc", 10) | {"a/.hidden.png": b"x"}).items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    (tmp_path / "set/README.md").write_text("hello")
    (tmp_path / "set/notes").mkdir()  # a folder without an image is no class
    (tmp_path / "set/notes/of_mine.txt").write_text("hello")
    task = load_task(f"folder:{tmp_path}/set?val=0.1&test=0.3&size=8")
    assert "30 images of your own. 2 other files are left out." in task.description
    assert task.classes == ("a", "b", "c") and [len(p) for p in (task.train, task.val, task.test)] == [18, 3, 9]
    assert load_task(f"folder:{tmp_path}/set?val=0.1&test=0.3&size=8") is task
    (tmp_path / "set/stray.png").write_bytes(picture(0))
    with pytest.raises(errors.BadData, match=r"stray.png cannot be used: .*leave such files out with skip=yes"):
        load_task(f"folder:{tmp_path}/set")
    assert len(load_task(f"folder:{tmp_path}/set?skip=yes").test) == 6
    (tmp_path / "secret.png").write_bytes(picture(0))
    (tmp_path / "set/a/link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(errors.BadData, match="leads out of"):
        load_task(f"folder:{tmp_path}/set?skip=yes")
    with pytest.raises(errors.BadData, match="is a link or not a file"):
        uploads.examine(tmp_path / "set")
    (tmp_path / "set/a/link.png").unlink()
    (tmp_path / "set/d").symlink_to(tmp_path / "set/a")
    for read in (load_task, lambda _: uploads.examine(tmp_path / "set")):
        with pytest.raises(errors.BadData, match="set/d is a link to a folder"):  # it would be lost, as a class
            read(f"folder:{tmp_path}/set?skip=yes")
