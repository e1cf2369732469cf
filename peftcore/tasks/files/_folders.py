"""What tasks from folders share: their argument `PATH?setting=value&...`, and lists of lines `image label`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from peftcore import errors
from peftcore.fetch.confined import VARIABLE, confined
from peftcore.task import SYMMETRIES, Split
from peftcore.uploads.decoding import FITS
from peftcore.uploads.pictures import Pictures

SIZE = 224  # pixels on a side, unless the argument says otherwise
# Values of the setting `symmetries`: which of task.SYMMETRIES keep the labels, comma-separated.
SYMMETRIES_SAID = {"all": SYMMETRIES, "none": ()} | {
    ",".join(some): some for count in (1, 2) for some in combinations(SYMMETRIES, count)
}
DECODING = {"size": (SIZE, range(8, 1025)), "fit": (FITS[0], FITS)}  # settings of every task from a folder

Line = tuple[str, int]


def parse(kind: str, argument: str, settings: Mapping[str, tuple[Any, Sequence]]) -> tuple[Path, dict[str, Any]]:
    """The folder and the settings in `PATH?setting=value&...`; `settings` has (default, allowed) by name.

    If HEADROOM_DATA names a folder, paths start there, and only folders below it are read (fetch/confined.py).

    Raises:
        UnknownName: an unknown setting.
        InvalidSetting: no path, or a value that is not allowed.
        BadData: there is no such folder, or it is not below HEADROOM_DATA.
    """
    if "?" in argument and confined(argument, f"Write {kind}:NAME for one of its folders.").is_dir():
        raise errors.InvalidSetting(f"{argument!r} has a ?, after which a task has its settings; rename the folder.")
    name, said = parse_settings(kind, argument, settings, "a folder", "PATH")
    folder = confined(name, f"Write {kind}:NAME for one of its folders.")
    if not folder.is_dir():
        whole = os.environ.get(VARIABLE) or Path(name).expanduser().is_absolute()
        start = "" if whole else " A path that starts with / works from anywhere."
        raise errors.BadData(f"There is no folder {folder}.{start}")
    return folder, said


def parse_settings(
    kind: str, argument: str, settings: Mapping[str, tuple[Any, Sequence]], what: str, word: str
) -> tuple[str, dict[str, Any]]:
    """The part before the question mark, and the settings after it; allowed values may include ranges.

    Raises UnknownName and InvalidSetting as `parse` does.
    """
    first, _, query = argument.partition("?")
    if not first:
        raise errors.InvalidSetting(f"Task {kind!r} needs {what}: write {kind}:{word}.")
    said = {name: default for name, (default, _) in settings.items()}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in settings:
            raise errors.unknown(f"setting of task {kind!r} called", name, settings)
        allowed = settings[name][1]
        allowed = (allowed,) if isinstance(allowed, range) else allowed
        found = [_chosen(choice, value) for choice in allowed]
        said[name] = next((choice for choice in found if choice is not None), None)
        if said[name] is None:
            between = "; " if any("," in str(choice) for choice in allowed) else ", "
            choices = between.join(f"{c[0]} to {c[-1]}" if isinstance(c, range) else str(c) for c in allowed)
            raise errors.InvalidSetting(f"Task {kind!r}: {name}={value} is not possible; it must be one of {choices}.")
    return first, said


def _chosen(choice: Any, value: str) -> Any:
    if not isinstance(choice, range):  # comma-separated words mean the same in any order
        return choice if sorted(str(choice).split(",")) == sorted(value.split(",")) else None
    return int(value) if re.fullmatch("[1-9][0-9]{0,11}|0", value) and int(value) in choice else None


def stamps(files: Sequence[Path]) -> tuple[tuple[int, int] | None, ...]:
    """What changes when a file does: its modification time and size, or None where it is missing."""
    return tuple((s.st_mtime_ns, s.st_size) if (s := _stat(file)) else None for file in files)


def read_list(file: Path) -> list[Line]:
    """The (image, label) of each line; blank lines are ignored.

    Raises BadData: missing, not text, empty, or a line that is not an image followed by a label (0 or more).
    """
    lines = []
    for number, line in enumerate(_read_lines(file), 1):
        if not line.strip():
            continue
        if not (pair := re.fullmatch(r"\s*([^\s\0][^\0]*?)\s+([0-9]{1,9})\s*", line)):
            shown = line.strip() if len(line) <= 80 else line.strip()[:77] + "..."
            raise errors.BadData(
                f"{file}, line {number}: {shown!r} is not an image and its class number, such as 'images/0.jpg 3'."
            )
        lines.append((pair[1], int(pair[2])))
    if not lines:
        raise errors.BadData(f"The list {file} is empty; each of its lines should be an image and its class number.")
    return lines


def _read_lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise errors.BadData(f"The list {file} is missing.{_folders_with(file)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise errors.BadData(f"The list {file} cannot be read as text: {error}.") from error


def _folders_with(file: Path) -> str:
    """A hint for a path to the folder of all tasks: the folders in it that have this list."""
    folder = next(parent for parent in file.parents if parent.is_dir())
    inside = file.relative_to(folder)
    below = sorted(path.name for path in folder.iterdir() if (path / inside).is_file())
    return f" These folders in {folder} have it: {', '.join(below[:20])}; use one of them." if below else ""


def class_names(folder: Path, lists: Mapping[str, Sequence[Line]], count: int | None = None) -> tuple[str, ...]:
    """Names from the folder's `classes.txt`, one per line, if there is one; else the numbers from 0.

    `count` is the number of classes where it is known; else classes.txt or the highest label decides.

    Raises BadData: a label beyond the classes, or a classes.txt of another length or with a repeated name.
    """
    file, names = folder / "classes.txt", None
    if file.is_file():
        names = tuple(line.strip() for line in _read_lines(file) if line.strip())
        if len(set(names)) < len(names) or len(names) != (count or len(names)):
            wanted = f"the {count} classes" if count else "every class once"
            raise errors.BadData(
                f"{file} has {len(names)} names, {len(set(names))} of them different; it should name {wanted}."
            )
    whose = f"{folder.name} has" if count else f"{file} names"
    count = count or len(names or ())
    for name, lines in lists.items():
        image, label = max(lines, key=lambda line: line[1])
        if count and label >= count:
            raise errors.BadData(f"{name}: {image} has label {label}, but {whose} {count} classes, 0 to {count - 1}.")
    if len({label for lines in lists.values() for _, label in lines}) < 2:
        raise errors.BadData(f"The lists in {folder} have images of only one class; a task needs at least two.")
    if not count:
        count, images = 1 + max(label for lines in lists.values() for _, label in lines), sum(map(len, lists.values()))
        if count > images:
            raise errors.BadData(
                f"The labels in {folder} go up to {count - 1}, but its lists have only {images} images, fewer than "
                f"classes. Number the classes from 0, or name them all in {file}."
            )
    return names or tuple(map(str, range(count)))


def val_is_new(lists: Mapping[str, Sequence[Line]]) -> bool:
    """Whether no validation image is trained or tested on. `lists`: train, val and test by name, in this order.

    Raises BadData where a test image is trained on.
    """
    (train_list, train), (_, val), (test_list, test) = (
        (name, {os.path.normpath(image): image for image, _ in lines}) for name, lines in lists.items()
    )
    if seen := train.keys() & test.keys():
        raise errors.BadData(
            f"{test_list}: {test[min(seen)]} is also in {train_list}"
            f"{f', and so are {len(seen) - 1} more' * (len(seen) > 1)}; test images must be new. Remove it from one "
            "of the lists."
        )
    return not val.keys() & (train.keys() | test.keys())


def read_split(
    folder: Path, images: Path, list_name: str, lines: Sequence[Line], size: int, fit: str, bits: int = 16
) -> Split:
    """A split of the listed files under `images`; nothing is decoded yet.

    Raises BadData: a file that is missing or empty, or outside `folder` (through '..' or a symbolic link).
    """
    root, inside = Path(os.path.realpath(folder)), {}  # inside: whether each folder is, checked once
    files = [images / image for image, _ in lines]
    for file, (image, _) in zip(files, lines, strict=True):
        if file.parent not in inside:
            inside[file.parent] = _is_inside(file.parent, root)
        found = _stat(file) if inside[file.parent] else None
        if not inside[file.parent] or file.name == ".." or (found and file.is_symlink() and not _is_inside(file, root)):
            raise errors.BadData(f"{list_name}: {image} leads out of {folder}; only images in that folder are read.")
        if not found or not stat.S_ISREG(found.st_mode) or not found.st_size:
            what = "missing" if not found else "an empty file" if stat.S_ISREG(found.st_mode) else "not a file"
            raise errors.BadData(f"{list_name}: the image {file} is {what}. Put it there, or remove its line.")
    labels = np.array([label for _, label in lines], np.int64)
    labels.flags.writeable = False
    return Split(Pictures(files, size, fit, bits=bits), labels)


def _is_inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None
