"""Bad archives, tables and images, made here, and the outcome of each: a refusal, or a file left out by name.

`CASES` has for each kind what makes it, given an empty folder, and what comes of it. scripts/bad_archives.py writes
docs/bad_archives.md from it.
"""

from __future__ import annotations

import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from peftcore.uploads.limits import Limits


@dataclass(frozen=True)
class Case:
    """`make(folder)` returns what is uploaded. `says`: a pattern of the message, or of why a file is left out."""

    kind: str
    make: Callable[[Path], Path]
    says: str
    refused: bool = True  # else examined, and one file skipped or a note made, as `says`
    limits: dict = field(default_factory=dict)


CASES: list[Case] = []


def case(kind: str, says: str, refused: bool = True, **limits: int):
    def add(make):
        CASES.append(Case(kind, make, says, refused, limits))
        return make

    return add


# ------------------------------------------------------------------------------------------- what archives are made of


def picture(i: int, mode: str = "RGB", form: str = "PNG", size: tuple[int, int] = (6, 5)) -> bytes:
    """A small image, different for every i."""
    pixels = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, form)
    return out.getvalue()


def good(classes: str = "ab", each: int = 4) -> dict[str, bytes]:
    """Names and contents of a good set: `each` images of each class."""
    return {f"{name}/{i}.png": picture(100 * n + i) for n, name in enumerate(classes) for i in range(each)}


def zipped(folder: Path, files: dict[str, bytes], name: str = "set.zip", how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(folder / name, "w", how) as archive:
        for file, data in files.items():
            archive.writestr(file, data)
    return folder / name


def renamed(folder: Path, new: str, old: str = "a/0.png") -> Path:
    """A zip whose entry `old` has a name that zipfile itself would not write; both have the same length in bytes."""
    path = zipped(folder, {old.ljust(len(new.encode()), "_") if f == old else f: d for f, d in good().items()})
    long = old.ljust(len(new.encode()), "_").encode()
    path.write_bytes(path.read_bytes().replace(long, new.encode()))
    return path


def tarred(folder: Path, files: dict[str, bytes], name: str = "set.tar", more: tuple = (), **how) -> Path:
    suffix = name.rpartition(".")[2]
    with tarfile.open(folder / name, f"w:{suffix if suffix in ('gz', 'bz2', 'xz') else ''}", **how) as archive:
        for file, data in files.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in more:
            archive.addfile(entry)
    return folder / name


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def zip_mode(folder: Path, mode: int) -> Path:
    with zipfile.ZipFile(zipped(folder, good()), "a") as archive:
        entry = zipfile.ZipInfo("a/link.png")
        entry.create_system, entry.external_attr = 3, mode << 16
        archive.writestr(entry, "/etc/passwd")
    return folder / "set.zip"


def patch(path: Path, mark: bytes, at: int, data: bytes, every: bool = False) -> Path:
    """Changes bytes at an offset from each (or the last) record that begins with `mark`."""
    raw = bytearray(path.read_bytes())
    place = raw.rfind(mark)
    while place >= 0:
        raw[place + at : place + at + len(data)] = data
        place = raw.rfind(mark, 0, place) if every else -1
    path.write_bytes(raw)
    return path


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


# ------------------------------------------------------------------------------------------- names


@case("zip: a name that leads out, ../../x.png", r"leads out of the folder")
def _(f):
    return zipped(f, {**good(), "a/../../x.png": picture(1)})


@case("zip: an absolute name, /etc/x.png", "is an absolute path")
def _(f):
    return zipped(f, {**good(), "/etc/x.png": picture(1)})


@case("zip: a drive letter, C:\\x.png", "is an absolute path")
def _(f):
    return renamed(f, "C:\\x\\0.png")


@case("zip: backslashes that lead out, ..\\..\\x.png", "leads out of the folder")
def _(f):
    return renamed(f, "..\\..\\x.png")


@case("tar: a name that leads out", "leads out of the folder")
def _(f):
    return tarred(f, {**good(), "../x.png": picture(1)})


@case("tar: an absolute name", "is an absolute path")
def _(f):
    return tarred(f, {**good(), "/tmp/x.png": picture(1)})


@case("zip: the same name twice", "twice")
def _(f):
    return renamed(f, "b/0.png")


@case("tar: the same name twice", "twice")
def _(f):
    return tarred(f, good(), more=(special("a/0.png", tarfile.REGTYPE),))


@case("zip: names that differ only in case", "'a/0.png' and 'a/0.PNG'")
def _(f):
    return zipped(f, {**good(), "a/0.PNG": picture(1)})


@case("zip: folders that differ only in case", "'a' and 'A'")
def _(f):
    return zipped(f, {**good(), "A/9.png": picture(1)})


@case("zip: one name in two Unicode forms (NFC, NFD)", "twice")
def _(f):
    return zipped(f, {**good(), "a/\u00e9.png": picture(1), "a/e\u0301.png": picture(2)})


@case("zip: a file and a folder of one name", "twice")
def _(f):
    return zipped(f, {**good(), "a/0.png/1.png": picture(1)})


@case("zip: a name turned right to left (exe shown as png)", r"invisible characters")
def _(f):
    return zipped(f, {**good(), "a/photo\u202egnp.exe": picture(1)})


@case("zip: a name with control characters", r"'a/\\x1b\[31m.png' has invisible characters")
def _(f):
    return zipped(f, {**good(), "a/\x1b[31m.png": picture(1)})


@case("zip: a name with a NUL in it", r"x00.* has invisible characters")
def _(f):
    return renamed(f, "a/x.png\0.exe")


@case("tar: a name that is not UTF-8", "bytes that are not UTF-8")
def _(f):
    return tarred(f, {**good(), "a/\udce9\udcff.png": picture(1)}, format=tarfile.GNU_FORMAT, errors="surrogateescape")


@case("zip: a name of 300 characters", "longer than 255 bytes")
def _(f):
    return zipped(f, {**good(), "a/" + "x" * 300 + ".png": picture(1)})


@case("zip: folders 40 deep", "nested deeper than 16 folders")
def _(f):
    return zipped(f, {**good(), "d/" * 40 + "1.png": picture(1)})


# ------------------------------------------------------------------------------------------- entries


@case("zip: a symbolic link", "is a symbolic link")
def _(f):
    return zip_mode(f, stat.S_IFLNK | 0o777)


@case("zip: a device", "is a device or the like")
def _(f):
    return zip_mode(f, stat.S_IFCHR | 0o666)


@case("tar: a symbolic link", "is a symbolic link")
def _(f):
    return tarred(f, good(), more=(special("a/l.png", tarfile.SYMTYPE, "/etc/passwd"),))


@case("tar: a symbolic link, then a file through it", "is a symbolic link")
def _(f):
    return tarred(f, {}, more=(special("a", tarfile.SYMTYPE, "/tmp"), special("a/x.png", tarfile.REGTYPE)))


@case("tar: a hard link", "is a hard link")
def _(f):
    return tarred(f, good(), more=(special("a/l.png", tarfile.LNKTYPE, "../../secret"),))


@case("tar: a character device", "is a device")
def _(f):
    return tarred(f, good(), more=(special("a/null", tarfile.CHRTYPE),))


@case("tar: a named pipe", "is a device, a sparse file or the like")
def _(f):
    return tarred(f, good(), more=(special("a/pipe", tarfile.FIFOTYPE),))


@case("tar: a sparse file of 1 TB", "sparse")
def _(f):
    entry = special("a/x.png", tarfile.GNUTYPE_SPARSE)
    buffer = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    buffer[386:410] = b"00000000000\0" + b"00000000000\0"
    buffer[483:495] = b"77777777777\0"
    _checksum(buffer)
    return _raw_tar(f, bytes(buffer))


@case("zip: encrypted", "encrypted; pack it without a password")
def _(f):
    path = zipped(f, good())
    patch(path, LOCAL, 6, b"\x01", every=True)
    return patch(path, CENTRAL, 8, b"\x01", every=True)


@case("zip: packed by bzip2, which zipfile unpacks at once", "packed by bzip2; pack it as deflate")
def _(f):
    return zipped(f, good(), how=zipfile.ZIP_BZIP2)


@case("zip: packed by an unknown method", "packed by method 99|packed by")
def _(f):
    return patch(zipped(f, good()), CENTRAL, 10, struct.pack("<H", 99))


# ------------------------------------------------------------------------------------------- bombs and limits


@case("zip: a bomb, 50 MB from 50 kB", "more than 200 times its size")
def _(f):
    return zipped(f, {**good(), "a/bomb.png": bytes(50_000_000)})


@case("zip: a bomb that claims to be small", "damaged or truncated")
def _(f):
    path = zipped(f, {"a/0.png": bytes(20_000_000), **good("b")})
    return patch_sizes(path, b"a/0.png", 1000)


@case("zip: overlapping entries (40 of 900 kB in one place)", "damaged|more than 200|larger than")
def _(f):
    return overlapping(f, 40)


@case(
    "zip: claims 4 GB and more",
    "larger than 4 GB; upload less, or allow more with HEADROOM_UPLOAD_BYTES",
    bytes=4 * 10**9,
)
def _(f):
    path = zipped(f, good("abc", 10))
    return patch(path, CENTRAL, 24, struct.pack("<I", 0xFFFFFFF0), every=True)


@case("tar.gz: a bomb, 30 MB from 30 kB", "more than 200 times its size")
def _(f):
    return tarred(f, {**good(), "a/bomb.png": bytes(30_000_000)}, "set.tar.gz")


@case("tar.bz2: a bomb, 20 MB from a few bytes", "more than 200 times its size")
def _(f):
    return tarred(f, {**good(), "a/bomb.png": bytes(20_000_000)}, "set.tar.bz2")


@case("tar.xz: a bomb behind the end mark", "more than 200 times its size", files=500)
def _(f):
    path = tarred(f, good())
    path.with_suffix(".tar.xz").write_bytes(lzma.compress(path.read_bytes() + bytes(30_000_000), preset=0))
    path.unlink()
    return path.with_suffix(".tar.xz")


@case("tar.xz: wants 1.5 GB of memory to unpack", "damaged or truncated .*[Mm]emory")
def _(f):
    path = tarred(f, good())
    data = lzma.compress(path.read_bytes(), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    at = data.index(b"\x21\x01") + 2  # the filter's one property, its dictionary's size
    header = bytearray(data[12 : 12 + 4 * (data[12] + 1)])
    header[at - 12] = 39  # 3 GB
    header[-4:] = struct.pack("<I", zlib.crc32(bytes(header[:-4])))
    (f / "set.tar.xz").write_bytes(data[:12] + header + data[12 + len(header) :])
    path.unlink()
    return f / "set.tar.xz"


@case("tar: a header of 1 GB", "header in the tar is larger than 1.05 MB")
def _(f):
    entry = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    entry.size = 10**9
    return _raw_tar(f, entry.tobuf(tarfile.GNU_FORMAT) + bytes(5_000_000))


@case("zip: claims two million entries", "more than 100,000 files")
def _(f):
    """A forged end of the directory in zip64, since two million entries do not fit into a plain one."""
    path = zipped(f, good())
    raw = path.read_bytes()
    place = raw.rfind(END)
    length, start = struct.unpack("<II", raw[place + 12 : place + 20])
    wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2_000_000, 2_000_000, length, start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, place, 1)
    end = struct.pack("<4s4H2IH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(raw[:place] + wide + locator + end)
    return path


@case("zip: more entries than it claims", "more than 500 files", files=500)
def _(f):
    path = zipped(f, {f"a/{i}.png": b"" for i in range(600)})
    return patch(path, END, 8, struct.pack("<HH", 8, 8))


@case("tar: more files than allowed, counted as it is read", "more than 500 files", files=500)
def _(f):
    return tarred(f, {f"a/{i}.png": b"" for i in range(600)}, "set.tar.gz")


@case("zip: larger than an upload may be", "The file is larger than 10 kB.*HEADROOM_UPLOAD_ARCHIVE", archive=10_000)
def _(f):
    return zipped(f, good("ab", 60))


@case("tar: larger than allowed on the disk", "larger than 20 kB.*HEADROOM_UPLOAD_BYTES", bytes=20_000)
def _(f):
    return tarred(f, good("abc", 100))


@case("folders: more classes than allowed", "has 30 classes, more than 20", classes=20)
def _(f):
    return zipped(f, good("abcdefghijklmnopqrstuvwxyz0123", 1))


# ------------------------------------------------------------------------------------------- damaged, or no archive


@case("an empty file", "The file is empty")
def _(f):
    (f / "set.zip").touch()
    return f / "set.zip"


@case("a text file called .zip", "not an archive that can be read")
def _(f):
    (f / "set.zip").write_text("not an archive\n" * 100)
    return f / "set.zip"


@case("zip: truncated in the middle", "truncated")
def _(f):
    path = zipped(f, good())
    path.write_bytes(path.read_bytes()[:-300])
    return path


@case("zip: flipped bits in an image", "damaged or truncated .*(CRC|decompress)")
def _(f):
    path = zipped(f, good())
    return patch(path, LOCAL, 60, b"\xaa\xaa\xaa\xaa", every=True)


@case("tar: truncated in the middle", "damaged or truncated")
def _(f):
    path = tarred(f, good())
    path.write_bytes(path.read_bytes()[:3300])
    return path


@case("tar: truncated between two files", "its end mark is missing")
def _(f):
    path = tarred(f, good())
    path.write_bytes(path.read_bytes()[:4096])
    return path


@case("tar: a damaged header in the middle", "damaged or truncated")
def _(f):
    path = tarred(f, good())
    raw = bytearray(path.read_bytes())
    raw[4096:4106] = b"\xff" * 10
    path.write_bytes(raw)
    return path


@case("tar.gz: truncated", "damaged or truncated")
def _(f):
    path = tarred(f, good(), "set.tar.gz")
    path.write_bytes(path.read_bytes()[:-40])
    return path


@case("tar.gz: a wrong checksum", "damaged or truncated .*CRC")
def _(f):
    path = tarred(f, good(), "set.tar.gz")
    path.write_bytes(path.read_bytes()[:-8] + b"\1\2\3\4" + path.read_bytes()[-4:])
    return path


@case("one part of a multi-part zip", "multi-part zip")
def _(f):
    return patch(zipped(f, good()), END, 4, struct.pack("<HH", 2, 2))


def _begins(kind: str, start: bytes, says: str) -> None:
    @case(kind, says)
    def _(f):
        (f / "set.zip").write_bytes(start + bytes(1000))
        return f / "set.zip"


_begins("a 7z archive", b"7z\xbc\xaf\x27\x1c", "is a 7z archive; pack the images as zip")
_begins("a RAR archive", b"Rar!\x1a\x07\x00", "is a RAR archive; pack the images as zip")
_begins("a tar packed with zstd", b"\x28\xb5\x2f\xfd", "packed with zstd")
_begins(
    "gzip of something that is not a tar",
    zlib.compress(b"x" * 5000, wbits=31),
    "not an archive that can be read|damaged",
)


@case("an empty zip", "It holds no images")
def _(f):
    return zipped(f, {})


@case("an empty tar", "It holds no images")
def _(f):
    return tarred(f, {})


@case("a zip of zips", "holds another archive, 'inner.zip', and no images")
def _(f):
    inner = zipped(f, good(), "inner.zip").read_bytes()
    (f / "inner.zip").unlink()
    return zipped(f, {"inner.zip": inner})


@case("an archive among the images", "a/more.zip: it is an archive within this one; unpack it", refused=False)
def _(f):
    inner = zipped(f, good(), "inner.zip").read_bytes()
    (f / "inner.zip").unlink()
    return zipped(f, {**good(), "a/more.zip": inner})


# ------------------------------------------------------------------------------------------- classes and tables


@case("only one class", "only one class, 'a'; a task needs at least two")
def _(f):
    return zipped(f, good("a"))


@case("images in no folder, and no table", "is in no folder and in no table")
def _(f):
    return zipped(f, {f"{i}.png": picture(i) for i in range(4)})


@case("a class with one image", "fewer than three images, which all go into training", refused=False)
def _(f):
    return zipped(f, {**good(), "c/0.png": picture(7)})


@case("two images of a class, for testing alone", r"than three images\.\s+There is no training image", refused=False)
def _(f):
    given = {f"{split}/{name}": data for split in ("train", "test") for name, data in good().items()}
    return zipped(f, {**given, "test/c/0.png": picture(7), "test/c/1.png": picture(8)})


@case("a file beside the folders of the classes", "stray.png: it is not in a folder of a class", refused=False)
def _(f):
    return zipped(f, {**good(), "stray.png": picture(7)})


def table(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    data = text if isinstance(text, bytes) else text.encode()
    return zipped(folder, {**{f"images/{i}.png": picture(i) for i in range(6)}, name: data})


ROWS = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(6))


@case("table: names files that are missing", "9.png: labels.csv lists it, but it is missing", refused=False)
def _(f):
    return table(f, ROWS + "9.png,a\n")


@case("table: names a file outside, ../../etc/passwd", "but it is missing", refused=False)
def _(f):
    return table(f, ROWS + "../../etc/passwd,a\n")


@case("table: a file without a label", "images/5.png: no table has a label for it", refused=False)
def _(f):
    return table(f, ROWS.replace("5.png,b\n", ""))


@case("table: a file with two labels", "Two lines of the tables disagree on 'images/0.png'")
def _(f):
    return table(f, ROWS + "0.png,b\n")


@case("table: binary", "is not text; save it as CSV in UTF-8")
def _(f):
    return table(f, bytes(range(256)) * 20)


@case("table: huge", "is larger than 1 kB.*HEADROOM_UPLOAD_TABLE", table=1000)
def _(f):
    return table(f, ROWS * 50)


@case("table: one column", "has one column; it needs two")
def _(f):
    return table(f, "0.png\n1.png\n2.png\n")


@case("table: none of its files exists", "No column of the table 'labels.csv' names files in the set")
def _(f):
    return table(f, "x.jpg,a\ny.jpg,b\n")


@case(
    "table: several columns that could be the label",
    "has 2 columns besides the files, and none of them is called label",
)
def _(f):
    return table(f, "".join(f"{i}.png,{i % 2},{i % 3}\n" for i in range(6)))


@case("table: a quote that is never closed", "cannot be read at line|one column|No column")
def _(f):
    return table(f, "file,label\n" + ROWS.replace("1.png,b", '"1.png,b') + "x" * 200_000)


@case("table: Latin-1", "'labels.csv' is not UTF-8 and was read as Western European", refused=False)
def _(f):
    return table(f, ROWS.replace(",a", ",\u00e4sche").replace(",b", ",b\u00e4r").encode("latin-1"))


@case("table: a split that does not exist", "into the split 'holdout'; it should be train, val or test")
def _(f):
    return table(f, "file,label,split\n" + ROWS.replace("\n", ",train\n").replace("b,train", "b,holdout"))


@case("two tables", "holds 2 tables")
def _(f):
    files = {**{f"images/{i}.png": picture(i) for i in range(6)}, "one.csv": ROWS.encode(), "two.csv": ROWS.encode()}
    return zipped(f, files)


# ------------------------------------------------------------------------------------------- images


def image(kind: str, says: str, name: str = "a/bad.png", **limits: int):
    def add(make):
        CASES.append(Case(kind, lambda f: zipped(f, {**good(), name: make()}), f"{name}: {says}", False, limits))
        return make

    return add


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that claims this size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@case("images: more pixels together than allowed", "have 294 megapixels together, more than 200", all_pixels=2 * 10**8)
def _(f):
    return zipped(f, {f"{c}/{i}.png": png(7000, 7000) for c in "ab" for i in range(3)})


image("image: 0 bytes", "it is empty")(lambda: b"")
image("image: text called .png", "it is not an image that can be read")(lambda: b"hello" * 99)
image("image: a decompression bomb, 50,000 x 50,000", "it has more than|is more than 50,000,000")(
    lambda: png(50_000, 50_000)
)
image("image: 12,000 x 12,000 pixels", "12,000 x 12,000 pixels is more than 50,000,000")(lambda: png(12_000, 12_000))
image("image: 1 x 100,000 pixels", "1 x 100,000 pixels has a side longer than 20,000")(lambda: png(1, 100_000))
image("image: 0 pixels wide", "it is broken|it is not an image")(lambda: png(0, 10))
image("image: truncated", "it is broken")(lambda: picture(1, size=(64, 64))[:3000])
image("image: missing pixels", "it is broken")(lambda: png(100, 100, b"\0" * 50))
image("image: a truncated JPEG", "it is broken", name="a/bad.jpg")(lambda: picture(1, form="JPEG", size=(64, 64))[:900])
image(
    "image: EPS, which would start Ghostscript",
    "it is PostScript, which cannot be read here; convert it to JPEG",
    name="a/bad.eps",
)(lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
image("image: SVG", "it is SVG, which cannot be read here; convert it to JPEG", name="a/bad.svg")(
    lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
)


@image(
    "image: floating-point pixels, whose range is unknown", "it is broken: its pixels are floating-point", "a/bad.tif"
)
def _():
    out = io.BytesIO()
    Image.new("F", (4, 4), 0.5).save(out, "TIFF")
    return out.getvalue()


@case("every image of a class is broken", "No image of 'c' is intact, so it is left out", refused=False)
def _(f):
    return zipped(f, {**good(), "c/0.png": b"x", "c/1.png": b"y"})


@case("every image is broken", "No image in it can be used: a/0.png, it is not an image that can be read")
def _(f):
    return zipped(f, dict.fromkeys(good(), b"not an image"))


# ------------------------------------------------------------------------------------------- tools for forging


def _checksum(buffer: bytearray) -> None:
    buffer[148:156] = b" " * 8
    buffer[148:156] = b"%06o\0 " % sum(buffer[:512])


def _raw_tar(folder: Path, data: bytes) -> Path:
    (folder / "set.tar").write_bytes(data + bytes(10240))
    return folder / "set.tar"


def patch_sizes(path: Path, name: bytes, size: int) -> Path:
    """Makes a zip claim, in both places, that an entry is `size` bytes unpacked."""
    raw = bytearray(path.read_bytes())
    for mark, at, name_at in ((LOCAL, 22, 30), (CENTRAL, 24, 46)):
        place = raw.find(mark)
        while raw[place + name_at : place + name_at + len(name)] != name:
            place = raw.find(mark, place + 1)
        raw[place + at : place + at + 4] = struct.pack("<I", size)
    path.write_bytes(raw)
    return path


def overlapping(folder: Path, count: int) -> Path:
    """A zip whose directory names one packed file `count` times."""
    path = zipped(folder, {"a/00.png": bytes(900_000)})
    raw = path.read_bytes()
    start = raw.find(CENTRAL)
    one, end = raw[start : raw.rfind(END)], raw[raw.rfind(END) :]
    all_of_them = b"".join(one.replace(b"a/00.png", b"a/%02d.png" % i) for i in range(count))
    end = end[:8] + struct.pack("<HHI", count, count, len(all_of_them)) + end[16:]
    path.write_bytes(raw[:start] + all_of_them + end)
    return path


def limits_of(case: Case) -> Limits:
    return Limits(**case.limits)
