"""What an address names and the launch page leaves out, each in a sentence. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from app import words
from app.launch import raced
from app.launch.raced import Query
from peftcore.registry import METHODS
from peftcore.spec import RunSpec


def strangers(query: Query) -> list[str]:
    """A sentence for each name in an address that no setting has, such as `lora.rnk`."""
    sentences = []
    for name in query:
        if not is_setting(name):
            known = [*RunSpec.model_fields, "race", *(f"{m}.{f}" for m in METHODS.names() for f in _own(m))]
            close = get_close_matches(name, known, 1) or [one for one in known if one.endswith(f".{name}")][:1]
            maybe = f" Did you mean {close[0]!r}?" if close else ""
            sentences.append(f"From the link: there is no setting {name!r}, so it was left out.{maybe}")
    return sentences + _not_raced(raced.lists(query))


def _not_raced(query: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each setting that an address races and nobody can, and for values of one that it does not race."""
    method = query.get("method", [""])[-1] or RunSpec().method.name
    if method not in METHODS.names():
        return []
    cls, names = METHODS.load(method).METHOD, [name for name in raced.named(query) if name]
    possible = raced.offered(cls)
    sentences = []
    for name in names:
        if name not in possible:
            close = get_close_matches(name, possible, 1)
            maybe = f" Did you mean {close[0]!r}?" if close else ""
            sentences.append(f"From the link: {cls.card.title} cannot race {name!r}, so it was left out.{maybe}")
    for name, texts in query.items():
        owner, _, field = name.partition(".")
        if field and owner == "race" and is_setting(name) and field not in names:
            said = " ".join(["its values", *([", ".join(filter(None, texts))] if any(texts) else [])])
            sentences.append(
                f"From the link: {words.setting(field)} is not raced, so {said} were left out. Choose it under Race, "
                f"or add race={','.join([name for name in names if name in possible] + [field])} to the link."
            )
    return sentences


def is_setting(name: str) -> bool:
    """Whether a name in an address is one of the form's."""
    owner, _, field = name.partition(".")
    if not field:
        return name == "race" or name in RunSpec.model_fields
    if owner == "race":
        return field in ("method", *raced.OF_THE_RECIPE) or any(field in _own(method) for method in METHODS.names())
    return owner in METHODS.names() and field in (*_own(owner), "lr")


def _own(method: str) -> list[str]:
    return list(METHODS.load(method).METHOD.model_fields)
