"""What is raced: settings and their values as the address says them, and the runs that they make. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from app import forms, words
from peftcore import errors
from peftcore.figures.method_style import method_title
from peftcore.registry import METHODS
from peftcore.spec import RunSpec, Settings
from peftcore.store import recipes
from peftcore.store.variations import variations

Query = Mapping[str, str | Sequence[str]]  # a name's text, or all of them where it is repeated
MOST_RUNS = 16
OF_THE_RECIPE = (
    "lr", "batch_size", "epochs", "seed", "weight_decay", "warmup", "clip", "augmentation", "normalisation",
    "resize", "select",
)  # fmt: skip
ON_OFF = {"on": True, "off": False}


def lists(query: Query) -> dict[str, list[str]]:
    """An address with a list of texts for every name."""
    return {name: [texts] if isinstance(texts, str) else list(texts) for name, texts in query.items()}


def named(query: Mapping[str, Sequence[str]]) -> list[str]:
    """The names that the address says are raced, possible or not."""
    return query.get("race", [""])[-1].split(",")


def offered(cls: type[Any]) -> list[str]:
    """What can be raced: the method itself, its settings that are numbers or choices, and the recipe's."""
    own = [name for name, info in cls.model_fields.items() if _raceable(forms.unwrap(info.annotation)[0])]
    return ["method", *own, *OF_THE_RECIPE]


def _raceable(kind: Any) -> bool:
    return kind in (int, float, bool) or get_origin(kind) is Literal


def chosen(cls: type[Any], query: Query) -> list[str]:
    """What the address says is raced."""
    possible = offered(cls)
    return [name for name in dict.fromkeys(named(lists(query))) if name in possible]


def owner(cls: type[Any], name: str) -> type[Settings]:
    """Whose setting it is: the method's or the run's."""
    return cls if name in cls.model_fields else RunSpec


def choices(model: type[Settings], name: str) -> list[str]:
    """What a setting may be, where it is a choice; empty where it is a number."""
    kind, _ = forms.unwrap(model.model_fields[name].annotation)
    return list(ON_OFF) if kind is bool else [str(option) for option in get_args(kind)]


def rivals(cls: type[Any]) -> list[str]:
    """The methods that a race over methods begins with, beside the method itself."""
    return ["lora" if cls.name != "lora" else "last"]


def suggested(cls: type[Any], name: str, backbone: str) -> str:
    """Three values around the default, as far as the setting may have them."""
    model = owner(cls, name)
    default = recipes.best(cls.name, backbone).values["lr"] if name == "lr" else forms.default_of(model, name)
    if forms.unwrap(model.model_fields[name].annotation)[0] is int:
        values = [default // 2, default, default * 2] if default and default > 1 else [0, 1, 2, 4]
    elif default:
        power = 10.0 ** math.floor(math.log10(default))
        values = (
            [round(share * power, 12) for share in (0.3, 1, 3)]
            if default == power
            else [default / 2, default, default * 2]
        )
    else:
        values = [0.0, 0.1, 0.2]
    return ", ".join(f"{value:g}" for value in values if not forms.refusal(model, name, value))


def several(cls: type[Any], name: str, texts: Sequence[str] | None, backbone: str) -> list[Any]:
    """The values of a raced setting; its suggestions where the address says nothing of them.

    Raises:
        InvalidSetting: no value, or one that is no number or outside the range; UnknownName: no such method.
    """
    if name == "method":
        return list(
            dict.fromkeys([cls.name, *map(method_called, rivals(cls) if texts is None else filter(None, texts))])
        )
    model = owner(cls, name)
    if choices(model, name):
        found = [_choice(model, name, text) for text in (choices(model, name) if texts is None else texts) if text]
    else:
        text = suggested(cls, name, backbone) if texts is None else ", ".join(texts)
        found = [_number(model, name, part.strip()) for part in text.replace(";", ",").split(",") if part.strip()]
    if not found:
        raise errors.InvalidSetting(
            f"The race has no value of {words.setting(name)}; give at least one, or take {words.setting(name)} out of "
            "the race."
        )
    for value in found:
        if refused := forms.refusal(model, name, value):
            raise refused
    return list(dict.fromkeys(found))


def method_called(text: str) -> str:
    """A method by its name or by its title, which stood in links once. Raises UnknownName."""
    titles = {method_title(name): name for name in METHODS.names()}
    name = titles.get(text, text)
    METHODS.facts(name)
    return name


def _choice(model: type[Settings], name: str, text: str) -> Any:
    kind, _ = forms.unwrap(model.model_fields[name].annotation)
    known = ON_OFF if kind is bool else {str(option): option for option in get_args(kind)}
    return known.get(text, text)


def _number(model: type[Settings], name: str, text: str) -> Any:
    kind, optional = forms.unwrap(model.model_fields[name].annotation)
    if optional and text == forms.NONE:
        return None
    try:
        return kind(text)
    except ValueError:
        what = "whole number" if kind is int else "number"
        raise errors.InvalidSetting(
            f"{text!r} among the values of {words.setting(name)} is not a {what}; write {what}s separated by commas, "
            f"such as {'4, 8, 16' if kind is int else '0.01, 0.001'}."
        ) from None


def runs(spec: RunSpec, values: Mapping[str, Sequence[Any]], rates: Mapping[str, float] | None = None) -> list[RunSpec]:
    """The variations that the values make, each method at its own rate; `[spec]` where nothing is raced.

    Raises:
        InvalidSetting: more than MOST_RUNS, or a combination that is not possible.
    """
    count = math.prod(len(each) for each in values.values())
    if count > MOST_RUNS:
        raise errors.InvalidSetting(
            f"This race makes {product(values)}; at most {MOST_RUNS} run in one. Take fewer values."
        )
    made = variations(spec, values)
    return [one.replace(lr=rates[one.method.name]) for one in made] if rates else made


def product(values: Mapping[str, Sequence[Any]]) -> str:
    """'6 runs: 3 of rank x 2 of seed'."""
    count = math.prod(len(each) for each in values.values())
    parts = [f"{len(each)} of {words.setting(name)}" for name, each in values.items()]
    return f"{count} runs" + (f": {' x '.join(parts)}" if len(parts) > 1 else "")
