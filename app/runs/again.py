"""Launch a run again with one thing changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

import streamlit as st

from app import caps, errors, forms, glossary, links, navigation, words
from app.launch import costs
from peftcore.errors import HeadroomError, InvalidSetting
from peftcore.figures.method_style import method_title
from peftcore.registry import METHODS
from peftcore.spec import RunSpec, Settings
from peftcore.store import RunRecord, recipes
from peftcore.store.variations import variations

FIRST = ("seed", "lr", "epochs", "batch_size", "method")  # what is changed most often


def offered(spec: RunSpec) -> list[str]:
    """What can be changed: the most usual first, then the method's own settings, then the rest of the recipe."""
    own = [name for name in type(spec.method).model_fields if name not in RunSpec.model_fields]
    return [*FIRST, *own, *(name for name in RunSpec.model_fields if name not in FIRST)]


def suggestion(spec: RunSpec, name: str) -> Any:
    """Another value of a setting, one that is likely to be wanted; the value itself of a text, or of what is off."""
    value = _value(spec, name)
    if name == "method":
        return "lora" if value != "lora" else "last"
    if name == "seed":
        return value + 1
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        larger = 2 * value or 0.1
        return value / 2 if forms.refusal(_owner(spec, name), name, larger) else larger
    if several := forms.options_of(forms.unwrap(_owner(spec, name).model_fields[name].annotation)[0]):
        return [one for one in several if one not in value] or several[:1]
    others = _options(_owner(spec, name), name)
    return next((one for one in others if one != value), value)


def changed(spec: RunSpec, name: str, value: Any) -> RunSpec:
    """The spec with one thing changed; another method comes with its own recipe, in place of what the old one's set.

    Raises:
        InvalidSetting: nothing is changed, or the value is not possible; UnknownName: no such method or task.
    """
    [made] = variations(spec, {name: [value]})
    made = _with_its_recipe(spec, made) if name == "method" else made
    if made == spec:
        was = words.value(_value(spec, name), name)
        raise InvalidSetting(f"{words.setting(name)} is {was} already; give another value.")
    return made


def _with_its_recipe(spec: RunSpec, made: RunSpec) -> RunSpec:
    """Another method's run: what the old one's recipe set goes with it, what somebody set stays, but for the rate."""
    old = recipes.best(spec.method.name, spec.backbone).fields
    usual = {name: forms.default_of(RunSpec, name) for name in RunSpec.model_fields}
    set_now = {name for name, value in usual.items() if getattr(spec, name) not in (value, old.get(name, value))}
    by_hand = set_now - {"lr"}
    made = made.replace(**{name: usual[name] for name in old if name not in by_hand})
    return recipes.with_recipe(made, by_hand)


def why_not(record: RunRecord) -> str | None:
    """Why a run cannot be launched again, in sentences; None where it can."""
    try:
        RunSpec.of(record.spec)
    except HeadroomError as error:
        return (
            f"Run {record.id} is of another version of Headroom, so it cannot be launched again, and what needs its "
            f"model may fail: {error} What was recorded of it stands below."
        )
    return None


def draw(record: RunRecord) -> None:
    """The link to the launch page with the run's settings, and beside it a choice of one thing to change; nothing for a
    run that this version cannot launch."""
    if why_not(record):
        return
    spec = RunSpec.of(record.spec)
    # A link, not a button: app/background.py says why nothing switches pages beside a fragment that reruns.
    navigation.link("launch", "Launch again", **forms.preset(record.spec))
    with st.popover("with a change", type="tertiary", key="again", on_change="rerun") as choice:
        if choice.open:
            _choose(record, spec)


def _choose(record: RunRecord, spec: RunSpec) -> None:
    name = st.selectbox("Change", offered(spec), key=f"again_what_{record.id}", format_func=words.setting)
    key = f"again_{name}_{record.id}"
    value = _field(spec, name, key)
    st.caption(f"It was {words.value(_value(spec, name), name)}." + " All else stays as it is." * (name != "method"))
    try:
        made = changed(spec, name, value)
    except HeadroomError as error:
        forms.complain(error)
        return
    if name == "method":
        recipe = recipes.best(made.method.name, made.backbone)
        text, stays = words.recipe(recipe.values), {n: getattr(made, n) for n in recipe.fields} | {"lr": made.lr}
        own = [f"{words.setting(n)} {words.value(v, n)}" for n, v in stays.items() if v != recipe.values[n]]
        st.caption(
            f"Its own recipe comes with it: {text[:1].lower()}{text[1:]}; {recipe.basis}."
            + (f" This run's {', '.join(own)} stays." if own else "")
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Launch", key="again_launch", type="primary", icon=":material/rocket_launch:"):
            with errors.sentences(stop=False):
                run = caps.submit(made, costs.promised(made))
                links.write(run=run, race=None, list=None)
                st.rerun()
        navigation.link("launch", "Look at it first", icon=":material/tune:", **forms.preset(made.to_dict()))


def _field(spec: RunSpec, name: str, key: str) -> Any:
    """A field for the new value, which begins with a suggestion."""
    model, say = _owner(spec, name), words.setting(name).capitalize()
    if name == "method":
        return st.selectbox(
            say, METHODS.names(), METHODS.names().index(suggestion(spec, name)), key=key, format_func=method_title
        )
    info = model.model_fields[name]
    if options := _options(model, name):
        first = options.index(suggestion(spec, name)) if suggestion(spec, name) in options else 0
        return st.selectbox(
            say, options, first, key=key, format_func=words.value, help=glossary.linked(info.description or "")
        )
    texts = forms.texts_of(model, name, suggestion(spec, name))
    text = st.text_input(say, ", ".join(texts), key=key, help=glossary.linked(info.description or ""))
    is_list = bool(forms.options_of(forms.unwrap(info.annotation)[0]))
    return forms.meant(model, name, [part.strip() for part in text.split(",")] if is_list else [text.strip()])


def _options(model: type[Settings], name: str) -> list[Any]:
    kind, _ = forms.unwrap(model.model_fields[name].annotation)
    if kind is bool:
        return [True, False]
    if kind == "switch":
        return list(forms.SWITCH)
    return list(get_args(kind)) if str(get_origin(kind)) == "typing.Literal" else []


def _owner(spec: RunSpec, name: str) -> type[Settings]:
    return RunSpec if name in RunSpec.model_fields else type(spec.method)


def _value(spec: RunSpec, name: str) -> Any:
    if name == "method":
        return spec.method.name
    values: Mapping[str, Any] = {**spec.method.settings(), **spec.to_dict()}
    return values[name]
