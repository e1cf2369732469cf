"""What a command prints: a table for people, JSON for machines, progress on standard error."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

console = Console(stderr=True, soft_wrap=not sys.stderr.isatty())  # standard output holds the answer alone

JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    # In a file or a pipe a row stays one line, as grep wants it, unless COLUMNS says how long a line may be.
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 1000
    out = Console(width=wide)
    if not rows:  # a table without columns would print nothing, its title neither
        out.print(escape(title))
        return
    table = Table(title=escape(title), title_justify="left" if wide else "center")
    for column in rows[0]:
        # A name is copied from here, so it is never cut short.
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for row in rows:
        table.add_row(*(escape(str(v)) for v in row.values()))
    out.print(table)


def answer(as_json: bool, value: Any, title: str, rows: list[dict[str, Any]]) -> None:
    if as_json:
        print(json.dumps(value))
    else:
        _print_table(title, rows)


def progress_bars(as_json: bool) -> Progress:
    """Bars on standard error; none for machines that do not look at it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[say]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=as_json, disable=as_json and not sys.stderr.isatty())


def command_line() -> str:
    """The command that is running, as it stands beside what it made: a path of this machine gives its last part."""
    words = [f"build/{Path(word).name}" if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "peftcore", *words])


def names_of(text: str) -> list[str]:
    """'a, b' -> ['a', 'b']."""
    return [name for part in text.split(",") if (name := part.strip())]
