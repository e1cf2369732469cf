"""export(source, kind, to): one export by name, written where the user wants it."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peftcore import errors
from peftcore.cli.exports._source import Source
from peftcore.registry import Registry

EXPORTS = Registry("cli.exports", "kind of export", "TITLE PURPOSE MAKES why_not write")


@dataclass(frozen=True)
class Kind:
    """One kind of export: what it is for, how it is made, and whether that takes loading the trained model."""

    name: str
    title: str
    purpose: str
    makes: Literal["file", "folder"]
    why_not: Callable[[Source], str | None]
    write: Callable[[Source, Path], Path]
    loads: bool

    @classmethod
    def of(cls, name: str) -> Kind:
        """Raises UnknownName."""
        module = EXPORTS.load(name)
        loads = getattr(module, "LOADS", False)
        return cls(name, module.TITLE, module.PURPOSE, module.MAKES, module.why_not, module.write, loads)


def kinds() -> list[Kind]:
    """All kinds of export, by name."""
    return [Kind.of(name) for name in EXPORTS.names()]


def export(source: Any, kind: str, to: str | Path = ".") -> Path:
    """Writes one export and returns where it lies.

    Args:
        source: the number of a run, the folder of a saved adapter, a Result of `pc.run`, or a TunedModel.
        kind: the name of a file in this folder, such as 'onnx'.
        to: a folder that exists, in which the export gets its own name; or the name of the file or folder to write. An
            export that is a folder is zipped where `to` ends in .zip; a file has its suffix appended where `to` ends
            otherwise, since whoever reads it goes by that.

    Raises:
        UnknownName: no such kind, no such run.
        CannotExport: this source cannot be exported so, or `to` cannot be written; the sentence says why.
    """
    known, source, to = Kind.of(kind), Source.of(source), Path(os.path.expanduser(to))
    if why := known.why_not(source):
        raise errors.CannotExport(why)
    with tempfile.TemporaryDirectory() as scratch:
        made = known.write(source, Path(scratch))
        if made.is_dir() and to.suffix == ".zip":
            made = zipped(made)
        target = to / made.name if to.is_dir() else to
        if made.is_file() and target.suffix != made.suffix:
            target = target.with_name(target.name + made.suffix)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(made, target)
        except OSError as error:
            raise errors.CannotExport(
                f"{str(target)!r} cannot be written ({error.strerror or error}); choose another place with --to."
            ) from error
    return target


def _put(made: Path, target: Path) -> None:
    """All of it beside the target first: what stood there before stays whole until its successor is."""
    files = [file for file in made.rglob("*") if file.is_file()] if made.is_dir() else [made]
    places = {file: target / file.relative_to(made) for file in files}  # a file's own place is the target itself
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as scratch:
        parts = {Path(scratch, str(number)): file for number, file in enumerate(files)}
        for part, file in parts.items():
            shutil.copyfile(file, part)
        for part, file in parts.items():
            places[file].parent.mkdir(parents=True, exist_ok=True)
            part.replace(places[file])


def as_bytes(source: Any, kind: str) -> tuple[str, bytes]:
    """An export as one file: its name and contents; what is a folder is zipped. Raises as `export`."""
    with tempfile.TemporaryDirectory() as scratch:
        made = export(source, kind, scratch)
        made = zipped(made) if made.is_dir() else made
        return made.name, made.read_bytes()


def zipped(folder: Path) -> Path:
    """A zip beside the folder that holds its files, so that it unpacks into a folder of that name."""
    path = folder.with_name(folder.name + ".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            archive.write(file, Path(folder.name) / file.relative_to(folder))
    return path
