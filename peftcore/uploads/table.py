"""A table of labels: the class of each file, in whatever encoding, delimiter and order of columns it comes."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from peftcore import errors
from peftcore.uploads import encodings
from peftcore.uploads.limits import Limits, more, size
from peftcore.uploads.names import shown
from peftcore.uploads.notes import listed
from peftcore.uploads.splits import hints_at_a_split, split_of

if TYPE_CHECKING:
    import pandas as pd

DELIMITERS = (",", ";", "\t", "|", " ")
# Headings of columns, without spaces and punctuation: 'Class ID' is 'classid'.
LABELS = (
    "label", "labels", "class", "classes", "classname", "classid", "labelname", "labelid", "category", "categoryname",
    "categoryid", "target", "species", "breed", "diagnosis", "dx", "y",
)  # fmt: skip
FILES = (
    "file", "files", "filename", "filenames", "filepath", "image", "images", "imagename", "imagepath", "imagefile",
    "path", "id", "imageid", "img", "imgname", "imgpath", "imgid", "name", "picture", "photo", "relativepath", "fname",
)  # fmt: skip
SPLIT = ("split", "set", "subset", "partition")
LOOKED_AT = 200  # rows by which the delimiter and the columns are recognised


class Row(NamedTuple):
    """What a line says about a file; `label` and `split` may be empty."""

    number: int
    file: str
    label: str
    split: str


class Labels(NamedTuple):
    """A table that was read. `column`: the heading of its labels, '' where it has none."""

    rows: list[Row]
    column: str
    note: str  # about what was guessed, or ''


class Known:
    """The files that a table may name: by path, or by file name, with or without its ending, where that is unique.
    `others`: files that it may name by their whole path only."""

    def __init__(self, files: Iterable[str], others: Iterable[str] = ()):
        self._files: dict[str, str] = {}
        self._others = {_path(file): file for file in others}
        files = list(files)
        for key_of in (_path, _name, _stem):  # a whole path takes precedence over a file name
            keys = [key_of(file) for file in files]
            count = Counter(keys)
            for key, file in zip(keys, files, strict=True):
                if count[key] == 1:
                    self._files.setdefault(key, file)
        ends = [(end, file) for file in files for end in _ends(_path(file))]
        count = Counter(end for end, _ in ends)
        self._ends = {end: file for end, file in ends if count[end] == 1}

    def find(self, cell: str) -> str | None:
        """The file that a cell means, or None. 'images/1.png' means 'data/images/1.png' or '1.png', not 'b/1.png'."""
        path = _path(cell)
        if (file := self._files.get(path)) is not None:
            return file
        file = self._files.get(_name(cell))
        ours = None if file is None else _path(file)
        if ours and (path.endswith("/" + ours) or ours.endswith("/" + path)):
            return file
        if (file := self._others.get(path) or self._ends.get(path)) is not None:
            return file
        return next(filter(None, (self._files.get(end) or self._moved(path, end) for end in _ends(path))), None)

    def _moved(self, path: str, end: str) -> str | None:
        """The file that a whole path on another machine means by its end, whichever folder it lies in now. That of
        another split may end alike, and is another file."""
        file = self._ends.get(end) if re.match(r"/|[a-z]:/", path) else None
        left = [*path.removesuffix(end).split("/"), *_path(file).removesuffix(end).split("/")] if file else []
        return None if any(split_of(part) is not None for part in left if part) else file


def _path(file: str) -> str:
    return unicodedata.normalize("NFC", file.strip().replace("\\", "/").removeprefix("./")).casefold()


def _ends(path: str) -> list[str]:
    """'a/b/c.png' -> ['b/c.png']: what is left without its first folders, as long as a folder is."""
    parts = path.split("/")
    return ["/".join(parts[at:]) for at in range(1, len(parts) - 1)]


def _name(file: str) -> str:
    return _path(file).rsplit("/", 1)[-1]


def _stem(file: str) -> str:
    return os.path.splitext(_name(file))[0]


def read(path: Path, name: str, known: Known, limits: Limits, column: str = "") -> Labels:
    """The rows of a table. `column`: the heading of the labels in another table of the same set, to be found here too.

    Raises BadData: too large, not text, fewer than two columns, or several that could be the labels.
    """
    text, note = _text(path, name, limits)
    frame = _frame(text, name)
    if frame.empty:
        raise errors.BadData(f"The table {shown(name)} is empty; it should have one line per image: file, label.")
    if frame.shape[1] < 2:
        raise errors.BadData(f"The table {shown(name)} has one column; it needs two: the file and its label.")
    head = [_plain(cell) for cell in frame.iloc[0]]
    sample = frame.iloc[1 : LOOKED_AT + 1] if len(frame) > 1 else frame
    hits = [sum(known.find(cell) is not None for cell in sample[at]) for at in frame]
    # Class numbers may look like file names ('0' and 0.png): then the headings decide.
    likely = sorted(frame, key=lambda at: (-hits[at], head[at] not in FILES, head[at] in LABELS))
    file = likely[0] if any(hits) else next((at for at, cell in enumerate(head) if cell in FILES), None)
    if file is None:
        raise errors.BadData(
            f"No column of the table {shown(name)} names files in the set; its first line is "
            f"{shown(', '.join(frame.iloc[0]))}. One column must hold the exact file names."
        )
    has_head = known.find(frame.iat[0, file]) is None and _is_head(head, frame)
    others = [at for at in frame if at != file]
    cells = frame.iloc[int(has_head) :]
    named = sorted((at for at in others if has_head and head[at] in LABELS), key=lambda at: LABELS.index(head[at]))
    if "x" in head:  # y is a coordinate
        named = [at for at in named if head[at] != "y"]
    split = next((at for at in others if has_head and head[at] in SPLIT), None)
    if split is None and len(others) > 1:  # whatever its heading: usage, fold, dataset
        split = next((at for at in others if at not in named and _are_splits(cells[at])), None)
    others, named = ([at for at in some if at != split] for some in (others, named))
    if split is None and len(others) > 1:
        note += _hint(name, [cells[at] for at in others if at not in named])
    if column and has_head:
        named = others = [at for at in others if head[at] == column]
    if not named and len(others) != 1:
        raise errors.BadData(
            f"The table {shown(name)} has {len(others)} columns besides the files, and none of them is called "
            f"{column or 'label'}; give the one with the classes the heading {column or 'label'!r}."
        )
    label = (named or others)[0]
    if len(others) > 1 and head[label] != "label":
        note += f" The labels in {shown(name)} are its column {shown(frame.iat[0, label])}."
    rows = [
        Row(*row)
        for row in zip(
            cells.index.tolist(), cells[file], cells[label], cells[split] if split is not None else [""] * len(cells),
            strict=True,
        )
        if row[1]
    ]  # fmt: skip
    return Labels(rows, head[label] if label in named else "", note.strip())


def _are_splits(cells: pd.Series) -> bool:
    """Whether a column's cells, but for empty ones, name train and another split."""
    return {0} < {split_of(cell) for cell in cells.unique() if cell} <= {0, 1, 2}


def _hint(name: str, columns: Iterable[pd.Series]) -> str:
    """A note on a column that speaks of splits and names none, such as PublicTest and PrivateTest."""
    for cells in columns:
        values = sorted({*cells} - {""})
        if len(values) > 1 and all(map(hints_at_a_split, values)):
            return (
                f" The values {listed(values)} in {shown(name)} seem to be splits; they count once they are called "
                "train, val and test."
            )
    return ""


def _is_head(head: Sequence[str], frame: pd.DataFrame) -> bool:
    """Whether a first line that names no file is a heading: by its words, or because other lines follow."""
    return bool({*head} & {*LABELS, *FILES, *SPLIT}) or len(frame) > 1 and "." not in "".join(frame.iloc[0])


def _plain(cell: str) -> str:
    return re.sub(r"[\W_]+", "", cell.casefold())


def _text(path: Path, name: str, limits: Limits) -> tuple[str, str]:
    if path.stat().st_size > limits.table:
        raise errors.BadData(
            f"The table {shown(name)} is larger than {size(limits.table)}; shorten it, {more('table')}."
        )
    data, note = path.read_bytes(), ""
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        lines = [line for line in data.splitlines() if not line.isascii()]
        found = encodings.guess(lines[:LOOKED_AT], encodings.OF_TABLES, "latin-1")
        text = data.decode(found.name, "replace")
        note = f"{shown(name)} is not UTF-8 and was read as {found.title} ({found.name})."
    if "\0" in text or sum(c < " " and c not in "\t\r\n\f" for c in text[:4096]) > 8:
        raise errors.BadData(f"The table {shown(name)} is not text; save it as CSV in UTF-8.")
    return text, note


def _frame(text: str, name: str) -> pd.DataFrame:
    """The cells as stripped text, without blank lines; the index numbers the lines from 1."""
    import pandas as pd

    text = re.sub(r"^sep=.[ \t]*(?=[\r\n])", "", text)  # how Excel tells itself the delimiter
    lines = [line for line in text.splitlines()[:LOOKED_AT] if line.strip()]
    widths = {mark: _width(lines, mark) for mark in DELIMITERS}
    able = [mark for mark, width in widths.items() if width > 1]
    # The first line too: a decimal comma in every row of 'file;label;score' separates nothing.
    delimiter = next((mark for mark in able if _width(lines[:1], mark) == widths[mark]), (*able, ",")[0])
    try:
        frame = pd.read_csv(
            io.StringIO(text), sep=delimiter, header=None, names=range(max(1, widths[delimiter])), index_col=False,
            dtype=str, na_filter=False, skip_blank_lines=False, skipinitialspace=True,
        )  # fmt: skip
    except pd.errors.ParserError as error:
        line = re.search(r"(line|row) ([0-9]+)", str(error))
        where = f" at line {int(line[2]) + (line[1] == 'row')}" if line else ""  # pandas counts rows from 0
        why = str(error).partition("C error: ")[2].strip() or str(error)
        raise errors.BadData(
            f"The table {shown(name)} cannot be read{where} ({why}); save it as CSV again, with quotes around cells "
            f"that contain {shown(delimiter)}."
        ) from error
    frame.index += 1
    frame = frame.fillna("").map(lambda cell: unicodedata.normalize("NFC", cell.strip()))
    return frame[(frame != "").any(axis=1)]


def _width(lines: Sequence[str], delimiter: str) -> int:
    """How many columns nearly all lines have with this delimiter; 0 where they disagree, which pandas would hide."""
    try:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return 0
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    return width if count >= 0.9 * sum(widths.values()) else 0
