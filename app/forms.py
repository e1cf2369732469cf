"""Forms made from pydantic schemas: a field's type, range and help become a widget with a key, and a name in the link.

The key of a widget is its name in the address (`epochs`, `last.rank`), so every form is a link.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import streamlit as st
from pydantic.fields import FieldInfo

from app import words
from peftcore.errors import HeadroomError
from peftcore.spec import RunSpec, Settings

SWITCH = {"auto": "auto", "disk": "disk", True: "on", False: "off"}
_REFUSED = "refused_by_forms"  # in the session: key of a widget -> why the address was not followed, the widget's value


def fields(
    model: type[Settings],
    names: Iterable[str] | None = None,
    *,
    prefix: str = "",
    columns: int = 4,
    instead: Mapping[str, Callable[[type[Settings], str], Any]] | None = None,
) -> dict[str, Any]:
    """Draws a widget for each field, in rows of `columns`, and returns what they say.

    Args:
        names: which fields and in which order; all by default.
        prefix: before each key, as `last.` in `last.rank`.
        instead: what draws a field, by its name, in place of its own widget.
    """
    names = list(model.model_fields if names is None else names)
    values = {}
    for start in range(0, len(names), columns):
        row = names[start : start + columns]
        for name, place in zip(row, st.columns(columns), strict=False):
            if name in (instead or {}):
                with place:
                    values[name] = instead[name](model, name)
                continue
            refusal = _refusal(model, name, prefix + name)
            with place:
                values[name] = field(name, model.model_fields[name], prefix + name)
            if refusal:
                shown = st.session_state[prefix + name]
                st.session_state.setdefault(_REFUSED, {})[prefix + name] = refusal, shown
    return values


def _refusal(model: type[Settings], name: str, key: str) -> str | None:
    """Why what the address says of a field is impossible: Streamlit takes it out of the address without a word."""
    said = st.query_params.get_all(key)
    kind = unwrap(model.model_fields[name].annotation)[0]
    bounded = kind in ("switch", bool, int, float) or get_origin(kind) is Literal or _several(kind)
    if not any(said) or not bounded:  # a text goes to the schema as it is
        return None
    switch = {label: value for value, label in SWITCH.items()}
    value = said if _several(kind) else switch.get(said[0], said[0]) if kind == "switch" else _json(said[0], None)
    try:
        model.check_field(name, value)
    except HeadroomError as error:
        return str(error)
    return None


def refusals() -> list[str]:
    """What the link to this page asks for and the forms do not show, a sentence each, until another value is chosen."""
    refused = st.session_state.get(_REFUSED, {})
    for key in [key for key, (_, shown) in refused.items() if st.session_state.get(key) != shown]:
        del refused[key]
    return [f"From the link: {why} The form shows {_listed(shown)}." for why, shown in refused.values()]


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def field(name: str, info: FieldInfo, key: str) -> Any:
    """One field's widget and its value."""
    label = words.setting(name)
    common = {"key": key, "help": info.description, "bind": "query-params"}
    default = info.get_default(call_default_factory=True)
    kind, optional = unwrap(info.annotation)
    if kind == "switch":
        return st.selectbox(label, list(SWITCH), index=list(SWITCH).index(default), format_func=SWITCH.get, **common)
    if kind is bool:
        return st.toggle(label, value=default, **common)
    if options := _several(kind):
        chosen = st.pills(label, options, default=list(default), selection_mode="multi", wrap=True, **common)
        return tuple(option for option in options if option in chosen)
    if get_origin(kind) is Literal:
        options = list(get_args(kind))
        return st.selectbox(label, options, index=options.index(default), **common)
    if kind in (int, float):
        return _number(label, kind, default, info, common)
    if kind is str:
        text = st.text_input(label, value=default or "", placeholder="none" if optional else None, **common)
        return (text or None) if optional else text
    return _json(st.text_input(label, value="", placeholder="none" if optional else "JSON", **common), default)


def _several(kind: Any) -> list[Any]:
    """The options of a tuple of literals; nothing for any other type."""
    inner = get_args(kind)[0] if get_origin(kind) is tuple else None
    return list(get_args(inner)) if get_origin(inner) is Literal else []


def _json(text: str, default: Any) -> Any:
    """What has no widget of its own is written as JSON; what is no JSON goes to the schema, which says so."""
    if not text.strip():
        return default
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def unwrap(annotation: Any) -> tuple[Any, bool]:
    """The type without None, and whether None was in it; `Literal["auto", "disk"] | bool` is a 'switch'."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if bool in parts:
        return "switch", False
    return parts[0], len(parts) < len(get_args(annotation))


def _number(
    label: str, kind: type, default: float | None, info: FieldInfo, common: dict[str, Any]
) -> int | float | None:
    """Inclusive bounds hold the widget; what an exclusive bound forbids, the schema says in a sentence."""
    low, high = _bound(info, "ge"), _bound(info, "le")
    if kind is int:
        below = _bound(info, "lt")
        limits = {"min_value": low, "max_value": below - 1 if high is None and below is not None else high, "step": 1}
    else:
        limits = {
            "min_value": None if low is None else float(low),
            "max_value": None if high is None else float(high),
            "step": _step(default),
            "format": "%g",
        }
    value = None if default is None else kind(default)
    return st.number_input(label, value=value, placeholder="by itself" if value is None else None, **limits, **common)


def _bound(info: FieldInfo, name: str) -> Any:
    return next((getattr(rule, name) for rule in info.metadata if hasattr(rule, name)), None)


def _step(default: float | None) -> float:
    """One in the default's leading digit where it is 1 or more, else a tenth of that."""
    if not default:
        return 0.05
    power = math.floor(math.log10(default))
    return 10.0**power if power >= 0 else 10.0 ** (power - 1)


def preset(spec: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Query parameters of the launch page that show a spec: its fields by name, the method's as METHOD.FIELD."""
    method = spec["method"]
    query: dict[str, str | list[str]] = {"method": method["name"]}
    for name, value in words.changed(spec).items():
        switch = unwrap(RunSpec.model_fields[name].annotation)[0] == "switch"
        query[name] = SWITCH[value] if switch else _written(value)
    for name, value in method.items():
        if name != "name" and value not in (None, {}):
            query[f"{method['name']}.{name}"] = _written(value)
    return query


def _written(value: Any) -> str | list[str]:
    """As Streamlit's bound widgets write a value into the address: a list repeats its name, the rest is JSON."""
    if isinstance(value, (list, tuple)) and not any(isinstance(part, (list, tuple)) for part in value):
        return [str(part) for part in value]
    return json.dumps(value) if isinstance(value, (bool, dict, list, tuple)) else str(value)
