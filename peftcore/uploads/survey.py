"""What an archive or a folder holds: classes, counts, sizes, duplicates, and the files that are broken."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import BinaryIO, NamedTuple

import numpy as np

from peftcore import errors
from peftcore.home import home
from peftcore.uploads import archives, kinds, layout, looking, notes
from peftcore.uploads.intake import CHUNK, Allow, Intake, Tell, anything, silent
from peftcore.uploads.limits import Limits
from peftcore.uploads.names import shown
from peftcore.uploads.placed import Skipped

UNPACKING = ".unpacking-"
FORGOTTEN = 24 * 3600  # seconds after which a folder left behind by a killed process is removed


class Duplicate(NamedTuple):
    """Files with the same picture, as indices into `Survey.files`."""

    files: tuple[int, ...]
    across_splits: bool
    across_classes: bool


@dataclass(frozen=True)
class Survey:
    """What was found under `folder`, which holds nothing but the images. They are in a fixed order; arrays have a row
    for each."""

    folder: Path
    kind: str  # 'folders', 'splits' or 'table'
    files: tuple[str, ...]  # paths from the folder
    labels: np.ndarray  # int64 (n,), indices into classes
    given: np.ndarray  # int8 (n,), indices into SPLITS, -1 where none is given
    sizes: np.ndarray  # int64 (n, 2): width, height, upright
    classes: tuple[str, ...]
    bytes: int
    duplicates: tuple[Duplicate, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    bits: int = 16  # depth of the values in 16-bit images; see decoding.decode
    _temporary: tempfile.TemporaryDirectory | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.files)

    def counts(self, splits: Mapping[str, np.ndarray]) -> dict[str, dict[str, int]]:
        """{split: {class: images}} of these index arrays, by split."""
        return {
            name: dict(
                zip(self.classes, np.bincount(self.labels[part], minlength=len(self.classes)).tolist(), strict=True)
            )
            for name, part in splits.items()
        }

    def discard(self) -> None:
        """Removes the unpacked files now, rather than when the survey is garbage-collected."""
        if self._temporary is not None:
            self._temporary.cleanup()


def shelf() -> Path:
    """Where users' images are kept: `images` in Headroom's own folder."""
    return home() / "images"


def examine(
    source: str | Path | BinaryIO | Sequence[tuple[str, BinaryIO]],
    *,
    limits: Limits | None = None,
    tell: Tell = silent,
    allow: Allow = anything,
) -> Survey:
    """Copies or unpacks `source` into a folder of its own beside the kept sets, and looks at every image.

    Args:
        source: an archive (a path, or an open file), a folder, or (path, open file) pairs.
        tell: receives progress; may raise to stop.
        allow: is asked of bytes before they are written, and of images before they are decoded; may raise.

    Raises:
        BadData: no images, only one class, an unsafe or damaged archive, or a limit exceeded.
        StoreUnavailable: the disk is full or cannot be written to.
        What `tell` and `allow` raise.
    Whatever it raises, the disk is left as it was.
    """
    limits = limits or Limits.here()
    temporary = _temporary()
    try:
        folder = Path(temporary.name) / "images"
        folder.mkdir()
        guesses = _take(source, Intake(folder, limits, allow=allow), tell)
        return _survey(folder, limits, tell, allow, temporary, guesses)
    except BaseException:
        temporary.cleanup()
        raise


def _temporary() -> tempfile.TemporaryDirectory:
    try:
        shelf().mkdir(parents=True, exist_ok=True)
        for left in shelf().glob(UNPACKING + "*"):
            if time.time() - left.stat().st_mtime > FORGOTTEN:
                rmtree(left, ignore_errors=True)
        return tempfile.TemporaryDirectory(dir=shelf(), prefix=UNPACKING, ignore_cleanup_errors=True)
    except OSError as error:
        raise errors.StoreUnavailable(
            f"Images cannot be kept in {shelf()}: {error.strerror}. Set HEADROOM_HOME to a folder that can be written."
        ) from error


def _take(source: str | Path | BinaryIO | Sequence[tuple[str, BinaryIO]], intake: Intake, tell: Tell) -> list[str]:
    """Puts the files into the folder, and returns notes on what was guessed."""
    if not isinstance(source, (str, Path, Sequence)):
        return _unpack(source, intake, tell)
    if not isinstance(source, (str, Path)):
        _copy(source, len(source), intake, tell)
        return []
    path = Path(source).expanduser()
    if path.is_dir():
        files = layout.walk(path, intake.limits)
        for name in files:
            if (path / name).is_symlink() or not (path / name).is_file():
                raise errors.BadData(f"{shown(name)} in {path} is a link or not a file; replace it by the file itself.")
        _copy(((name, (path / name).open("rb")) for name in files), len(files), intake, tell)
        return []
    if not path.is_file():
        raise errors.BadData(f"There is no file or folder {path}.")
    with path.open("rb") as file:
        return _unpack(file, intake, tell)


def _unpack(file: BinaryIO, intake: Intake, tell: Tell) -> list[str]:
    intake.packed = file.seek(0, 2)
    return archives.unpack(file, intake, tell)


def _copy(files: Iterable[tuple[str, BinaryIO]], count: int, intake: Intake, tell: Tell) -> None:
    intake.foresee(count, 0)
    for done, (name, file) in enumerate(files):
        tell("Copying", done / count)
        with file:
            file.seek(0)
            intake.add(name, iter(partial(file.read, CHUNK), b""))


def _survey(
    folder: Path,
    limits: Limits,
    tell: Tell,
    allow: Allow,
    temporary: tempfile.TemporaryDirectory,
    guesses: Sequence[str],
) -> Survey:
    files = layout.walk(folder, limits)
    found = layout.read(folder, files, limits)
    allow(len(found.placed), 0)
    looks = looking.look(folder, [one.file for one in found.placed], limits, tell)
    good, skipped = [], list(found.skipped)
    for one, seen in zip(found.placed, looks, strict=True):
        if isinstance(seen, str):
            skipped.append(Skipped(one.file, seen))
        else:
            good.append((one, seen))
    skipped += [Skipped(file, kinds.why_not_an_image(folder, file)) for file in found.others]
    images, pixels = [one for one, _ in good], [seen.pixels for _, seen in good]
    present = {one.label for one in images}
    classes = tuple(name for name in found.classes if name in present)
    if len(classes) < 2:
        first = f": {skipped[0].file}, {skipped[0].why}"[:250] if skipped else ""
        whose = f"Only images of one class, {shown(classes[0])}, can" if classes else "No image in it can"
        raise errors.BadData(f"{whose} be used{first}. A task needs at least two classes; fix them and try again.")
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[one.label] for one in images], np.int64)
    given = np.array([one.split for one in images], np.int8)
    bits, deep = notes.of_depth(pixels)
    for file in {*files} - {one.file for one in images}:
        (folder / file).unlink()  # a survey that waits to be kept takes no more of the disk than it says
    told = (*guesses, *found.notes, *deep, *notes.of_classes(found.classes, classes, labels, given))
    return Survey(
        folder, found.kind, tuple(one.file for one in images), labels, given,
        np.array([one.size for one in pixels], np.int64), classes, sum(seen.bytes for _, seen in good),
        _duplicates([one.fingerprint for one in pixels], labels, given), tuple(skipped), told, bits, temporary,
    )  # fmt: skip


def _duplicates(prints: Sequence[bytes], labels: np.ndarray, given: np.ndarray) -> tuple[Duplicate, ...]:
    groups = defaultdict(list)
    for index, same in enumerate(prints):
        groups[same].append(index)
    return tuple(
        Duplicate(tuple(group), len({*given[group].tolist()}) > 1, len({*labels[group].tolist()}) > 1)
        for group in groups.values()
        if len(group) > 1
    )
