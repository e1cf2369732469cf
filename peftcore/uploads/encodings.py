"""Guesses the encoding of names or a table that do not state one, by how likely the decoded letters are.

charset_normalizer, which is installed, needs a page of text; here there may be only a handful of short names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple


class Encoding(NamedTuple):
    """Python's name of an encoding, the script it is for, and the range of its common ideographs' double bytes."""

    name: str
    title: str
    common: tuple[int, int] = (0, 0)


_EAST = (
    Encoding("cp932", "Japanese", (0x889F, 0x9872)),
    Encoding("gbk", "Chinese", (0xB0A1, 0xD7F9)),
    Encoding("cp950", "Chinese", (0xA440, 0xC67E)),
    Encoding("cp949", "Korean"),
)
# What archivers without UTF-8 write: the DOS code page of the language. The first of equally likely ones wins.
OF_ARCHIVES = (
    *_EAST,
    Encoding("cp866", "Cyrillic"),
    Encoding("cp1251", "Cyrillic"),
    Encoding("cp437", "Western European"),
    Encoding("cp850", "Western European"),
    Encoding("cp852", "Central European"),
)
# What spreadsheets write: the Windows code page of the language.
OF_TABLES = (
    *_EAST,
    Encoding("cp1251", "Cyrillic"),
    Encoding("cp1252", "Western European"),
    Encoding("cp1250", "Central European"),
    Encoding("latin-1", "Western European"),
)
# Most syllables of a Korean text are among these, but few of a Chinese text misread as Korean.
_COMMON_KOREAN = frozenset(
    "가각간갈감강개거검것게겨격견결경계고곡공과관광교구국군권귤그기길김까꽃나낙난날남내너네노녹농누늑는능늪니다단달"
    "닭당대더데도독동돼되두드들등디딸때라람랑량러레려력로록료루류륜르른를리린릴림립마만말매면명모목묘무문물미민바박"
    "반발방배백뱀뱅버벌범병보복부북분불비빨사산살삼상새색생샴서석선성세소속손송수순스슴시식신실심아악안알암앙애야양"
    "어언얼여연열영예오올완왕외요용우운울원월위유육율으은을음의이인일임입잎자작장재저적전점정제조종좌주준중지직진집"
    "차참창채책천철청체초추축치칠카코콩크키타태터털토통튤트티파판팔패퍼펭편평포표푸품풍프피하학한할합항해행향허현형"
    "호홍화환활황회후휴흑희흰히"
)
_RARE_LATIN = "ƒþÞðÐ"
SAMPLE = 500  # texts scored at most, spread over all
_LEAST = 0.5  # score from which a guess is preferred to the fallback


def guess(texts: Sequence[bytes], candidates: Sequence[Encoding], fallback: str) -> Encoding:
    """The most likely encoding of all these texts together; `fallback` where no candidate is likely."""
    sample = texts[:: 1 + len(texts) // SAMPLE]
    scores = {one: _score(sample, one) for one in candidates if _is_possible(texts, one)}
    best = max(scores, key=lambda one: round(scores[one], 2), default=None)
    if best is not None and scores[best] >= _LEAST:
        return best
    return next(one for one in candidates if one.name == fallback)


def _is_possible(texts: Sequence[bytes], encoding: Encoding) -> bool:
    try:
        for text in texts:
            text.decode(encoding.name)
    except UnicodeDecodeError:
        return False
    return True


def _score(texts: Sequence[bytes], encoding: Encoding) -> float:
    """How plausible the non-ASCII bytes are as letters of this encoding, at most 1."""
    total, score = 0, 0.0
    for text in texts:
        letters = text.decode(encoding.name)
        for at, letter in enumerate(letters):
            if not letter.isascii():
                raw = letter.encode(encoding.name)
                total += len(raw)
                score += len(raw) * _likely(letter, raw, letters[at - 1 : at], letters[at + 1 : at + 2], encoding)
    return score / max(total, 1)


def _likely(letter: str, raw: bytes, before: str, after: str, encoding: Encoding) -> float:
    name = unicodedata.name(letter, "")
    amid_ascii = re.match("[A-Za-z]", before) or re.match("[A-Za-z]", after)
    if name.startswith(("HIRAGANA", "KATAKANA")):
        return 1.0 if encoding.name == "cp932" else 0.5
    if name.startswith("HANGUL"):
        return 1.0 if letter in _COMMON_KOREAN else 0.5
    if name.startswith("CJK UNIFIED"):
        low, high = encoding.common
        is_common = low <= int.from_bytes(raw) <= high and (encoding.name != "gbk" or raw[1] >= 0xA1)
        return (0.91 if is_common else 0.35) * (0.4 if amid_ascii else 1.0)
    if name.startswith("CYRILLIC") or "LATIN" in name and len(raw) == 1 and letter.isalpha():
        turns = letter.isupper() and before.islower()  # a capital within a word
        if name.startswith("CYRILLIC"):
            return (0.95 if encoding.name == "cp866" else 0.8) * (0.3 if turns or amid_ascii else 1.0)
        return (0.85 if amid_ascii else 0.5) * (0.5 if turns or letter in _RARE_LATIN else 1.0)
    if len(raw) == 2 and name.startswith(("FULLWIDTH", "IDEOGRAPHIC", "LEFT CORNER", "RIGHT CORNER")):
        return 0.8
    return 0.2 if name.startswith("HALFWIDTH") else -1.0  # symbols and box drawing, which names hardly ever contain
