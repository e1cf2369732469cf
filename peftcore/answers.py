"""What a command prints: a table for people, JSON for machines, progress on standard error."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

console = Console(stderr=True)  # standard output holds the answer alone

JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for column in rows[0] if rows else ():
        # A name is copied from here, so it is never cut short.
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for row in rows:
        table.add_row(*(str(v) for v in row.values()))
    Console().print(table)


def answer(as_json: bool, value: Any, title: str, rows: list[dict[str, Any]]) -> None:
    if as_json:
        print(json.dumps(value))
    else:
        _print_table(title, rows)


def names_of(text: str) -> list[str]:
    """'a,b' -> ['a', 'b']."""
    return [name for name in text.split(",") if name]
