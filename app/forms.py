"""Forms made from pydantic schemas: a field's type, range and help become a widget with a key, and a name in the link.

The key of a widget is its name in the address (`epochs`, `last.rank`), so every form is a link. A field shows what the
address says, also what the schema refuses; then the schema's sentence stands beneath it. So numbers are typed as text:
Streamlit's own field for numbers keeps what is out of range to itself and goes on with the value before.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import streamlit as st
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from app import errors, glossary, links, plain_options, words
from peftcore.errors import HeadroomError, InvalidSetting
from peftcore.registry import METHODS
from peftcore.spec import RunSpec, Settings, as_sentence

SWITCH = {"auto": "auto", "disk": "disk", True: "on", False: "off"}
Defaults = Mapping[str, Any] | None
Draw = Mapping[str, Callable[[type[Settings], str], Any]]  # by the field's name, what draws it and returns its value
DEVICE = r"auto|cpu|mps|cuda(:\d{1,2})?"
TRUTH = {"true": True, "false": False}
NONE = "none"  # of a number that may be left out, where the default is a number


# What the address says of a field


def unwrap(annotation: Any) -> tuple[Any, bool]:
    """The type without None, and whether None was in it; `Literal["auto", "disk"] | bool` is a 'switch'."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if bool in parts:
        return "switch", False
    return parts[0], len(parts) < len(get_args(annotation))


def options_of(kind: Any) -> list[Any]:
    """The options of a choice of several, a tuple of literals; nothing for any other type."""
    inner = get_args(kind)[0] if get_origin(kind) is tuple else None
    return list(get_args(inner)) if get_origin(inner) is Literal else []


def default_of(model: type[Settings], name: str) -> Any:
    """A field's value where nobody set it."""
    return model.model_fields[name].get_default(call_default_factory=True)


def meant(model: type[Settings], name: str, texts: Sequence[str]) -> Any:
    """The value that the address's texts mean. What means none stays a text, which the schema refuses in a sentence.

    An empty text is the default, but for a choice of several, which it leaves without any.
    """
    kind, optional = unwrap(model.model_fields[name].annotation)
    if options := options_of(kind):
        known = {str(option): option for option in options}
        return tuple(known.get(text, text) for text in texts if text) if texts else default_of(model, name)
    if not any(texts):
        return default_of(model, name)
    text = texts[-1]
    if kind == "switch":
        return {label: value for value, label in SWITCH.items()}.get(text, text)
    if kind is bool:
        return TRUTH.get(text.lower(), text)
    if get_origin(kind) is Literal:
        return next((option for option in get_args(kind) if str(option) == text), _json(text))
    if kind in (int, float):
        return None if optional and text == NONE else number(text)
    return text if kind is str else _json(text)


def meant_or(model: type[Settings], name: str, texts: Sequence[str], default: Any) -> Any:
    """`meant`, with another default than the schema's own."""
    value = meant(model, name, texts)
    return value if any(texts) or value != default_of(model, name) else default


def texts_of(model: type[Settings], name: str, value: Any) -> list[str]:
    """How the address writes a value, so that `meant` reads it again."""
    kind, _ = unwrap(model.model_fields[name].annotation)
    if options_of(kind):
        return [str(part) for part in value] or [""]
    if value is None:
        return [""]
    if kind == "switch":
        return [SWITCH.get(value, str(value))]
    return [str(value) if kind in (int, float, str) or get_origin(kind) is Literal else json.dumps(value)]


def number(text: str) -> int | float | str:
    """A number, where the text is one; the schema says what is wrong with the rest."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def refusal(model: type[Settings], name: str, value: Any) -> HeadroomError | None:
    """Why a field cannot have this value in the app, whatever the others are."""
    try:
        _validator(model, name).validate_python(value)
    except ValidationError as error:
        return as_sentence(model, error, (name,))
    except HeadroomError as error:
        return error
    if name == "device" and not re.fullmatch(DEVICE, str(value)):
        return InvalidSetting(f"There is no device {value!r}; use auto, cpu, cuda or, of several GPUs, cuda:1.")
    return plain_options.refusal(value, name)


@lru_cache(maxsize=512)
def _validator(model: type[Settings], name: str) -> TypeAdapter:
    """Of one field. It takes a millisecond to make, and a page asks about some ninety fields each time it is drawn."""
    info = model.model_fields[name]
    kind: Any = Annotated[info.annotation, info]
    return TypeAdapter(kind, config={"allow_inf_nan": False})


def preset(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Query parameters of the launch page that show a spec: its fields by name, the method's as METHOD.FIELD."""
    method = spec["method"]
    cls = METHODS.load(method["name"]).METHOD
    query: dict[str, str | list[str]] = {"method": method["name"]}
    query |= {name: _written(RunSpec, name, value) for name, value in words.changed(spec).items()}
    own = {name: value for name, value in method.items() if name in cls.model_fields}
    own = {name: value for name, value in own.items() if value not in (None, {}) or value != default_of(cls, name)}
    return query | {f"{cls.name}.{name}": _written(cls, name, value) for name, value in own.items()}


def _written(model: type[Settings], name: str, value: Any) -> str | list[str]:
    texts = texts_of(model, name, value)
    return texts if options_of(unwrap(model.model_fields[name].annotation)[0]) else texts[0]


# Widgets


def fields(
    model: type[Settings],
    names: Iterable[str] | None = None,
    *,
    prefix: str = "",
    columns: int = 4,
    instead: Draw | None = None,
    defaults: Defaults = None,
    kept: Collection[str] = (),
) -> dict[str, Any]:
    """Draws a widget for each field, in rows of `columns`, and returns what they say, also what the schema refuses.

    Args:
        names: which fields and in which order; all by default.
        prefix: before each key, as `last.` in `last.rank`.
        instead: what draws a field, by its name, in place of its own widget.
        defaults: by key, what a field is where nobody set it, other than the schema's own.
        kept: keys that stay in the address with whatever value they have.
    """
    names = list(model.model_fields if names is None else names)
    values, others = {}, defaults or {}
    own = [n for n in names if n not in (instead or {}) and prefix + n not in kept]
    _drop_defaults(model, own, prefix, others)
    for start in range(0, len(names), columns):
        row = names[start : start + columns]
        for name, place in zip(row, st.columns(columns), strict=False):
            with place:
                draw = (instead or {}).get(name) or (
                    lambda model, name: field(model, name, prefix + name, others, kept)
                )
                values[name] = draw(model, name)
    return values


def _drop_defaults(model: type[Settings], names: Iterable[str], prefix: str, others: Mapping[str, Any]) -> None:
    """Takes out of the address what says no more than the default."""
    said = {name: texts for name in names if (texts := links.texts(prefix + name))}
    defaults = {name: others.get(prefix + name, default_of(model, name)) for name in said}
    same = [n for n, texts in said.items() if meant_or(model, n, texts, defaults[n]) == defaults[n]]
    links.write(**{prefix + name: None for name in same})


def field(model: type[Settings], name: str, key: str, defaults: Defaults = None, kept: Collection[str] = ()) -> Any:
    """One field's widget, and its value. defaults: by key, where not the schema's own. kept: as in `fields`."""
    texts, info = links.texts(key), model.model_fields[name]
    default = (defaults or {}).get(key, default_of(model, name))
    value = meant_or(model, name, texts, default)

    def keep() -> None:
        now = st.session_state[key]
        if options := options_of(unwrap(info.annotation)[0]):
            now = sorted(now, key=options.index)  # in whatever order they were clicked
        now = [now] if isinstance(now, str) else texts_of(model, name, now)
        kind, optional = unwrap(info.annotation)
        if optional and kind in (int, float) and default is not None and now == [""]:
            now = [NONE]  # emptied, where empty would be the recipe's
        links.write(**{key: None if key not in kept and meant_or(model, name, now, default) == default else now})

    draw(words.setting(name), info, value, key, texts[-1] if texts else None, on_change=keep)
    complain(refusal(model, name, value))
    return value


def draw(label: str, info: FieldInfo, value: Any, key: str, text: str | None, **settings: Any) -> None:
    """The widget that fits a field's type and its value; `text`: as the address has it.

    A value that the widget has no place for is one option more, or a text.
    """
    kind, optional = unwrap(info.annotation)
    settings |= {"key": key, "help": info.description and glossary.linked(info.description)}
    if kind == "switch" or get_origin(kind) is Literal:
        options = list(SWITCH) if kind == "switch" else list(get_args(kind))
        st.session_state[key] = value
        shown = SWITCH.get if kind == "switch" else str
        options += [value] if value not in options else []
        st.selectbox(label, options, format_func=lambda option: shown(option) or str(option), **settings)
    elif kind is bool and isinstance(value, bool):
        st.toggle(label, links.show(key, value), **settings)
    elif options := options_of(kind):
        st.session_state[key] = list(dict.fromkeys(value))
        options = list(dict.fromkeys([*options, *value]))
        st.pills(
            label, options, selection_mode="multi", wrap=True, format_func=lambda o: errors.plain(str(o)), **settings
        )
    else:
        is_json = kind not in (int, float, str, bool)
        if text is None:
            text = "" if value in (None, {}) else json.dumps(value) if is_json else str(value)
        empty = "automatic" if kind in (int, float) else "none"
        placeholder = empty if optional else "JSON" if is_json else None
        st.text_input(label, links.show(key, text), placeholder=placeholder, **settings)


def complain(why: HeadroomError | None) -> None:
    """The sentence beneath a field whose value is refused."""
    if why:
        st.caption(f":red[:material/error: {errors.plain(str(why))}]")
