"""How a method is written and drawn everywhere: its title, its fixed colour, the dash and the mark of its kind."""

from __future__ import annotations

import zlib

from peftcore.registry import METHODS, Facts

# For methods that have no colour of their own yet: greens and blues in the backbone, purples beside it.
_OTHERS = {"in-backbone": ("#3949AB", "#00897B", "#558B2F", "#0288D1"), "side": ("#7E57C2", "#9C27B0", "#B39DDB")}


def _facts(name: str) -> Facts | None:
    """None where a run, an older one or from another machine, has a method that is not here."""
    return METHODS.facts(name) if name in METHODS.names() else None


def method_kind(name: str, kind: str | None = None) -> str:
    """`kind` where it is known, else from the method's file; methods that are not here count as in-backbone."""
    facts = _facts(name)
    return kind or (facts.kind if facts else "in-backbone")


def method_colour(name: str, kind: str | None = None, dark: bool = False) -> str:
    """The method's fixed colour; a method without one always gets the same one of its kind's."""
    facts = _facts(name)
    if facts and facts.colour:
        return facts.dark_colour or facts.colour if dark else facts.colour
    others = _OTHERS[method_kind(name, kind)]
    return others[zlib.crc32(name.encode()) % len(others)]


def kind_dash(kind: str) -> str:
    """Line style by kind: in-backbone methods draw solid lines, side methods dashed."""
    return "dash" if kind == "side" else "solid"


def kind_symbol(kind: str) -> str:
    """Marker by kind, for scatters."""
    return "diamond" if kind == "side" else "circle"


def method_title(name: str) -> str:
    """How the field writes the method's name."""
    facts = _facts(name)
    return facts.title if facts else name.replace("_", " ")


def method_in_text(name: str) -> str:
    """The method in the middle of a sentence."""
    facts = _facts(name)
    return facts.called or facts.title if facts else method_title(name)
