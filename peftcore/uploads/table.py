"""A table of labels: which file is of which class, in whatever encoding, delimiter and order of columns it comes."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from peftcore import errors
from peftcore.uploads.limits import Limits, more, size
from peftcore.uploads.names import shown

SUFFIXES = (".csv", ".tsv", ".txt")
DELIMITERS = (",", ";", "\t", "|", " ")
LABELS = (
    "label",
    "labels",
    "class",
    "classes",
    "class_name",
    "classname",
    "category",
    "target",
    "species",
    "breed",
    "y",
)
FILES = ("file", "filename", "file_name", "image", "path", "filepath", "image_path", "id", "image_id", "img", "name")
SPLITS = ("split", "set", "subset", "partition")
LOOKED_AT = 200  # rows from which delimiter and columns are told


class Row(NamedTuple):
    """What a line says of a file: `label` and `split` may be empty."""

    number: int
    file: str
    label: str
    split: str


class Known:
    """The files that a table may name: by path, or by name, with or without its ending, where one file alone has it."""

    def __init__(self, files: Iterable[str]):
        self._files: dict[str, str] = {}
        files = list(files)
        for key_of in (_path, _name, _stem):  # a whole path counts before a mere name
            keys = [key_of(file) for file in files]
            count = Counter(keys)
            for key, file in zip(keys, files, strict=True):
                if count[key] == 1:
                    self._files.setdefault(key, file)

    def find(self, said: str) -> str | None:
        """The file that a table means, or None. 'images/1.png' means 'data/images/1.png' or '1.png', not 'b/1.png'."""
        path = _path(said)
        if (file := self._files.get(path)) is not None:
            return file
        file = self._files.get(_name(said))
        ours = None if file is None else _path(file)
        return file if ours and (path.endswith("/" + ours) or ours.endswith("/" + path)) else None


def _path(file: str) -> str:
    return unicodedata.normalize("NFC", file.strip().replace("\\", "/").removeprefix("./")).casefold()


def _name(file: str) -> str:
    return _path(file).rsplit("/", 1)[-1]


def _stem(file: str) -> str:
    return os.path.splitext(_name(file))[0]


def read(path: Path, name: str, known: Known, limits: Limits) -> tuple[list[Row], bool, str]:
    """The rows of a table, whether its header names a column of labels, and a note on what was guessed ('').

    Raises BadData: too large, no text, without two columns, or with several that could be the labels.
    """
    text, note = _text(path, name, limits)
    rows = _rows(text, name)
    if not rows:
        raise errors.BadData(f"The table {shown(name)} is empty; it should have a line for each image: file, label.")
    width = Counter(len(row) for _, row in rows[:LOOKED_AT]).most_common(1)[0][0]
    if width < 2:
        raise errors.BadData(f"The table {shown(name)} has one column; it should have two: the file and its label.")
    head = [cell.strip().casefold() for cell in rows[0][1]]
    sample = [row for _, row in rows[1 : LOOKED_AT + 1]] or [rows[0][1]]
    hits = [sum(known.find(row[at]) is not None for row in sample if at < len(row)) for at in range(width)]
    if not any(hits) and any(cell in FILES for cell in head):
        file = next(at for at, cell in enumerate(head) if cell in FILES)
    else:
        file = hits.index(max(hits))
    if not any(hits) and not any(cell in FILES for cell in head):
        raise errors.BadData(
            f"No column of the table {shown(name)} names files that are there; its first line is "
            f"{shown(', '.join(rows[0][1]))}. One column should hold file names as they are."
        )
    has_head = file < len(head) and known.find(rows[0][1][file]) is None and _is_head(head, rows)
    named = [at for at, cell in enumerate(head) if has_head and at != file and cell in LABELS]
    split = next((at for at, cell in enumerate(head) if has_head and at != file and cell in SPLITS), None)
    others = [at for at in range(width) if at not in (file, split)]
    if not named and len(others) != 1:
        raise errors.BadData(
            f"The table {shown(name)} has {len(others)} columns beside the files', and none is called label; "
            "call the one with the classes 'label' in the first line."
        )
    label = (named or others)[0]
    found = [Row(number, _cell(row, file), _cell(row, label), _cell(row, split)) for number, row in rows[has_head:]]
    return [row for row in found if row.file], bool(named), note


def _is_head(head: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> bool:
    """A first line that names no file: its words are a column's, or it stands over more lines than itself."""
    return bool({*head} & {*LABELS, *FILES, *SPLITS}) or len(rows) > 1 and "." not in "".join(head)


def _cell(row: Sequence[str], at: int | None) -> str:
    return unicodedata.normalize("NFC", row[at].strip()) if at is not None and at < len(row) else ""


def _text(path: Path, name: str, limits: Limits) -> tuple[str, str]:
    if path.stat().st_size > limits.table:
        raise errors.BadData(
            f"The table {shown(name)} is larger than {size(limits.table)}; shorten it, {more('table')}."
        )
    data = path.read_bytes()
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for coding in ("utf-16",) if wide else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            text = data.decode(coding)
        except UnicodeDecodeError:
            continue
        if "\0" in text or sum(c < " " and c not in "\t\r\n\f" for c in text[:4096]) > 8:
            break
        guessed = coding in ("cp1252", "latin-1")
        return text, f"{shown(name)} is not UTF-8 and was read as Western European ({coding})." if guessed else ""
    raise errors.BadData(f"The table {shown(name)} is no text; save it as CSV in UTF-8.")


def _rows(text: str, name: str) -> list[tuple[int, list[str]]]:
    lines = [line for line in text.splitlines()[:LOOKED_AT] if line.strip()]
    delimiter = max(DELIMITERS, key=lambda mark: (_columns(lines, mark) > 1, -DELIMITERS.index(mark)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise errors.BadData(
            f"The table {shown(name)} cannot be read at line {reader.line_num} ({error}); save it as CSV anew."
        ) from error


def _columns(lines: Sequence[str], delimiter: str) -> int:
    """How many columns nearly all lines have with this delimiter; 0 where they disagree."""
    try:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return 0
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    return width if count >= 0.9 * sum(widths.values()) else 0
