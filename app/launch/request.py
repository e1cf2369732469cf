"""What the launch page asks for, and the address that says it: one mapping, both ways. No torch.

The page's widgets read and write the address; what is launched is what `from_query` makes of it. `to_query` is its
inverse: the link that is copied, and that "Launch again" opens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from app import forms, words
from app.launch.task_choice import is_complete
from peftcore import errors
from peftcore.figures.theme import method_title
from peftcore.registry import METHODS, TASKS
from peftcore.spec import RunSpec, Settings
from peftcore.store import recipes
from peftcore.store.variations import variations
from peftcore.task import task_card

Query = Mapping[str, str | Sequence[str]]  # a name's text, or all of them where it is repeated
MOST_RUNS = 16
OF_THE_RECIPE = (
    "lr", "batch_size", "epochs", "seed", "weight_decay", "warmup", "clip", "augmentation", "normalisation",
    "resize", "select",
)  # fmt: skip
CHOSEN_ABOVE = ("backbone", "method", "task")
ON_OFF = {"on": True, "off": False}
NONE = "none"  # among the values of a race


@dataclass(frozen=True)
class Request:
    """What the form shows.

    method: the method's class, None where there is no such method. specs: the runs, one where nothing is raced; none
    where something is wrong. values: what is raced, by name. rates: by method, the learning rate of each, where no rate
    for all is written or raced. faults: what is wrong, by name in the address; "" is what does not fit together.
    defaults: by name in the address, what the recipe of the method and backbone is beside the rate; nothing where the
    address has a rate, which then is a recipe of its own, or where methods are raced, as published.
    """

    method: type[Any] | None
    specs: list[RunSpec]
    values: dict[str, list[Any]]
    rates: dict[str, float]
    faults: dict[str, errors.HeadroomError] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def own_rates(self) -> dict[str, float]:
        """`rates` of a race over methods."""
        return self.rates if "method" in self.values else {}

    @property
    def spec(self) -> RunSpec | None:
        return self.specs[0] if self.specs else None


def opened(query: Query) -> dict[str, list[str]]:
    """What a link means that was made before learning rates were measured: naming none meant the general one.

    Those links, and no others, name all that is always in a preset, and no learning rate at all.
    """
    said = _lists(query)
    if is_like_old(said):
        said["lr"] = forms.texts_of(RunSpec, "lr", forms.default_of(RunSpec, "lr"))
    return said


def _lists(query: Query) -> dict[str, list[str]]:
    return {name: [texts] if isinstance(texts, str) else list(texts) for name, texts in query.items()}


def is_like_old(query: Query) -> bool:
    """Whether it reads like a preset link of then. An address of now says `lr=` where the rate is the default."""
    named = {*query, *_raced(_lists(query))}
    return {*words.ALWAYS} - {"lr"} <= named and "lr" not in named and not any(name.endswith(".lr") for name in query)


# From the address


def from_query(query: Query) -> Request:
    """What an address asks for; what it does not name is the default."""
    query = _lists(query)
    faults: dict[str, errors.HeadroomError] = {}
    method = query.get("method", [""])[-1] or RunSpec().method.name
    task = query.get("task", [""])[-1] or RunSpec().task
    backbone = query.get("backbone", [""])[-1] or RunSpec().backbone
    if why := _no_such_task(task):
        faults["task"] = why
    try:
        cls = METHODS.load(method).METHOD
    except errors.UnknownName as error:
        return Request(None, [], {}, {}, faults | {"method": error})
    raced = chosen(cls, query)
    defaults = {} if any(query.get("lr", ())) or "method" in raced else _recipe(method, backbone)
    own = _read(cls, f"{method}.", [name for name in cls.model_fields if name not in raced], query, faults, defaults)
    names = [name for name in RunSpec.model_fields if name not in (*CHOSEN_ABOVE, *raced)]
    recipe = _read(RunSpec, "", names, query, faults, defaults)
    values = {}
    for name in raced:
        try:
            values[name] = several(cls, name, query.get(f"race.{name}"), backbone)
        except errors.HeadroomError as error:
            faults[f"race.{name}"] = error
    rates = {}
    if "lr" in recipe and not any(query.get("lr", ())):
        if "method" in values:
            rates = {name: _rate(name, backbone, query, faults) for name in values["method"]}
        else:
            rates = {method: recipes.best(method, backbone).values["lr"]}
        recipe["lr"] = rates[method]
    if faults:
        return Request(cls, [], values, rates, faults, defaults)
    try:
        spec = RunSpec(backbone=backbone, method={"name": method, **own}, task=task, **recipe)
        return Request(cls, runs(spec, values, rates), values, rates, {}, defaults)
    except errors.HeadroomError as error:
        return Request(cls, [], values, rates, {"": error}, defaults)


def _recipe(method: str, backbone: str) -> dict[str, Any]:
    """What is known to work best beside the learning rate, by name in the address."""
    recipe = recipes.best(method, backbone)
    fields = {name: value for name, value in recipe.fields.items() if name != "lr"}
    return fields | {f"{method}.{name}": value for name, value in recipe.settings.items()}


def _read(
    model: type[Settings],
    prefix: str,
    names: Sequence[str],
    query: Query,
    faults: dict[str, errors.HeadroomError],
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    found = {}
    for name in names:
        default = defaults.get(prefix + name, forms.default_of(model, name))
        found[name] = forms.meant_or(model, name, query.get(prefix + name, ()), default)
        if why := forms.refusal(model, name, found[name]):
            faults[prefix + name] = why
    return found


def _rate(method: str, backbone: str, query: Query, faults: dict[str, errors.HeadroomError]) -> float:
    """The learning rate of a raced method: the link's, or the best that is known for it as published."""
    texts = query.get(f"{method}.lr", ())
    if not any(texts):
        return recipes.best(method, backbone).lr
    rate = forms.meant(RunSpec, "lr", texts)
    if why := forms.refusal(RunSpec, "lr", rate):
        faults[f"{method}.lr"] = why
    return rate


def _no_such_task(name: str) -> errors.HeadroomError | None:
    kind, _, argument = name.partition(":")
    try:
        if is_complete(name):
            return None
        if not argument and (needed := task_card(kind).argument):
            return errors.InvalidSetting(f"Task {name!r} needs an argument: {kind}:{needed}.")
        TASKS.load(name)
    except errors.UnknownName as error:
        return error
    return errors.InvalidSetting(f"{name!r} is not the name of a task.")


def strangers(query: Query) -> list[str]:
    """A sentence for each name in an address that no setting has, such as `lora.rnk`."""
    sentences = []
    for name in query:
        if not is_setting(name):
            known = [*RunSpec.model_fields, "race", *(f"{m}.{f}" for m in METHODS.names() for f in _own(m))]
            close = get_close_matches(name, known, 1) or [one for one in known if one.endswith(f".{name}")][:1]
            maybe = f" Did you mean {close[0]!r}?" if close else ""
            sentences.append(f"From the link: there is no setting {name!r}, so it was left out.{maybe}")
    return sentences


def is_setting(name: str) -> bool:
    """Whether a name in an address is one of the form's."""
    owner, _, field = name.partition(".")
    if not field:
        return name == "race" or name in RunSpec.model_fields
    if owner == "race":
        return field in ("method", *OF_THE_RECIPE) or any(field in _own(method) for method in METHODS.names())
    return owner in METHODS.names() and field in (*_own(owner), "lr")


def _own(method: str) -> list[str]:
    return list(METHODS.load(method).METHOD.model_fields)


# Races


def offered(cls: type[Any]) -> list[str]:
    """What can be raced: the method itself, its settings that are numbers or choices, and the recipe's."""
    own = [name for name, info in cls.model_fields.items() if _raceable(forms.unwrap(info.annotation)[0])]
    return ["method", *own, *OF_THE_RECIPE]


def _raceable(kind: Any) -> bool:
    return kind in (int, float, bool) or get_origin(kind) is Literal


def _raced(query: Mapping[str, Sequence[str]]) -> list[str]:
    return query.get("race", [""])[-1].split(",")


def chosen(cls: type[Any], query: Query) -> list[str]:
    """What the address says is raced."""
    possible = offered(cls)
    return [name for name in dict.fromkeys(_raced(_lists(query))) if name in possible]


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
    if optional and text == NONE:
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


# To the address


def to_query(
    spec: Mapping[str, Any], values: Mapping[str, Sequence[Any]] | None = None, rates: Mapping[str, float] | None = None
) -> dict[str, str | list[str]]:
    """The address whose form asks for these runs: a spec as a dict, what is raced, and rates by method."""
    query, values = forms.preset(spec), values or {}
    if not values:
        return query
    cls: type[Any] = METHODS.load(spec["method"]["name"]).METHOD
    for name in values:
        if name != "method":
            query.pop(f"{cls.name}.{name}" if name in cls.model_fields else name, None)
    query["race"] = ",".join(values)
    for name, each in values.items():
        if name == "method":
            query["race.method"] = [one for one in each if one != cls.name] or [""]
        elif choices(owner(cls, name), name):
            query[f"race.{name}"] = [words.value(one) for one in each]
        else:
            query[f"race.{name}"] = ", ".join(NONE if one is None else repr(one) for one in each)
    if rates:
        query.pop("lr", None)
        query |= {f"{name}.lr": repr(rate) for name, rate in rates.items()}
    return query
