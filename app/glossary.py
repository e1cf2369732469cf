"""The glossary: terms of assets/glossary.toml, and the one function that links a text's terms to them. No torch."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from peftcore.errors import InvalidSetting

FILE = Path(__file__).resolve().parents[1] / "assets" / "glossary.toml"


@dataclass(frozen=True)
class Term:
    """A term. says: other words for it in texts. method, page: the card or the page where it is seen."""

    name: str
    text: str
    says: tuple[str, ...] = ()
    method: str = ""
    page: str = ""


@cache
def terms() -> dict[str, Term]:
    """All terms by name, in the order of the alphabet.

    Raises:
        InvalidSetting: an entry of the file is none.
    """
    try:
        found = tomllib.loads(FILE.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidSetting(f"{FILE} is no TOML: {error}.") from None
    return {name: _term(name, found[name]) for name in sorted(found, key=str.lower)}


def _term(name: str, entry: Any) -> Term:
    try:
        return Term(name, **entry | {"says": tuple(entry.get("says", ()))})
    except (TypeError, AttributeError):
        known = ", ".join(field.name for field in fields(Term)[2:])
        raise InvalidSetting(f"{FILE}: {name!r} is {entry!r}; a term has a text and some of {known}.") from None


@cache
def _words() -> tuple[re.Pattern[str], dict[str, str]]:
    """What finds any term in a text, the longest first, and the name of each word."""
    names = {word.lower(): term.name for term in terms().values() for word in (term.name, *term.says)}
    longest = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<![\w`$/-])({'|'.join(map(re.escape, longest))})(?![\w`$/-])", re.IGNORECASE), names


@cache
def linked(text: str, but: str = "") -> str:
    """Markdown: a help text whose terms, `but` one, are links into the glossary, each at its first place. The text is
    one of ours, never a person's."""
    pattern, names = _words()
    seen = {but}

    def link(found: re.Match[str]) -> str:
        name = names[found[0].lower()]
        if name in seen:
            return found[0]
        seen.add(name)
        return f"[{found[0]}]({address(name)})"

    parts = re.split(r"(\$[^$]*\$|`[^`]*`|\[[^\]]*\]\([^)]*\))", text)  # formulas, code and links stay as they are
    return "".join(part if nth % 2 else pattern.sub(link, part) for nth, part in enumerate(parts))


def address(name: str) -> str:
    """Of a term, relative to any page of the app."""
    return f"glossary?term={name.replace(' ', '%20')}"
