"""Whatever table leaves the app, no text in it is a formula of a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from app import numbers
from app.runs import results_view
from peftcore.store import spreadsheet
from peftcore.store.results import Results

ROOT = Path(__file__).resolve().parents[2]
ATTACKS = ('=HYPERLINK("http://x")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1")
WRITES = re.compile(r"\bcsv\.(Dict)?[wW]riter\(|\.to_csv\(")
# Write what Headroom itself reads and nobody is given: a table, a list in an address.
READ_AGAIN = ("peftcore/uploads/collected.py", "app/links.py")


def cells(data: bytes | str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode() if isinstance(data, bytes) else data, newline="")))


def is_inert(data: bytes | str) -> bool:
    every = [cell for row in cells(data) for cell in row]
    return all(not cell.startswith(spreadsheet.FORMULA) or spreadsheet._NUMBER.fullmatch(cell) for cell in every)


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_is_no_formula_and_loses_nothing(attack):
    table = pd.DataFrame({"name": [attack], attack: pd.Categorical([attack]), "x": pd.Series([attack], dtype="string")})
    assert cells(spreadsheet.file(table)) == [["name", f"'{attack}", "x"], [f"'{attack}"] * 3]
    assert cells(spreadsheet.text([attack], [[attack]])) == [[f"'{attack}"]] * 2


def test_numbers_and_other_text_stay_as_they_are():
    columns = {"n": [-1, 2], "x": [-0.5, np.nan], "mixed": [-1, "-2.5e-3"], "ok": [True, False], "text": ["a=b", "é"]}
    table = pd.DataFrame(columns | {2: [None, -3]})
    assert spreadsheet.file(table) == table.to_csv(index=False, lineterminator="\r\n").encode()


@pytest.mark.parametrize("attack", ATTACKS[:5])
def test_every_kind_of_download_is_inert(attack):
    found = _results(attack)
    assert all(is_inert(results_view._csv(found, name)) for name in ("classes", "answers"))
    assert is_inert(numbers._csv(go.Figure(go.Bar(x=[-1, 2], y=[attack, "b"], name=attack))))


def _results(name: str) -> Results:
    shares = np.array([[0.9, 0.1], [0.2, 0.8]])
    answers = np.array([0, 1])
    return Results(shares, answers, answers, (name, "b"), "digits")


def test_no_other_file_writes_a_table_of_text():
    files = [path for where in ("app", "pages", "peftcore") for path in (ROOT / where).rglob("*.py")]
    writing = {str(path.relative_to(ROOT)) for path in files if WRITES.search(path.read_text())}
    assert writing == {"peftcore/store/spreadsheet.py", *READ_AGAIN}, "write it with peftcore.store.spreadsheet"
