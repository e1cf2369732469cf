"""Images as people upload them, format by format, and what lies beside them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from bad_uploads import picture, zipped
from PIL import Image
from uploading import examine, on_disk, pictures

from peftcore import errors, uploads
from peftcore.task import load_task
from peftcore.uploads import images, kinds

pytestmark = pytest.mark.usefixtures("home")


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


def test_nobodys_pictures_make_room_for_anothers(home, monkeypatch):
    monkeypatch.setattr(images, "MOST_KEPT", 2)
    kept = {
        owner: [uploads.keep_picture(io.BytesIO(picture(n)), owner=owner) for n in range(3)] for owner in ("a", "b")
    }
    for code in kept["b"][1:]:
        assert uploads.picture(code, 8).shape == (8, 8, 3), "a link opens it, whoever brought it"
    assert {path.parent.name: len([*path.parent.iterdir()]) for path in images.pictures().glob("*/*.png")} == {
        "of-a": 2, "of-b": 2,
    }  # fmt: skip
    for no in (kept["a"][0], "../of-a/x", "*"):
        with pytest.raises(errors.BadData, match="no longer kept"):
            uploads.picture(no, 8)


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
