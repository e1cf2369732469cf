"""Files of weights on this machine: which one a folder means, the shards of one set, and whether they are whole."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from peftcore import errors

INDEX = ".index.json"  # names the files of a set of weights that is spread over several
KINDS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".npz")
ON_THE_HUB = ("model.safetensors", "open_clip_model.safetensors")  # what timm asks a repository for, in this order
USUAL = (*ON_THE_HUB, f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")
_TORCH = (b"PK\3\4", b"\x80\2")  # its archive, and the pickles of before
_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)(\.\w+)")


def is_safetensors(file: Path) -> bool:
    """By its first bytes, whatever its name: the hub's cache has blobs without an ending. A damaged one by its name."""
    with file.open("rb") as stream:
        start = stream.read(9)
    return start[8:] == b"{" or file.suffix == ".safetensors" and not start.startswith(_TORCH)


def whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says; of other kinds, whether it is there and not empty."""
    try:
        size = file.stat().st_size
        if not is_safetensors(file):
            return size > 0
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= size - 8:
                return False
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False
    return bool(ends) and size == 8 + length + max(ends)


def weights_file(path: Path) -> Path:
    """The file itself; of a folder, the file with the usual name, else its only one.

    Raises:
        WeightsUnavailable: there is no such file, or more than one that it could be.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise errors.WeightsUnavailable(f"There is no file or folder {str(path)!r}; give a .safetensors or .pth file.")
    usual = [file for name in USUAL if (file := path / name).is_file()]
    files = (file for file in sorted(path.iterdir()) if file.suffix in KINDS)
    found = usual[:1] or [
        *{_SHARD.sub(r"\1\4", file.name): file for file in files}.values()
    ]  # one of each set of shards
    if len(found) != 1:
        raise errors.WeightsUnavailable(
            f"{str(path)!r} holds {len(found)} weight files ({', '.join(KINDS)}); name the one to load."
        )
    return found[0]


def shards(file: Path) -> list[str]:
    """The names of all files of a set of weights, from its index or from one of them; empty where it is one file."""
    if file.name.endswith(INDEX):
        return sorted({Path(name).name for name in json.loads(file.read_text())["weight_map"].values()})
    if match := _SHARD.fullmatch(file.name):
        stem, number, most = match[1], match[2], int(match[3])
        return [f"{stem}-{i:0{len(number)}d}-of-{match[3]}{match[4]}" for i in range(1, most + 1)]
    return []


def parts(file: Path) -> list[Path]:
    """The files that hold a set of weights: this one, or all its shards.

    Raises:
        WeightsUnavailable: one of them is missing or not whole.
    """
    names = shards(file)
    if missing := [name for name in names if not (file.parent / name).is_file()]:
        raise errors.WeightsUnavailable(
            f"it is one set of weights in {len(names)} files, and {len(missing)} of them are not beside it: "
            f"{', '.join(missing[:3])}; copy them there"
        )
    files = [file.parent / name for name in names] or [file]
    if not all(map(whole, files)):
        raise errors.WeightsUnavailable("it is empty, damaged or cut short; fetch or copy it again")
    return files


def sha256(files: list[Path]) -> str:
    """Of the files one after the other, in hexadecimal digits."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()
