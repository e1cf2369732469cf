"""Adapters that a reader dropped: kept in HEADROOM_HOME under a code made of their bytes, so that a view is a link.

A zip may hold one adapter's folder or several; each folder in it is one adapter. Nothing but names, JSON, safetensors
and .bin files is taken from it.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from peftcore import errors
from peftcore.adapters.save import ABOUT, TENSORS
from peftcore.fetch.peft_export import WEIGHTS
from peftcore.fetch.peft_folder import CONFIG
from peftcore.fetch.peft_folder import PICKLED as BIN
from peftcore.home import home
from peftcore.uploads.limits import size

TAKEN = (".json", ".safetensors", ".bin")
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)  # what reading a zip raises
FIXED = (CONFIG, WEIGHTS, BIN, ABOUT, TENSORS)  # names that readers look for
PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".ckpt")
MOST_BYTES, MOST_FILES, MOST_KEPT = 400_000_000, 400, 30  # of an upload, unpacked; uploads that stay


class File(NamedTuple):
    """`name`: its path with forward slashes, as its sender called it."""

    name: str
    data: bytes


def folder() -> Path:
    return home() / "adapters"


def keep(given: Sequence[File]) -> str:
    """Keeps dropped files and returns their code of 16 hexadecimal digits, the same for the same bytes.

    Raises:
        BadAdapter: nothing in them is an adapter, a broken zip, or more than the limits.
        StoreUnavailable: the disk is full or cannot be written.
    """
    files = [part for file in given for part in (_unpacked(file) if _is_zip(file) else [file])]
    if pickled := [file.name for file in files if file.name.lower().endswith(PICKLED)]:
        raise errors.BadAdapter(
            f"{pickled[0]} is a pickle by its name, which may run any code, so it is not opened. If you trust it, "
            f"convert it: from safetensors.torch import save_file; save_file(torch.load({pickled[0]!r}, "
            "weights_only=True), "
            "'adapter_model.safetensors')."
        )
    if refused := [file.name for file in files if not file.name.lower().endswith(TAKEN)]:
        raise errors.BadAdapter(
            f"{refused[0]} is not a file of an adapter; drop adapter_model.safetensors with adapter_config.json, "
            "adapter.safetensors, a PETL-ViT .bin file, or a zip of the folder."
        )
    if not any(file.name.lower().endswith(TAKEN[1:]) for file in files):
        raise errors.BadAdapter("There are no weights in it: an adapter has a .safetensors or a .bin file.")
    if (total := sum(len(file.data) for file in files)) > MOST_BYTES:
        raise errors.BadAdapter(f"It takes {size(total)}, more than {size(MOST_BYTES)} for an adapter.")
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\0{len(file.data)}\0".encode() + file.data)
    code = digest.hexdigest()[:16]
    try:
        _write(folder() / code, files)
    except OSError as error:
        raise errors.StoreUnavailable(f"The adapter cannot be kept in {str(folder())!r}: {error.strerror}.") from None
    return code


def _is_zip(file: File) -> bool:
    """By its name: torch.save, too, writes zips, and those are pickles."""
    return file.name.lower().endswith(".zip")


def _unpacked(file: File) -> list[File]:
    """The files of a zip that an adapter may have; all others are passed over."""
    found, left = [], MOST_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir() and e.filename.lower().endswith(TAKEN)]
            entries = [e for e in entries if not PurePosixPath(e.filename).name.startswith(".")]
            if len(entries) > MOST_FILES:
                raise errors.BadAdapter(f"{file.name} holds {len(entries)} files, more than {MOST_FILES}.")
            for entry in entries:
                with archive.open(entry) as stream:
                    data = stream.read(left + 1)  # what the zip says of its sizes is not believed
                if len(data) > left:
                    raise errors.BadAdapter(f"{file.name} unpacks to more than {size(MOST_BYTES)}.")
                left -= len(data)
                found.append(File(entry.filename, data))
    except (*DAMAGED, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise errors.BadAdapter(f"{file.name} is not a zip that can be read: {error}.") from None
    if not found:
        raise errors.BadAdapter(f"{file.name} holds no .safetensors and no .bin file: there is no adapter in it.")
    return found


def _write(to: Path, files: Sequence[File]) -> None:
    """All files at once: each folder of theirs becomes one folder, whatever lay above it."""
    if to.exists():
        os.utime(to)
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=to.parent, prefix=".part-"))
    try:
        for file in files:
            path = PurePosixPath(file.name)
            inside = part / (_plain("-".join(path.parent.parts)) or "adapter")
            inside.mkdir(exist_ok=True)
            (inside / _lowered(_plain(path.name))).write_bytes(file.data)
        part.replace(to)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in codes()[MOST_KEPT:]:
        shutil.rmtree(folder() / old, ignore_errors=True)


def _plain(name: str) -> str:
    """A name of which no part leads anywhere."""
    return re.sub(r"[^\w.-]+", "_", name).lstrip(".")[-120:]


def _lowered(name: str) -> str:
    """With its ending in small letters, as readers look for it; a name that is looked for, whole."""
    path = PurePosixPath(name)
    return name.lower() if name.lower() in FIXED else path.stem + path.suffix.lower()


def codes() -> list[str]:
    """What is kept, the newest first."""
    there = [path for path in folder().glob("*") if re.fullmatch(r"[0-9a-f]{16}", path.name)]
    return [path.name for path in sorted(there, key=lambda path: path.stat().st_mtime, reverse=True)]


def adapters(code: str) -> list[Path]:
    """The adapters of one upload: folders that say what they are, and files that stand alone."""
    found = []
    for inside in sorted((folder() / code).iterdir() if re.fullmatch(r"[0-9a-f]{16}", code) else []):
        if (inside / CONFIG).exists() or (inside / ABOUT).exists():
            found.append(inside)
        else:
            found += sorted(file for file in inside.iterdir() if file.suffix in TAKEN[1:])
    return found
