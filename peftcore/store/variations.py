"""Variations of a RunSpec: made from several values of some settings, and named by what varies. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from peftcore import errors
from peftcore.spec import RunSpec


def variations(spec: RunSpec, several: Mapping[str, Sequence[Any]]) -> list[RunSpec]:
    """Every combination of the values, the first setting varying slowest; `[spec]` where nothing varies.

    Args:
        several: values by name: `method` (methods by name), a setting of the method, or a field of RunSpec. A method
            other than the spec's own starts from its defaults.

    Raises:
        InvalidSetting: a setting without a value, or a value outside its range; UnknownName: no such setting.
    """
    for name, values in several.items():
        if not values:
            raise errors.InvalidSetting(f"{name} has no value to race; give one or more, such as {name}=4,8.")
    return [_changed(spec, dict(zip(several, values, strict=True))) for values in product(*several.values())]


def _changed(spec: RunSpec, changes: dict[str, Any]) -> RunSpec:
    own = spec.method.settings()
    if "name" in changes:
        raise errors.InvalidSetting("No method has a setting 'name'; methods are raced as in method=lora,last.")
    name = changes.pop("method", own["name"])
    recipe = {field: changes.pop(field) for field in list(changes) if field in RunSpec.model_fields}
    method = own if name == own["name"] else {"name": name}
    return spec.replace(method={**method, **changes}, **recipe)


def alike_but_seed(specs: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Places of the specs that differ in the seed alone, as far as all of them say their settings: an older run knows
    fewer. In the order of the specs."""
    fields = set[str].intersection(*map(set, specs)) if specs else set()
    settings: dict[str, set[str]] = {}
    for spec in specs:
        name = spec["method"]["name"]
        settings[name] = settings.get(name, set(spec["method"])) & set(spec["method"])
    found: dict[str, list[int]] = {}
    for nth, spec in enumerate(specs):
        method = {name: spec["method"][name] for name in settings[spec["method"]["name"]]}
        rest = {name: spec[name] for name in fields}
        key = json.dumps({**rest, "method": method, "seed": 0}, sort_keys=True)
        found.setdefault(key, []).append(nth)
    return list(found.values())


def same_but_seed(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two specs, as dicts, differ in nothing but the seed; what an older one does not say is the default."""
    if any(first[name] != second[name] for name in ("task", "backbone")):
        return False
    one, other = (RunSpec.of({**spec, "seed": 0}).to_dict() for spec in (first, second))
    return first["seed"] != second["seed"] and one == other


def differences(specs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each spec, as a dict, the settings in which it differs from others: {"method": "last", "rank": 8}.

    The settings of a method are compared among the specs of that method alone, and a setting among those that have it:
    an older run knows fewer.
    """
    recipe = [name for name in _varied(specs) if name != "method"]
    methods = {spec["method"]["name"] for spec in specs}
    settings: dict[str, list[str]] = {}
    for method in methods:
        same = [spec["method"] for spec in specs if spec["method"]["name"] == method]
        settings[method] = _varied(same)
    return [
        ({"method": spec["method"]["name"]} if len(methods) > 1 else {})
        | {name: spec["method"][name] for name in settings[spec["method"]["name"]] if name in spec["method"]}
        | {name: spec[name] for name in recipe if name in spec}
        for spec in specs
    ]


def _varied(some: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for one in some for name in one)
    return [name for name in names if _distinct(one[name] for one in some if name in one) > 1]


def _distinct(values: Any) -> int:
    return len({json.dumps(value, sort_keys=True) for value in values})
