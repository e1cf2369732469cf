"""Every kind of image file comes out as the RGB bytes that a person sees."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from peftcore import errors
from peftcore.uploads.decoding import decode

RED, LIGHT = (255, 0, 0), (255, 127, 127)


def ramp16(mode: str) -> Image.Image:
    return Image.fromarray(np.full((8, 8), 0x80FF, np.uint16 if mode == "I;16" else np.int32))


KINDS = {  # file name: (what makes it, how it should read)
    "grey.png": (lambda: Image.new("L", (8, 8), 90), (90, 90, 90)),
    "bits.png": (lambda: Image.new("1", (8, 8), 1), (255, 255, 255)),
    "grey_alpha.png": (lambda: Image.new("LA", (8, 8), (0, 0)), (255, 255, 255)),
    "palette.png": (lambda: Image.new("RGB", (8, 8), RED).convert("P"), RED),
    "palette.gif": (lambda: Image.new("RGB", (8, 8), RED).convert("P"), RED),
    "alpha.png": (lambda: Image.new("RGBA", (8, 8), (*RED, 128)), LIGHT),
    "hidden.png": (lambda: Image.new("RGBA", (8, 8), (*RED, 0)), (255, 255, 255)),
    "deep.png": (lambda: ramp16("I;16"), (128, 128, 128)),
    "deep.tif": (lambda: ramp16("I;16"), (128, 128, 128)),
    "deeper.tif": (lambda: ramp16("I"), (128, 128, 128)),
    "ink.tif": (lambda: Image.new("CMYK", (8, 8), (0, 255, 255, 0)), RED),
    "ink.jpg": (lambda: Image.new("CMYK", (8, 8), (0, 255, 255, 0)), RED),
    "lossy.webp": (lambda: Image.new("RGB", (8, 8), RED), RED),
    "plain.bmp": (lambda: Image.new("RGB", (8, 8), RED), RED),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image_comes_out_in_its_colours(name, tmp_path):
    make, wanted = KINDS[name]
    make().save(tmp_path / name)
    for size in (8, 5):
        assert np.abs(decode(tmp_path / name, size).astype(int) - wanted).max() <= (
            3 if name[-3:] in ("jpg", "ebp") else 1
        )


def test_a_palettes_transparent_colour_is_white(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.save(tmp_path / "sprite.png", transparency=1)
    assert (decode(tmp_path / "sprite.png", 8) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright(orientation, tmp_path):
    """The eight ways to hold a camera: a file that records its orientation reads like the scene."""
    scene = np.zeros((16, 24, 3), np.uint8)
    scene[:8, :12] = RED
    scene[8:, 12:] = (0, 0, 255)
    stored = {  # how a scene is laid down for each value, from the EXIF standard: row 0 and column 0 of the file
        1: scene, 2: scene[:, ::-1], 3: scene[::-1, ::-1], 4: scene[::-1],
        5: scene.swapaxes(0, 1), 6: np.rot90(scene), 7: scene.swapaxes(0, 1)[::-1, ::-1], 8: np.rot90(scene, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "photo.png", exif=exif)
    read = decode(tmp_path / "photo.png", 16, "crop")
    assert (read == scene[:, 4:20]).all()


def test_a_malformed_tag_beside_the_orientation_costs_nothing(tmp_path):
    """Cameras write them; a maker that is a number cannot be written again as text."""
    tags = [(0x010F, 3, 1, struct.pack("<HH", 72, 0)), (0x0112, 3, 1, struct.pack("<HH", 6, 0))]
    ifd = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + ifd + bytes(4)
    Image.fromarray(np.repeat(np.arange(0, 240, 10, np.uint8)[:, None, None], 16, 1).repeat(3, 2)).save(
        tmp_path / "photo.jpg", exif=exif, quality=100
    )
    assert (np.diff(decode(tmp_path / "photo.jpg", 16).astype(int).mean((0, 2))) < 0).all(), "turned by a quarter"


def test_fit_stretches_all_of_it_or_takes_the_middle(tmp_path):
    strip = np.zeros((10, 30, 3), np.uint8)
    strip[:, 10:20] = 255
    Image.fromarray(strip).save(tmp_path / "strip.png")
    assert (decode(tmp_path / "strip.png", 10, "crop") == 255).all()
    stretched = decode(tmp_path / "strip.png", 30)
    assert (stretched[:, [0, -1]] == 0).all() and (stretched[:, 15] == 255).all()


def test_images_too_large_or_without_a_range_are_refused(tmp_path, monkeypatch):
    Image.new("F", (4, 4), 0.5).save(tmp_path / "float.tif")
    with pytest.raises(errors.BadData, match="floating-point"):
        decode(tmp_path / "float.tif", 8)
    Image.fromarray(np.full((4, 4), -5, np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(errors.BadData, match="32-bit"):
        decode(tmp_path / "wide.tif", 8)
    Image.new("1", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(errors.BadData, match=r"bomb\.png cannot be decoded.*pixels"):
        decode(tmp_path / "bomb.png", 8)
