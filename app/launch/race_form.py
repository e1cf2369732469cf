"""A race on the launch page: settings that take several values, in place, and the runs that they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import streamlit as st

from app import links, words
from app.forms import unwrap
from peftcore import errors
from peftcore.figures.theme import method_title
from peftcore.registry import METHODS
from peftcore.spec import RunSpec, Settings
from peftcore.train.variations import variations

MOST_RUNS = 16
OF_THE_RECIPE = (
    "lr", "batch_size", "epochs", "seed", "weight_decay", "warmup", "clip", "augmentation", "normalisation",
    "resize", "select",
)  # fmt: skip
SWITCH = {"on": True, "off": False}


def offered(cls: type[Settings]) -> list[str]:
    """What can be raced: the method itself, its settings that are numbers or choices, and the recipe's."""
    own = [name for name, info in cls.model_fields.items() if _raceable(unwrap(info.annotation)[0])]
    return ["method", *own, *OF_THE_RECIPE]


def _raceable(kind: Any) -> bool:
    return kind in (int, float, bool) or get_origin(kind) is Literal


def chosen(cls: type[Settings]) -> list[str]:
    """What the address says is raced."""
    return [name for name in (links.read("race") or "").split(",") if name in offered(cls)]


def chooser(cls: type[Settings]) -> dict[str, list[str]]:
    """Which settings take several values; nothing: one run. Returns the methods where they are raced."""
    links.several(
        "launch",
        "race",
        "Race",
        offered(cls),
        default=(),
        show=words.setting,
        placeholder="One run. Choose settings to give them several values",
        help="Several values make several runs, compared live. Side methods that read the same features train together; "
        "the others run one after the other.",
    )
    if "method" not in chosen(cls):
        return {}
    names = sorted(METHODS.names(), key=lambda name: method_title(name).lower())
    first = "lora" if cls.name != "lora" else "last"
    said = st.pills(f"{cls.card.title} against", names, default=[first], selection_mode="multi", key="race.method",
                    format_func=method_title, wrap=True, bind="query-params")  # fmt: skip
    return {"method": [cls.name, *(name for name in said or [] if name != cls.name)]}


def widget(model: type[Settings], name: str) -> str | list[str]:
    """Several values of a setting: a text with commas between, or the options of a choice."""
    info, key = model.model_fields[name], f"race.{name}"
    label = words.setting(name)
    if options := choices(model, name):
        return st.pills(label, options, default=options, selection_mode="multi", key=key, wrap=True, bind="query-params",
                        help=info.description)  # fmt: skip
    told = f"{info.description} Several values, with commas between."
    return st.text_input(label, value=suggested(model, name), key=key, bind="query-params", help=told)


def choices(model: type[Settings], name: str) -> list[str]:
    """What a setting may be, where it is a choice; empty where it is a number."""
    kind, _ = unwrap(model.model_fields[name].annotation)
    return list(SWITCH) if kind is bool else [str(option) for option in get_args(kind)]


def suggested(model: type[Settings], name: str) -> str:
    """Three values around the default, as far as the setting may have them."""
    info = model.model_fields[name]
    kind, default = unwrap(info.annotation)[0], info.get_default(call_default_factory=True)
    if kind is int:
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
    return ", ".join(f"{value:g}" for value in values if _possible(model, name, value))


def _possible(model: type[Settings], name: str, value: Any) -> bool:
    try:
        model.check_field(name, value)
    except errors.HeadroomError:
        return False
    return True


def several(cls: type[Settings], said: Mapping[str, str | Sequence[str]]) -> dict[str, list[Any]]:
    """The values of every raced setting, from what its widget says.

    Raises:
        InvalidSetting: no value, or one that is no number or outside the range.
    """
    values: dict[str, list[Any]] = {}
    for name in chosen(cls):
        model = cls if name in cls.model_fields else RunSpec
        values[name] = list(said[name]) if name == "method" else _values(model, name, said[name])
    return values


def _values(model: type[Settings], name: str, said: str | Sequence[str]) -> list[Any]:
    kind, _ = unwrap(model.model_fields[name].annotation)
    if isinstance(said, str):
        parts = [part.strip() for part in said.replace(";", ",").split(",") if part.strip()]
        found = [_number(name, part, kind) for part in parts]
    elif kind is bool:
        found = [SWITCH[part] for part in said]
    else:
        found = [next(option for option in get_args(kind) if str(option) == part) for part in said]
    if not found:
        raise errors.InvalidSetting(
            f"The race has no value of {words.setting(name)}; give at least one, or take {words.setting(name)} out of the race."
        )
    for value in found:
        model.check_field(name, value)
    return list(dict.fromkeys(found))


def _number(name: str, text: str, kind: type) -> int | float:
    try:
        return kind(text)
    except ValueError:
        what = "whole number" if kind is int else "number"
        raise errors.InvalidSetting(
            f"{text!r} among the values of {words.setting(name)} is no {what}; "
            f"write {what}s with commas between, such as {'4, 8, 16' if kind is int else '0.01, 0.001'}."
        ) from None


def runs(spec: RunSpec, values: Mapping[str, Sequence[Any]]) -> list[RunSpec]:
    """The variations that the values make; `[spec]` where nothing is raced.

    Raises:
        InvalidSetting: more than MOST_RUNS, or a combination that is not possible.
    """
    count = math.prod(len(each) for each in values.values())
    if count > MOST_RUNS:
        raise errors.InvalidSetting(
            f"This race makes {product(values)}; at most {MOST_RUNS} run in one. Take fewer values."
        )
    return variations(spec, values)


def product(values: Mapping[str, Sequence[Any]]) -> str:
    """'6 runs: 3 of rank x 2 of seed'."""
    count = math.prod(len(each) for each in values.values())
    parts = [f"{len(each)} of {words.setting(name)}" for name, each in values.items()]
    return f"{count} runs" + (f": {' x '.join(parts)}" if len(parts) > 1 else "")


def preset(cls: type[Settings], values: Mapping[str, Sequence[Any]]) -> dict[str, str | list[str]]:
    """What the values add to the query parameters of the launch page, of a race around the method `cls`."""
    if not values:
        return {}
    query: dict[str, str | list[str]] = {"race": ",".join(values)}
    for name, each in values.items():
        if name == "method":
            query["race.method"] = list(each[1:])
        elif choices((cls if name in cls.model_fields else RunSpec), name):
            query[f"race.{name}"] = [words.value(one) for one in each]
        else:
            query[f"race.{name}"] = ", ".join(map(repr, each))
    return query
