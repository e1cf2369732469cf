"""Facts: the numbers that lessons speak of, from recorded runs, measurements and what the papers published.

A lesson's text holds expressions between `[[` and `]]`, like `[[ runs["lora-digits"].summary.seconds | duration ]]`.
Names begin at the tables below; a name that does not exist is an error, which a test finds. No torch.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from app import words
from app.learn import lesson, mini
from app.learn.lesson import FOLDER
from peftcore.errors import BadData
from peftcore.store import gallery

ASSETS = FOLDER.parent


class Table(Mapping[str, Any]):
    """Facts that are read when they are asked for."""

    def __init__(self, names: Callable[[], tuple[str, ...]], read: Callable[[str], Any]):
        self._names, self._read = names, lru_cache(maxsize=32)(read)

    def __getitem__(self, name: str) -> Any:
        if name not in self._names():
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


def _json(folder: Path) -> Table:
    def names() -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in folder.glob("*.json")))

    return Table(names, lambda name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def _started(name: str) -> dict[str, Any]:
    return next(event for event in gallery.record(name)["events"] if event["kind"] == "started")


TABLES: dict[str, Any] = {
    "runs": Table(gallery.names, gallery.record),  # recorded examples: spec, summary, events, command
    "started": Table(gallery.names, _started),  # what an example reported when it began: counts, steps, classes
    "measured": _json(FOLDER / "measured"),  # what scripts/record_lessons.py measured, one file each
    "mini": mini,  # what the mini-VTAB's runs reached: app/learn/mini.py
    "published": _json(FOLDER / "published"),  # what others published, with its source, one file each
}


def percent(value: float, digits: int = 0) -> str:
    return f"{100 * value:.{digits}f} %"


def megabytes(value: float, digits: int = 1) -> str:
    """'4.2 MB': powers of ten, with these digits below ten, whole numbers from there."""
    return f"{value / 1e6:,.{digits}f} MB" if value < 10e6 else f"{value / 1e6:,.0f} MB"


def count(value: float) -> str:
    return f"{value:,.0f}"


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    env = SandboxedEnvironment(
        variable_start_string="[[", variable_end_string="]]", block_start_string="[%", block_end_string="%]",
        comment_start_string="[[#", comment_end_string="#]]", undefined=StrictUndefined, autoescape=False,
    )  # fmt: skip
    env.globals = dict(TABLES)
    env.filters |= {"percent": percent, "MB": megabytes, "count": count, "duration": words.duration}
    return env


# What comes of a slip: Jinja's own errors, and those of the functions and filters that an expression calls.
_SLIPS = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def fill(text: str) -> str:
    """The text with its expressions replaced by what they come to.

    Raises BadData, which quotes the file and the line, where one names no fact or cannot be computed.
    """
    try:
        return _environment().from_string(text).render()
    except _SLIPS as error:
        frames = traceback.walk_tb(error.__traceback__)  # Jinja puts the text's own lines among them
        line = next(line for frame, line in frames if frame.f_code.co_filename in ("<template>", "<unknown>"))
        raise _slip(text.splitlines()[line - 1].strip(), error) from None


def value(expression: str) -> Any:
    """What one expression comes to. Raises BadData where it names no fact or cannot be computed."""
    try:
        found = _environment().compile_expression(expression, undefined_to_none=False)()
        str(found)  # of what is undefined it raises
    except _SLIPS as error:
        raise _slip(expression, error) from None
    return found


def _slip(said: str, error: Exception) -> BadData:
    """What is wrong with this line or expression, and with the files that hold it."""
    held = [path.name for path in sorted(lesson.FOLDER.glob("*.md")) if said in path.read_text("utf-8", "replace")]
    is_unknown = isinstance(error, UndefinedError | LookupError)
    wrong = "speaks of a fact that does not exist" if is_unknown else "has an expression that cannot be computed"
    return BadData(f"The lesson {' or '.join(held) or 'text'} {wrong}, in “{said}”: {str(error).rstrip('.')}.")
