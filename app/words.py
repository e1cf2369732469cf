"""Numbers, times and names as people read them, and the command that makes a run again. No torch."""

from __future__ import annotations

import base64
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from peftcore import errors
from peftcore.events import COMPONENTS
from peftcore.figures.components import component_colour, component_title
from peftcore.figures.method_style import method_colour, method_kind, method_title
from peftcore.figures.words import si_bytes
from peftcore.spec import RunSpec
from peftcore.store.recipes import NUMBERS, of_row
from peftcore.store.variations import differences
from peftcore.task import task_card

SETTINGS = {
    "lr": "learning rate",
    "lr_ratio": "learning rate of B over A",
    "qk_norm": "q and k normalised",
    "batch_size": "batch size",
    "select": "epoch kept",
}
OF_A_RECIPE = ("lr", "epochs", "clip", "weight_decay", "cache_features")  # what may come with a method
NONE_IF_UNSET = ("clip",)  # where None leaves nothing to the method, the backbone or the machine
# In every command and link, though they may be the defaults; the learning rate, since its default follows the method.
ALWAYS = ("backbone", "task", "epochs", "lr", "seed")


def duration(seconds: float) -> str:
    """'8 s', '2 min', '1 h 20 min'."""
    if seconds < 9.5:
        return f"{max(1, round(seconds))} s"
    if seconds < 90:
        return f"{round(seconds / 5) * 5} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def span(low: float, high: float) -> str:
    """'3 to 5 min', '40 s to 2 min'; one duration where both round to it."""
    first, last = duration(low), duration(high)
    if first == last:
        return first
    return (
        f"{first.removesuffix(' min')} to {last}"
        if first.endswith(" min") and "h" not in first + last
        else (f"{first.removesuffix(' s')} to {last}" if last.endswith(" s") else f"{first} to {last}")
    )


ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def ordinal(number: int) -> str:
    """'third', '12th'."""
    if number <= len(ORDINALS):
        return ORDINALS[number - 1]
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{last}"


def download(event: Mapping[str, Any]) -> tuple[float, str]:
    """The share that has come, and 'Downloading DTD: 120 of 343 MB, about 12 s left', of a download's newest event."""
    what, done, total = event["what"], event["done"], event["total"]
    if not done:
        return 0.0, f"Asking for {what}"
    if not total:
        return 0.0, f"Downloading {what}: {done / 1e6:,.1f} MB so far"
    if done >= total:
        return 1.0, f"{what} has come; it is checked and unpacked"
    digits = 0 if total >= 10e6 else 1
    text = f"Downloading {what}: {done / 1e6:,.{digits}f} of {total / 1e6:,.{digits}f} MB"
    if event["speed"]:
        text += f", about {duration((total - done) / event['speed'])} left"
    return done / total, text


def age(when: float, now: float | None = None) -> str:
    """'just now', '12 min ago', '3 h ago', '5 days ago'."""
    seconds = max(0.0, (now or time.time()) - when)
    if seconds < 45:
        return "just now"
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds >= 0.9 * size or unit == "min":
            count = max(1, round(seconds / size))
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''} ago"
    raise AssertionError


def exact(when: float) -> str:
    """'21 November 2026, 14:03'."""
    return f"{datetime.fromtimestamp(when):%-d %B %Y, %H:%M}"


@lru_cache(maxsize=256)
def task_title(name: str) -> str:
    """A task's title; its name where no such task is installed any more."""
    try:
        title = task_card(name).title
    except errors.UnknownName:
        return name
    path, _, settings = name.partition(":")[2].partition("?")
    # Of a path its last part, which is what tells folders apart, and no more of the machine than that.
    parts = [part for part in (PurePath(path).name, *settings.split("&")) if part]
    return f"{title}: {', '.join(parts)}" if parts else title


def run_title(spec: Mapping[str, Any]) -> str:
    """'LAST on digits, vit_micro', with ', random weights' where the backbone was chosen without pretrained ones."""
    return f"{method_title(spec['method']['name'])} on {spec['task']}, {spec['backbone']}{as_loaded(spec)}"


def apart(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What sets each run apart from those with the same title: ', rank 8, seed 1'; '' where nothing does."""
    titles = list(map(run_title, specs))
    endings = [""] * len(specs)
    for title in set(titles):
        same = [nth for nth, other in enumerate(titles) if other == title]
        for nth, differs in zip(same, differences([specs[nth] for nth in same]), strict=True):
            endings[nth] = f", {variation(differs)}" if differs else ""
    return endings


def as_loaded(spec: Mapping[str, Any]) -> str:
    """', 96 pixels, random weights': what of a run's backbone is not as its name says."""
    return (f", {spec['image_size']} pixels" if spec.get("image_size") else "") + random_weights(spec)


def random_weights(spec: Mapping[str, Any]) -> str:
    """', random weights' where a run's backbone has no pretrained ones: it stands in every title and caption."""
    return "" if spec.get("pretrained", True) or spec.get("weights") else ", random weights"


def setting(name: str) -> str:
    """A setting's name in words: 'learning rate'."""
    return SETTINGS.get(name, name.replace("_", " "))


def recipe(values: Mapping[str, Any]) -> str:
    """'Learning rate 0.01, 20 epochs, q and k normalised, clip 1', of a recipe's values."""
    said = [f"learning rate {values['lr']:g}"]
    said += [f"{values['epochs']} epochs"] if "epochs" in values else []
    text = ", ".join([*said, *beyond(values)])
    return text[:1].upper() + text[1:]


def beyond(values: Mapping[str, Any]) -> list[str]:
    """Where a recipe departs from its method as published: 'q and k normalised', 'clip 1'."""
    fields = {name: of for name, of in of_row(values).items() if name not in (*NUMBERS, "method")}
    settings = values.get("method", {}) | fields
    return [setting(name) if of is True else f"{setting(name)} {value(of)}" for name, of in settings.items()]


def value(of: Any, name: str = "") -> str:
    """A setting's value: '0.001', 'on', 'q, v'. `name`: the setting's, of which None may mean that there is none."""
    if of is None:
        return "none" if name in NONE_IF_UNSET else "automatic"
    if isinstance(of, bool):
        return "on" if of else "off"
    if isinstance(of, (list, tuple)):
        return ", ".join(map(value, of))
    return f"{of:g}" if isinstance(of, float) else str(of)


def variation(differs: Mapping[str, Any]) -> str:
    """What sets a variation apart: 'rank 8', 'LoRA, learning rate 0.01'."""
    texts = [
        method_title(what) if name == "method" else "no clip" if (name, what) == ("clip", None)
        else f"{setting(name)} {value(what)}"
        for name, what in differs.items()
    ]  # fmt: skip
    return ", ".join(texts) or "as the others"


def labels(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What sets each of some runs apart from the others; where no two have the same method, without what comes with a
    method's recipe."""
    differing = differences(specs)
    methods = [own["method"] for own in differing if "method" in own]
    if len({*methods}) == len(specs):
        differing = [{n: of for n, of in own.items() if n not in OF_A_RECIPE} for own in differing]
    return [variation(own) for own in differing]


def race_title(specs: Sequence[Mapping[str, Any]]) -> str:
    """'LAST on digits, vit_micro, over rank', 'LoRA, LAST on digits, vit_micro'."""
    methods = dict.fromkeys(method_title(spec["method"]["name"]) for spec in specs)
    names = dict.fromkeys(name for differing in differences(specs) for name in differing if name != "method")
    marks = set(map(random_weights, specs))  # both kinds: then `over` says that pretrained is raced
    random = marks.pop() if len(marks) == 1 else ""
    over = f", over {' and '.join(map(setting, names))}" if names else ""
    return f"{', '.join(methods)} on {specs[0]['task']}, {specs[0]['backbone']}{over}{random}"


@lru_cache(maxsize=64)
def mark(method: str, dark: bool = False) -> str:
    """Markdown of the method's mark in its colour: a dot, or a diamond for a side method. It stands beside the name."""
    shape = '<path d="M7 1 13 7 7 13 1 7z"' if method_kind(method) == "side" else '<circle cx="7" cy="7" r="5.5"'
    return _picture(shape, method_colour(method, dark=dark))


def _picture(shape: str, colour: str) -> str:
    """Without words for those who do not see it: what it stands for is written beside it."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="14" height="14">{shape} fill="{colour}"/></svg>'
    return f"![](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def components(parts: Mapping[str, int], most: int = 4) -> str:
    """Markdown: the largest memory components in their colours, with their bytes."""
    square = '<rect x="1" y="1" width="12" height="12"'
    largest = sorted((name for name in COMPONENTS if parts.get(name)), key=lambda name: -parts[name])[:most]
    marks = [_picture(square, component_colour(name)) for name in largest]
    texts = [f"{component_title(name)} {si_bytes(parts[name])}" for name in largest]
    return ", ".join(f"{mark}\N{NO-BREAK SPACE}{text}" for mark, text in zip(marks, texts, strict=True))


def changed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a spec but its method that are not the defaults, and those that are always said."""
    fields = RunSpec.model_fields
    return {
        name: value
        for name, value in spec.items()
        if name in fields and name != "method" and (name in ALWAYS or value != fields[name].default)
    }


def command(spec: Mapping[str, Any], verb: str = "run", several: Mapping[str, Sequence[Any]] | None = None) -> str:
    """The command line that does the same as the app; `several`: the values of a race by name."""
    words = ["python", "-m", "peftcore", verb, "--method", spec["method"]["name"]]
    for name, value in spec["method"].items():
        if name != "name" and value not in (None, {}):
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    for name, value in changed(spec).items():
        option = name.replace("_", "-")
        if RunSpec.model_fields[name].annotation is bool:
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value).lower() if isinstance(value, bool) else str(value)]
    for name, values in (several or {}).items():
        words += ["--vary", f"{name}={','.join(one if isinstance(one, str) else json.dumps(one) for one in values)}"]
    return shlex.join(words)
