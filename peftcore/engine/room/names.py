"""Names that people give themselves, and codes that are read from a screen and typed."""

from __future__ import annotations

import secrets
import unicodedata

from peftcore import errors

LONGEST = 32
LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # none that is taken for another


def clean(name: str) -> str:
    """A name as it is kept: one line, no character that is not seen.

    Raises:
        InvalidSetting: nothing is left of it, or it is too long.
    """
    seen = "".join(" " if unicodedata.category(c)[0] in "ZC" else c for c in unicodedata.normalize("NFKC", name))
    found = " ".join(seen.split())
    if not any(c.isalnum() for c in found):
        raise errors.InvalidSetting("A name needs a letter or a digit; write the one that others know you by.")
    if len(found) > LONGEST:
        raise errors.InvalidSetting(f"A name has at most {LONGEST} characters; this one has {len(found)}.")
    return found


def alike(name: str) -> str:
    """What two names have in common that are taken for the same."""
    return unicodedata.normalize("NFKC", name.casefold())


def new_code() -> str:
    """'K7M-4QD': thirty bits, and whoever guesses is slowed down."""
    drawn = "".join(secrets.choice(LETTERS) for _ in range(6))
    return f"{drawn[:3]}-{drawn[3:]}"


def same_code(given: str, code: str) -> bool:
    """Whether somebody typed the code, in any case, with or without its hyphen."""
    plain = "".join(c for c in given.upper() if c.isascii() and c.isalnum())
    return secrets.compare_digest(plain, code.replace("-", ""))
