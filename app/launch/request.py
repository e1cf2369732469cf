"""What the launch page asks for, and the address that says it: one mapping, both ways. No torch.

The page's widgets read and write the address; what is launched is what `from_query` makes of it. `to_query` is its
inverse: the link that is copied, and that "Launch again" opens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app import forms, words
from app.launch import raced
from app.launch.raced import Query
from app.launch.task_choice import is_complete
from peftcore import errors
from peftcore.registry import METHODS, TASKS
from peftcore.spec import RunSpec, Settings
from peftcore.store import recipes
from peftcore.task import task_card

CHOSEN_ABOVE = ("backbone", "method", "task")


@dataclass(frozen=True)
class Request:
    """What the form shows.

    method: the method's class, None where there is no such method. specs: the runs, one where nothing is raced; none
    where something is wrong. values: what is raced, by name. rates: by method, the learning rate of each, where no rate
    for all is written or raced. faults: what is wrong, by name in the address; "" is what does not fit together.
    defaults: by name in the address, what the recipe of the method and backbone is beside the rate; nothing where the
    address has a rate, which then is a recipe of its own, or where methods are raced, as published. kept: by name in
    the address, what stays there beside such a rate also where it is the schema's default: the recipe's is another.
    """

    method: type[Any] | None
    specs: list[RunSpec]
    values: dict[str, list[Any]]
    rates: dict[str, float]
    faults: dict[str, errors.HeadroomError] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()

    @property
    def own_rates(self) -> dict[str, float]:
        """`rates` of a race over methods."""
        return self.rates if "method" in self.values else {}

    @property
    def spec(self) -> RunSpec | None:
        return self.specs[0] if self.specs else None


def opened(query: Query) -> dict[str, list[str]]:
    """What a link means that was made before learning rates were measured: naming none meant the general one.

    Those links, and no others, name all that is always in a preset, and no learning rate at all, or only raced ones.
    """
    said = raced.lists(query)
    if is_like_old(said):
        said["lr"] = forms.texts_of(RunSpec, "lr", forms.default_of(RunSpec, "lr"))
    return said


def is_like_old(query: Query) -> bool:
    """Whether it reads like a preset link of then. An address of now says `lr=` where the rate is the default."""
    named = {*query, *raced.named(raced.lists(query))}
    rates = [name for name in query if name == "lr" or (name.endswith(".lr") and name != "race.lr")]
    return {*words.ALWAYS} - {"lr"} <= named and not rates


# From the address


def from_query(query: Query) -> Request:
    """What an address asks for; what it does not name is the default."""
    query = raced.lists(query)
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
    varied = raced.chosen(cls, query)
    defaults = {} if any(query.get("lr", ())) or "method" in varied else _recipe(method, backbone, query)
    kept = frozenset(_recipe(method, backbone, {}) if any(query.get("lr", ())) else ())
    own = _read(cls, f"{method}.", [name for name in cls.model_fields if name not in varied], query, faults, defaults)
    names = [name for name in RunSpec.model_fields if name not in (*CHOSEN_ABOVE, *varied)]
    recipe = _read(RunSpec, "", names, query, faults, defaults)
    values = {}
    for name in varied:
        try:
            values[name] = raced.several(cls, name, query.get(f"race.{name}"), backbone)
        except errors.HeadroomError as error:
            faults[f"race.{name}"] = error
    rates = {}
    if "lr" in recipe and not any(query.get("lr", ())):
        if "method" in values:
            rates = {name: _rate(name, backbone, query, faults) for name in values["method"]}
        else:
            rates = {method: recipe_of(method, backbone, query).values["lr"]}
        recipe["lr"] = rates[method]
    if faults:
        return Request(cls, [], values, rates, faults, defaults, kept)
    try:
        spec = RunSpec(backbone=backbone, method={"name": method, **own}, task=task, **recipe)
        return Request(cls, raced.runs(spec, values, rates), values, rates, {}, defaults, kept)
    except errors.HeadroomError as error:
        return Request(cls, [], values, rates, {"": error}, defaults, kept)


def recipe_of(method: str, backbone: str, query: Query) -> recipes.Recipe:
    """The recipe, or that of the method as published where the address switches off what departs from it."""
    recipe, cls = recipes.best(method, backbone), METHODS.load(method).METHOD
    said = {name: query.get(f"{method}.{name}", ()) for name in recipe.settings.keys() - raced.chosen(cls, query)}
    return recipe.suiting({name: forms.meant(cls, name, texts) for name, texts in said.items() if any(texts)})


def _recipe(method: str, backbone: str, query: Query) -> dict[str, Any]:
    """What is known to work best beside the learning rate, by name in the address."""
    fields = {name: value for name, value in recipe_of(method, backbone, query).fields.items() if name != "lr"}
    settings = recipes.best(method, backbone).settings
    return fields | {f"{method}.{name}": value for name, value in settings.items()}


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


# To the address


def to_query(
    spec: Mapping[str, Any], values: Mapping[str, Sequence[Any]] | None = None, rates: Mapping[str, float] | None = None
) -> dict[str, str | list[str]]:
    """The address whose form asks for these runs: a spec as a dict, what is raced, and rates by method.

    It names the spec's own rate where rates are raced, too: whatever else stands in it is then all that is meant.
    """
    query, values = forms.preset(spec), values or {}
    if not values:
        return query
    cls: type[Any] = METHODS.load(spec["method"]["name"]).METHOD
    for name in values:
        if name not in ("method", "lr"):
            query.pop(f"{cls.name}.{name}" if name in cls.model_fields else name, None)
    query["race"] = ",".join(values)
    for name, each in values.items():
        if name == "method":
            query["race.method"] = [one for one in each if one != cls.name] or [""]
        elif raced.choices(raced.owner(cls, name), name):
            query[f"race.{name}"] = [words.value(one) for one in each]
        else:
            query[f"race.{name}"] = ", ".join(forms.NONE if one is None else repr(one) for one in each)
    if rates:
        query.pop("lr", None)
        query |= {f"{name}.lr": repr(rate) for name, rate in rates.items()}
    return query
