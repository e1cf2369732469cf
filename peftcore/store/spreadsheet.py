"""Tables as CSV that a spreadsheet opens without running anything: what a person typed is no formula in it.

Every CSV that leaves Headroom is written here.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # what a cell begins with that a spreadsheet computes
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def inert(value: Any) -> Any:
    """A cell: text that would be a formula stands behind an apostrophe; numbers, as text too, stay as they are."""
    risky = isinstance(value, str) and value.startswith(FORMULA) and not _NUMBER.fullmatch(value)
    return f"'{value}" if risky else value


def text(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Rows under their heading as CSV."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(map(inert, head))
    writer.writerows(map(inert, row) for row in rows)
    return out.getvalue()


def file(table: pd.DataFrame) -> bytes:
    """A frame, without its index, as the bytes of a CSV file."""
    numeric = table.select_dtypes(["number", "bool"]).columns
    cells = table.apply(lambda column: column if column.name in numeric else column.map(inert))
    ends = "\r\n"  # with another one a carriage return within a cell would not be quoted, and begin a row
    return cells.rename(columns=inert).to_csv(index=False, lineterminator=ends).encode()
