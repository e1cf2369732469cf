"""Adapters that a reader dropped: kept in HEADROOM_HOME under a code made of their bytes, so that a view is a link.

A zip may hold one adapter's folder or several; each folder in it is one adapter. Nothing but names, JSON, safetensors
and .bin files is taken from it. In a room each person has a folder, and what they drop takes the place of their own.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from peftcore import errors
from peftcore.adapters.save import ABOUT, TENSORS
from peftcore.fetch.peft_export import WEIGHTS
from peftcore.fetch.peft_folder import CONFIG
from peftcore.fetch.peft_folder import PICKLED as BIN
from peftcore.home import home
from peftcore.uploads import owned, zips
from peftcore.uploads.archives import DAMAGED
from peftcore.uploads.intake import CHUNK
from peftcore.uploads.limits import size

TAKEN = (".json", ".safetensors", ".bin")
FIXED = (CONFIG, WEIGHTS, BIN, ABOUT, TENSORS)  # names that readers look for
PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".ckpt")
MOST_BYTES, MOST_FILES = 400_000_000, 400  # of all that is dropped at once, unpacked
MOST_ENTRIES = 10_000  # of a zip, those that are passed over included
MOST_KEPT = 30  # uploads that stay; in a room of each person, and MOST_BYTES together


class File(NamedTuple):
    """`name`: its path with forward slashes, as its sender called it."""

    name: str
    data: bytes


class Kept(NamedTuple):
    """One upload. `owner`: the id of a person, '' for what was dropped where nobody has a name."""

    code: str
    owner: str
    path: Path


def folder(owner: str = "") -> Path:
    """Where what this person dropped is kept."""
    return owned.folder(home() / "adapters", owner)


def keep(given: Sequence[File], owner: str = "") -> str:
    """Keeps dropped files and returns their code of 16 hexadecimal digits, the same for the same bytes.

    They go to the disk as they are unpacked, and no further than MOST_BYTES of all of them.

    Raises:
        BadAdapter: nothing in them is an adapter, a broken zip, or more than the limits.
        StoreUnavailable: the disk is full or cannot be written.
    """
    alone = [file.name for file in given if not _is_zip(file)]
    if pickled := [name for name in alone if name.lower().endswith(PICKLED)]:
        raise errors.BadAdapter(
            f"{pickled[0]} is a pickle by its name, which may run any code, so it is not opened. If you trust it, "
            f"convert it: from safetensors.torch import save_file; save_file(torch.load({pickled[0]!r}, "
            "weights_only=True), "
            "'adapter_model.safetensors')."
        )
    if refused := [name for name in alone if not name.lower().endswith(TAKEN)]:
        raise errors.BadAdapter(
            f"{refused[0]} is not a file of an adapter; drop adapter_model.safetensors with adapter_config.json, "
            "adapter.safetensors, a PETL-ViT .bin file, or a zip of the folder."
        )
    part = None
    try:
        folder(owner).mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder(owner), prefix=".part-"))
        return _keep(given, part, owner)
    except OSError as error:
        raise errors.StoreUnavailable(f"The adapter cannot be kept in {str(folder())!r}: {error.strerror}.") from None
    finally:
        if part:
            shutil.rmtree(part, ignore_errors=True)


def _keep(given: Sequence[File], part: Path, owner: str) -> str:
    """All files at once: each folder of theirs becomes one folder, whatever lay above it."""
    several = sum(map(_is_zip, given)) > 1
    files = _written(chain.from_iterable(_parts(file, several) for file in given), part)
    if not any(name.lower().endswith(TAKEN[1:]) for name, _ in files):
        raise errors.BadAdapter("There are no weights in it: an adapter has a .safetensors or a .bin file.")
    digest = hashlib.sha256()
    for name, raw in sorted(files):
        digest.update(f"{name}\0{raw.stat().st_size}\0".encode())
        with raw.open("rb") as stream:
            for chunk in iter(partial(stream.read, CHUNK), b""):
                digest.update(chunk)
    to = part.parent / digest.hexdigest()[:16]
    if to.exists():
        os.utime(to)
        return to.name
    for name, raw in files:
        path = PurePosixPath(name)
        inside = part / (_plain("-".join(path.parent.parts)) or "adapter")
        inside.mkdir(exist_ok=True)
        if (place := inside / _lowered(_plain(path.name))).exists():
            raise errors.BadAdapter(f"There are two files called {name}; drop them one after the other.")
        raw.replace(place)
    part.replace(to)
    _make_room(owner)
    return to.name


def _written(parts: Iterable[tuple[str, Iterator[bytes]]], into: Path) -> list[tuple[str, Path]]:
    """Names and files on the disk, while all of them are within the limits."""
    found: list[tuple[str, Path]] = []
    left = MOST_BYTES
    for name, chunks in parts:
        if len(found) == MOST_FILES:
            raise errors.BadAdapter(f"It holds more than {MOST_FILES} files.")
        raw = into / f".{len(found)}"  # a name that no folder of theirs has
        with raw.open("wb") as out:
            for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    raise errors.BadAdapter(f"It unpacks to more than {size(MOST_BYTES)}, too much for adapters.")
                out.write(chunk)
        found.append((name, raw))
    return found


def _is_zip(file: File) -> bool:
    """By its name: torch.save, too, writes zips, and those are pickles."""
    return file.name.lower().endswith(".zip")


def _parts(file: File, several: bool) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The files that an adapter may have, of a zip or itself, each in chunks; all others of a zip are passed over.

    What lies in no folder of its zip, or comes in one of `several` zips, lies in a folder called as the zip is.
    """
    if not _is_zip(file):
        yield file.name, iter([file.data])
        return
    found = False
    with _readable(file.name), zips.opened(io.BytesIO(file.data), MOST_ENTRIES) as archive:
        for entry in archive.infolist():
            path = PurePosixPath(entry.filename)
            if entry.is_dir() or path.name.startswith(".") or not path.name.lower().endswith(TAKEN):
                continue
            zips.refuse(entry, path.name)
            found = True
            own = several or len(path.parts) == 1
            with archive.open(entry) as stream:
                yield str(PurePosixPath(file.name).stem / path) if own else entry.filename, _chunks(file.name, stream)
    if not found:
        raise errors.BadAdapter(f"{file.name} holds no .safetensors and no .bin file: there is no adapter in it.")


def _chunks(name: str, stream: IO[bytes]) -> Iterator[bytes]:
    """What the zip says of its sizes is not believed."""
    with _readable(name):
        yield from iter(partial(stream.read, CHUNK), b"")


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """What is wrong with a zip becomes BadAdapter."""
    try:
        yield
    except errors.BadData as error:
        raise errors.BadAdapter(f"{name} cannot be opened: {error}") from None
    except (*DAMAGED, RuntimeError, OSError) as error:
        raise errors.BadAdapter(f"{name} is not a zip that can be read: {error}.") from None


def _make_room(owner: str) -> None:
    """The oldest uploads of this person go, where there are too many or, in a room, where they take too much."""
    total = 0
    for nth, old in enumerate(_newest(folder(owner))):
        total += sum(file.stat().st_size for file in old.glob("*/*")) if owner else 0
        if nth and (nth >= MOST_KEPT or total > MOST_BYTES):
            shutil.rmtree(old, ignore_errors=True)


def _plain(name: str) -> str:
    """A name of which no part leads anywhere."""
    return re.sub(r"[^\w.-]+", "_", name).lstrip(".")[-120:]


def _lowered(name: str) -> str:
    """With its ending in small letters, as readers look for it; a name that is looked for, whole."""
    path = PurePosixPath(name)
    return name.lower() if name.lower() in FIXED else path.stem + path.suffix.lower()


def _newest(inside: Path) -> list[Path]:
    there = [path for path in inside.glob("*") if re.fullmatch(r"[0-9a-f]{16}", path.name)]
    return sorted(there, key=lambda path: path.stat().st_mtime, reverse=True)


def kept() -> list[Kept]:
    """What anybody dropped, the newest first."""
    found = [
        Kept(path.name, owner, path) for owner, inside in owned.folders(folder()).items() for path in _newest(inside)
    ]
    return sorted(found, key=lambda each: each.path.stat().st_mtime, reverse=True)


def codes() -> list[str]:
    return [each.code for each in kept()]


def found(code: str) -> Path | None:
    """The upload that a link names, whoever dropped it."""
    return next((each.path for each in kept() if each.code == code), None)


def adapters(upload: Path) -> list[Path]:
    """The adapters of one upload: folders that say what they are, and files that stand alone."""
    found: list[Path] = []
    for inside in sorted(upload.iterdir()):
        if (inside / CONFIG).exists() or (inside / ABOUT).exists():
            found.append(inside)
        else:
            found += sorted(file for file in inside.iterdir() if file.suffix in TAKEN[1:])
    return found
