"""Command-line options made from RunSpec's fields, and the RunSpec made from what was given."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from functools import partial
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from peftcore import errors
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import recipes

NONE = "none"


def spec_options(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command one option per field of RunSpec but the method, with the field's own help."""
    parameters = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "fields"]
    for name, field in RunSpec.model_fields.items():
        if name in ("method", "cache_features"):
            continue
        kind, is_optional = field.annotation, False
        if get_origin(kind) in (Union, UnionType):
            is_optional = type(None) in get_args(kind)
            kind = next(k for k in get_args(kind) if k is not type(None))
        kind = kind if kind in (int, float, bool, str) else str
        how: dict[str, Any] = {}
        if is_optional and kind in (int, float):
            how = {
                "parser": partial(_number_or_none, int if kind is int else float),
                "metavar": f"<{kind.__name__}|{NONE}>",
            }
        flag = "--" + name.replace("_", "-")
        text = field.description or ""
        if name in recipes.NUMBERS:
            text += " By default the best known for the method and backbone" + (
                "." if name == "lr" else f", or {field.default} where --lr is given."
            )
        option = typer.Option(f"{flag}/--no-{flag[2:]}" if kind is bool else flag, help=text, **how)
        default = None if name in recipes.NUMBERS else field.default
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind | None, option]
            )
        )
    method = typer.Option("--method", help="The PEFT method: " + ", ".join(METHODS.names()) + ".")
    setting = typer.Option("--set", help="A setting of the method, such as --set rank=4; may be repeated.")
    cache = typer.Option("--cache-features", help=RunSpec.model_fields["cache_features"].description)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters += [
        inspect.Parameter("method", keyword, default="last", annotation=Annotated[str, method]),
        inspect.Parameter("set", keyword, default=[], annotation=Annotated[list[str], setting]),
        inspect.Parameter("cache_features", keyword, default="auto", annotation=Annotated[str, cache]),
    ]
    own = [p.name for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "fields"]

    def command(**given: Any) -> None:
        function(**{n: given.pop(n) for n in own}, fields=given)

    signature = inspect.Signature([p.replace(kind=keyword) for p in parameters])
    command.__signature__ = signature  # type: ignore[attr-defined]  # which typer reads
    command.__doc__, command.__name__ = function.__doc__, function.__name__
    return command


def _number_or_none(kind: Callable[[str], float], text: str) -> float | str:
    """What an option says of a field that may be left out; NONE also where the recipe has a number there."""
    if text == NONE:
        return text
    try:
        return kind(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor {NONE!r}.") from None


def make_spec(fields: dict[str, Any], recipe: bool = True) -> RunSpec:
    """The RunSpec of the options. Without a learning rate among them, what they leave out is the best recipe known for
    the method and backbone, unless `recipe` is off; with one, it is the library's own default."""
    settings: dict[str, Any] = {"name": fields.pop("method")}
    for pair in fields.pop("set"):
        key, sign, value = pair.partition("=")
        if not sign:
            raise errors.InvalidSetting(f"--set takes NAME=VALUE, such as --set rank=4; got {pair!r}.")
        if key == "name":
            raise errors.InvalidSetting(f"A method is named by --method {value}, not by --set.")
        settings[key] = value_of(value)
    fields["cache_features"] = {"true": True, "false": False}.get(
        fields["cache_features"].lower(), fields["cache_features"]
    )
    without = {name for name, value in fields.items() if value == NONE and RunSpec.model_fields[name].default is None}
    given = {name: value for name, value in fields.items() if value is not None and name not in without}
    spec = RunSpec(method=settings, **given)
    chosen = _chosen(given) | without | set(settings)
    return spec if "lr" in given or not recipe else recipes.with_recipe(spec, chosen)


def _chosen(given: dict[str, Any]) -> set[str]:
    """The options whose value is not the field's default."""
    return {name for name, value in given.items() if name == "epochs" or value != RunSpec.model_fields[name].default}


def value_of(text: str) -> Any:
    """The value of JSON (4, true, ["q", "v"]), a list where there are plus signs or commas, else the text itself."""
    value = _json(text)
    return re.split(r"[+,]", value) if isinstance(value, str) and re.search(r"[+,]", value) else value


def choices(pairs: list[str]) -> dict[str, list[Any]]:
    """Values by name from the option --vary: rank=4,8 or projections=q+v,q or projections=[["q", "v"], ["q"]].

    Raises:
        InvalidSetting: no NAME=V1,V2,...
    """
    several = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not (name and sign and text):
            raise errors.InvalidSetting(
                f"--vary takes NAME=V1,V2,..., such as --vary rank=4,8 or --vary projections=q+v,q; got {pair!r}."
            )
        name, whole = name.replace("-", "_"), _json(text)
        read = _field_value(name) if name in RunSpec.model_fields else value_of  # no field of the recipe is a list
        several[name] = whole if isinstance(whole, list) else [read(part) for part in text.split(",")]
    return several


def _field_value(name: str) -> Callable[[str], Any]:
    optional = RunSpec.model_fields[name].default is None
    return lambda text: None if optional and text == NONE else _json(text)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
