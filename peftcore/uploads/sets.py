"""Kept sets of images: a folder each, with the images and a list of them."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import rmtree

import numpy as np

from peftcore import errors
from peftcore.home import home
from peftcore.uploads.survey import UNPACKING, Survey, shelf

LIST = "set.json"
VERSION = 1
LONGEST_NAME = 48


@dataclass(frozen=True)
class Kept:
    """A kept set. Arrays are as in Survey; `files` are paths from `folder`."""

    name: str
    folder: Path
    files: tuple[str, ...]
    labels: np.ndarray
    given: np.ndarray
    classes: tuple[str, ...]
    bytes: int
    made: float  # seconds since 1970
    left_out: int
    query: str = ""  # settings chosen with it, '?fit=crop' or ''
    bits: int = 16  # depth of the values in 16-bit images; see decoding.decode

    def __len__(self) -> int:
        return len(self.files)

    @property
    def task(self) -> str:
        """The name of its task, with the settings chosen: 'upload:flowers?fit=crop'."""
        return f"upload:{self.name}{self.query}"


def slug(name: str) -> str:
    """A name for a folder and an address: 'My flowers (2)' becomes 'my-flowers-2'; 'images' if nothing is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:LONGEST_NAME].strip("-") or "images"


def keep(survey: Survey, name: str, *, consent: bool = False, drop_duplicates: bool = False, query: str = "") -> Kept:
    """Keeps the examined images as the task upload:NAME; a name already taken gets a number.

    Args:
        consent: to leaving out the survey's skipped files.
        drop_duplicates: keeps one copy of each image (in test before val before train), and none of those with
            different labels.
        query: settings of its task to keep with it, such as '?val=0.1&fit=crop'.

    Raises:
        BadData: files would be left out without consent, fewer than two classes are left, or the survey's files are
            gone because it was already kept or discarded.
        StoreUnavailable: the disk is full or cannot be written to; nothing is kept then.
    """
    if survey.skipped and not consent:
        first, more = survey.skipped[0], len(survey.skipped) - 1
        raise errors.BadData(
            f"{first.file} cannot be used: {first.why}{f' (and {more} more)' if more else ''}. Fix it and upload "
            "again, or agree to leaving such files out."
        )
    if not survey.folder.is_dir():
        raise errors.BadData("These images were already kept, or discarded; examine them again.")
    chosen = staying(survey, drop_duplicates)
    present = np.unique(survey.labels[chosen])
    if len(present) < 2:
        raise errors.BadData("Without the duplicates fewer than two classes are left; keep them, or fix their labels.")
    listed = {
        "version": VERSION,
        "made": time.time(),
        "classes": [survey.classes[label] for label in present],
        "files": [survey.files[index] for index in chosen],
        "labels": np.searchsorted(present, survey.labels[chosen]).tolist(),
        "given": survey.given[chosen].tolist(),
        "left_out": len(survey.skipped) + len(survey) - len(chosen),
        "query": query,
        "bits": survey.bits,
    }
    listed["bytes"] = sum((survey.folder / file).stat().st_size for file in listed["files"])
    wanted = {*listed["files"]}
    try:
        (survey.folder.parent / LIST).write_text(json.dumps(listed), "utf-8")
        for path in [path for path in survey.folder.rglob("*") if path.is_file()]:
            if path.relative_to(survey.folder).as_posix() not in wanted:
                path.unlink()
        return kept_set(_settle(survey.folder.parent, slug(name)))
    except OSError as error:
        raise errors.StoreUnavailable(
            f"The images cannot be kept in {shelf()}: {error.strerror}. Make room, or set HEADROOM_HOME to another "
            "folder."
        ) from error


def staying(survey: Survey, drop_duplicates: bool) -> np.ndarray:
    """Numbers of the images that `keep` keeps. Test images stay; their copies in training go."""
    gone: set[int] = set()
    for files, _, across_classes in survey.duplicates if drop_duplicates else ():
        first = max(files, key=lambda index: (survey.given[index], -index))
        gone |= {*files} if across_classes else {*files} - {first}
    return np.array([index for index in range(len(survey)) if index not in gone], np.int64)


def _settle(folder: Path, name: str) -> str:
    """Renames the whole folder in one step; a rename never replaces a folder that is not empty."""
    for number in range(1, 10_000):
        found = name if number == 1 else f"{name}-{number}"
        if not os.path.lexists(shelf() / found):
            try:
                os.rename(folder, shelf() / found)
                return found
            except OSError:
                if not os.path.lexists(shelf() / found):
                    raise
    raise errors.StoreUnavailable(f"There are ten thousand sets called {name}; choose another name.")


def kept() -> list[str]:
    """The names of the kept sets, in order."""
    return sorted(path.parent.name for path in shelf().glob(f"*/{LIST}") if not path.parent.name.startswith("."))


def kept_task(name: str) -> str:
    """The name of a kept set's task, with the settings kept with it, unless its list is broken."""
    try:
        return kept_set(name).task
    except errors.BadData:
        return f"upload:{name}"


def kept_set(name: str) -> Kept:
    """A kept set. Raises UnknownName where there is none, BadData where its list cannot be read."""
    path = shelf() / name / LIST
    if slug(name) != name or not path.is_file():
        if names := kept():
            raise errors.unknown("kept set of images", name, names)
        raise errors.UnknownName(f"There is no kept set of images {name!r}, nor any other in {shelf()}. Upload one.")
    return _read(path, path.stat().st_mtime_ns, str(home()))


@lru_cache(maxsize=8)
def _read(path: Path, stamp: int, where: str) -> Kept:
    try:
        listed = json.loads(path.read_text("utf-8"))
        if listed["version"] > VERSION:
            raise errors.BadData(f"A newer Headroom wrote {path.parent}; update Headroom.")
        return Kept(
            path.parent.name, path.parent / "images", tuple(listed["files"]), np.array(listed["labels"], np.int64),
            np.array(listed["given"], np.int8), tuple(listed["classes"]), listed["bytes"], listed["made"],
            listed["left_out"], listed.get("query", ""), listed.get("bits", 16),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.BadData(f"{path} cannot be read ({error}); remove {path.parent} and upload it again.") from error


def remove(name: str) -> None:
    """Removes a kept set; results of its runs stay. Raises UnknownName, StoreUnavailable."""
    folder = kept_set(name).folder.parent
    try:
        gone = Path(tempfile.mkdtemp(dir=shelf(), prefix=UNPACKING))
        os.rename(folder, gone / name)  # in one step: nobody sees half a set
        rmtree(gone)
    except OSError as error:
        raise errors.StoreUnavailable(f"{folder} cannot be removed: {error.strerror}.") from error
