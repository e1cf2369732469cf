"""The glossary: terms of assets/glossary.toml, and the one function that links a text's terms to them. No torch."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

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
    """All terms by name, in the order of the alphabet."""
    found = tomllib.loads(FILE.read_text(encoding="utf-8"))
    made = {name: Term(name, **{**entry, "says": tuple(entry.get("says", ()))}) for name, entry in found.items()}
    return dict(sorted(made.items(), key=lambda item: item[0].lower()))


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
