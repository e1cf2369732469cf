"""Data sets of the Hugging Face hub: `hf:OWNER/NAME` or `hf:OWNER/NAME?setting=value&...`.

Only parquet files are read: those into which the hub converts every data set it can (the revision
refs/convert/parquet), else the data set's own. A data set's scripts are never run. Files are kept in `datasets/hf` of
Headroom's own folder (HEADROOM_HOME), by commit, and the commit is recorded: a fetched data set stays the same and
needs no network. Files that other tools have put into the hub's cache are read there.

Settings besides those of _named.py:

    config   which part of the data set, where it has several
    image    the column of images, where it has several
    label    the column of classes, where it has several, or none that is declared as such
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np

from peftcore import errors
from peftcore.fetch import hub, transfer
from peftcore.fetch.transfer import Tell
from peftcore.home import home
from peftcore.task import Task
from peftcore.tasks.files import _folders
from peftcore.tasks.remote import _named
from peftcore.tasks.remote._parquet import Table, columns, numbered
from peftcore.uploads.decoding import decode

TITLE = "Hugging Face data set"
DESCRIPTION = (
    "A data set of the Hugging Face hub, downloaded once: 800 images to train, 200 to validate, its own test split."
)
GROUP = "natural"
CLASSES = ()
ARGUMENT = "OWNER/NAME"
SOURCE = "A data set of the Hugging Face hub"

NAMES = ("config", "image", "label")  # settings with names as values
SETTINGS = _named.SETTINGS | {name: (None, ()) for name in NAMES}
CONVERTED = "refs/convert/parquet"
# CONFIG/SPLIT/0000.parquet, or CONFIG/partial-SPLIT/... where only a part was converted; then the data set's own files.
_CONVERTED = re.compile(r"(?P<config>[^/]+)/(?P<part>partial-)?(?P<split>[^/]+)/\d+\.parquet")
_OWN = re.compile(r"(?:(?P<config>[^/]+)/)?(?P<split>[A-Za-z_]+)-\d+-of-\d+[^/]*\.parquet")
_MEANT = {"train": ("train", "training"), "test": ("test", "testing"), "val": ("validation", "valid", "val", "dev")}


def parsed(argument: str) -> tuple[str, dict[str, Any]]:
    """The repository and the settings. Raises UnknownName, InvalidSetting."""
    repo, _, query = argument.partition("?")
    if not re.fullmatch(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", repo) or ".." in repo:
        raise errors.InvalidSetting(f"Task 'hf' needs a data set of the hub: write hf:OWNER/NAME, not {repo!r}.")
    pairs = parse_qsl(query, keep_blank_values=True)
    names = {name: value for name, value in pairs if name in NAMES}
    rest = urlencode([pair for pair in pairs if pair[0] not in NAMES])
    _, said = _folders.parse_settings("hf", f"{repo}?{rest}", SETTINGS, "a data set of the hub", ARGUMENT)
    return repo, said | names


def _note(repo: str) -> Path:
    return home() / "datasets" / "hf" / f"{repo.replace('/', '--')}.json"


def here(argument: str) -> bool:
    """Whether all files of the task are on this machine. Raises UnknownName, InvalidSetting."""
    repo, said = parsed(argument)
    try:
        return all(_files(repo, said["config"])[1].values())
    except errors.DataUnavailable:
        return False


def _files(repo: str, config: str | None) -> tuple[dict[str, list[str]], dict[str, Path | None], dict[str, Any]]:
    """The files of a config by split, in order; where each is on this machine; and the record of the data set.

    Raises:
        DataUnavailable: there is no record, since it was never fetched.
        InvalidSetting: several configs, and none was chosen.
        UnknownName: no such config.
    """
    try:
        noted = json.loads(_note(repo).read_text())
    except (OSError, ValueError):
        raise errors.DataUnavailable(
            f"The data set {repo} is not on this machine: fetch it where there is a network (python -m peftcore fetch "
            f"hf:{repo})."
        ) from None
    configs: dict[str, dict[str, list[str]]] = {}
    for file in sorted(noted["files"]):
        found = _CONVERTED.fullmatch(file) if noted["revision"] == CONVERTED else _OWN.fullmatch(file)
        if found:
            splits = configs.setdefault(found["config"] or "data", {})
            splits.setdefault(_meant(found["split"]), []).append(file)
    if config is None:
        if len(configs) > 1 and "default" not in configs:
            raise errors.InvalidSetting(
                f"The data set {repo} has several parts; choose one, as in hf:{repo}?config={next(iter(configs))}. "
                f"There are: {', '.join(configs)}."
            )
        config = "default" if "default" in configs else next(iter(configs))
    if config not in configs:
        raise errors.unknown(f"part of the data set {repo} called", config, configs)
    where = {file: _whole(repo, file, noted) for files in configs[config].values() for file in files}
    return configs[config], where, noted


def _meant(split: str) -> str:
    return next((name for name, spelt in _MEANT.items() if split.lower() in spelt), split)


def _place(repo: str, file: str, noted: dict[str, Any]) -> Path:
    """Where a fetched file is kept."""
    return _note(repo).with_suffix("") / noted["commit"] / file


def _whole(repo: str, file: str, noted: dict[str, Any]) -> Path | None:
    places = (_place(repo, file, noted), hub.cached(repo, file, "dataset", noted["commit"]))
    size = noted["files"][file]
    return next((place for place in places if place and place.is_file() and place.stat().st_size == size), None)


def fetch(argument: str, tell: Tell = lambda *_: None) -> Path:
    """Downloads the files of the task that are not here, and returns their folder. `tell` counts all files together.

    Raises:
        UnknownName, InvalidSetting: an unknown setting or an invalid value.
        DataUnavailable: no such data set, no parquet files, no connection to the hub, no room.
    """
    repo, said = parsed(argument)
    try:
        if not _note(repo).is_file():
            _list(repo)
        splits, where, noted = _files(repo, said["config"])
        sizes = {file: noted["files"][file] for file in where}
        before, total = 0, sum(sizes.values())
        for file, size in sizes.items():
            if not where[file]:
                place = _place(repo, file, noted)
                hub.fetch_data(repo, file, noted["commit"], place, _beyond(before, total, tell))
            before += size
    except transfer.NETWORK as error:
        raise errors.DataUnavailable(
            f"The data set {repo} could not be downloaded from {hub.hub()} ({transfer.why(error)}); whatever has "
            "arrived is kept for next time. Connect to the network and try again, or fetch it on a machine that has "
            f"one (python -m peftcore fetch hf:{repo}) and copy its folder {_note(repo).parent}."
        ) from error
    except OSError as error:
        raise errors.DataUnavailable(
            f"The data set {repo} cannot be kept in {_note(repo).parent}: {transfer.why(error)}; whatever has "
            "arrived is kept. Make room there, or choose another folder with HEADROOM_HOME."
        ) from error
    first = next(iter(where))
    return Path(str(_whole(repo, first, noted)).removesuffix(first))


def _beyond(before: int, total: int, tell: Tell) -> Tell:
    """Progress of one file as progress of all: the files before it have `before` bytes."""
    return lambda done, _: tell(before + done, total)


def _list(repo: str) -> None:
    """Records which files there are, at which commit. Raises DataUnavailable where none can be read."""
    from huggingface_hub.errors import RevisionNotFoundError

    for revision, pattern in ((CONVERTED, _CONVERTED), ("main", _OWN)):
        try:
            commit, files = hub.listing(repo, revision)
        except RevisionNotFoundError:
            continue
        if files := {file: size for file, size in files.items() if pattern.fullmatch(file)}:
            note = _note(repo)
            note.parent.mkdir(parents=True, exist_ok=True)
            new = note.with_suffix(".new")
            new.write_text(json.dumps({"revision": revision, "commit": commit, "files": files}))
            new.replace(note)
            return
    raise errors.DataUnavailable(
        f"The data set {repo} has no parquet files on {hub.hub()}. Headroom reads only those and never runs a data "
        "set's own script; save it as folders of images, and use them as folder:PATH."
    )


def load(argument: str = "") -> Task:
    """The task of a data set on this machine; images are decoded when they are read.

    Raises:
        UnknownName, InvalidSetting: no such setting, value, part or column, or too few images.
        DataUnavailable: it is not on this machine, or incomplete.
        BadData: it holds no images with classes; later, when it is read, a broken image.
    """
    repo, said = parsed(argument)
    splits, where, noted = _files(repo, said["config"])
    if not all(where.values()):
        missing = sum(path is None for path in where.values())
        raise errors.DataUnavailable(
            f"{missing} of the {len(where)} files of the data set {repo} are not on this machine: fetch them where "
            f"there is a network (python -m peftcore fetch hf:{repo})."
        )
    files = tuple((split, tuple(map(str, (where[file] for file in names)))) for split, names in splits.items())
    return _task(argument, repo, files, tuple(said.items()), noted["commit"])


@lru_cache(maxsize=4)
def _task(argument: str, repo: str, files: tuple, settings: tuple, commit: str) -> Task:
    from pyarrow import ArrowException

    said = dict(settings)
    wanted = [split for split, _ in files if split in _MEANT]
    parts = {split: paths for split, paths in files if split in wanted} or {"all": files[0][1]}
    try:
        tables = {split: Table(paths) for split, paths in parts.items()}
        image, label, names = columns(repo, next(iter(tables.values())), said)
        values = {split: table.column(label) for split, table in tables.items()}
    except (OSError, ArrowException) as error:
        raise errors.BadData(
            f"The parquet files of {repo} cannot be read: {transfer.why(error)}. Remove {Path(files[0][1][0]).parent} "
            "and fetch them again."
        ) from error
    labels, classes = numbered(repo, label, values, names)
    found, text = _named.places(f"hf:{repo}", labels, said)

    def read(split: str, number: int) -> np.ndarray:
        name = f"image {number:,} of the {split} split of {repo}"
        data = tables[split].bytes(image, number)
        if data is None:
            raise errors.BadData(
                f"There is no {name}: its row is empty or refers to a file elsewhere. Choose other columns."
            )
        return decode(BytesIO(data), said["size"], said["fit"], name)

    train, val, test = _named.splits(found, labels, read, said["size"], said["fit"])
    if any("/partial-" in path for paths in parts.values() for path in paths):
        text += " The hub has only part of it as parquet."
    source = f"{hub.hub()}/datasets/{repo}, commit {commit[:12]}"
    return Task(
        f"hf:{argument}", f"{TITLE}: {repo}", f"{repo}. {text}", GROUP, classes, train, val, test, source,
        _named.symmetries(said),
    )  # fmt: skip
