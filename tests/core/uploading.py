"""Images in folders, uploaded in every packing."""

from __future__ import annotations

import itertools
from pathlib import Path

from bad_uploads import picture, tarred, zipped

from peftcore import uploads


def pictures(*folders: str, each: int = 4, ending: str = ".png") -> dict[str, bytes]:
    """Different images, `each` in every folder, called 0, 1, ... in each."""
    number = itertools.count()
    return {f"{folder}/{i}{ending}": picture(next(number)) for folder in folders for i in range(each)}


def on_disk(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def examine(home: Path, files: dict[str, bytes]) -> uploads.Survey:
    """What these files give as a zip; a tar and the folder itself give the same."""
    found = uploads.examine(zipped(home, files))
    for other in (tarred(home, files), on_disk(home / "plain", files)):
        again = uploads.examine(other)
        assert (again.classes, again.kind, again.notes) == (found.classes, found.kind, found.notes)
        assert {*again.files} == {*found.files} and {*again.skipped} == {*found.skipped}
    return found


def in_splits(found: uploads.Survey) -> dict[str, tuple[str, int]]:
    """By file, its class and its split."""
    return {
        file: (found.classes[label], int(split))
        for file, label, split in zip(found.files, found.labels, found.given, strict=True)
    }
