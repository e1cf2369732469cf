"""Names that people give themselves, and codes that are read from a screen and typed."""

from __future__ import annotations

import re
import secrets
import unicodedata

from peftcore import errors

LONGEST = 32
# Letters and marks that are drawn as nothing or as a space, whatever their category says.
_UNSEEN = re.compile(r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f\U000e0100-\U000e01ef]")
MOST_MARKS = 2  # accents on one letter: more are drawn over the lines above and below
# Letters that are drawn as these Latin ones, in capitals or small: Cyrillic, Greek, Armenian, Cherokee, and of the
# Latin script those that others are taken for.
_DRAWN_AS = str.maketrans(
    "авекмнорстухіјѕԁԛԝүһӏαβεζηικμνορτυχօսհոցզᎪᏴᏟᎬᎻᎫᏦᏞᎷᏢᏚᎢᎠᎳᏃl1|ı0ɑɡɩ",
    "abekmhopctyxijsdqwyhiabezhikmnoptyxouhngqabcehjkimpsidwziiiioagi",
)
OF_THE_MACHINE = ("The teacher", "This machine")  # as pages call the owner of runs that nobody entered for
LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # none that is taken for another


def clean(name: str) -> str:
    """A name as it is kept: one line, no character that is not seen.

    Raises:
        InvalidSetting: nothing is left of it, or it is too long.
    """
    whole = _UNSEEN.sub("", unicodedata.normalize("NFKC", name))
    seen, marks = "", 0
    for c in whole:
        marks = marks + 1 if unicodedata.combining(c) else 0
        if marks <= MOST_MARKS:
            seen += " " if unicodedata.category(c)[0] in "ZC" else c
    found = " ".join(seen.split())
    if not any(c.isalnum() for c in found):
        raise errors.InvalidSetting("A name needs a letter or a digit; write the one that others know you by.")
    if len(found) > LONGEST:
        raise errors.InvalidSetting(f"A name has at most {LONGEST} characters; this one has {len(found)}.")
    return found


def alike(name: str) -> str:
    """What two names have in common that are taken for the same: their letters, digits and accents, a letter of
    another script as the Latin one that looks like it."""
    letters = unicodedata.normalize("NFKC", name.casefold()).translate(_DRAWN_AS)
    return "".join(c for c in letters if unicodedata.category(c)[0] in "LMN")


def new_code() -> str:
    """'K7M-4QD': thirty bits, and whoever guesses is slowed down."""
    drawn = "".join(secrets.choice(LETTERS) for _ in range(6))
    return f"{drawn[:3]}-{drawn[3:]}"


def same_code(given: str, code: str) -> bool:
    """Whether somebody typed the code, in any case, with or without its hyphen."""
    plain = "".join(c for c in given.upper() if c.isascii() and c.isalnum())
    return secrets.compare_digest(plain, code.replace("-", ""))
