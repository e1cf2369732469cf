"""A race on the launch page: settings that take several values, in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from app import forms, glossary, links, words
from app.errors import plain
from app.launch import raced
from peftcore import errors
from peftcore.figures.method_style import method_title
from peftcore.registry import METHODS


def chooser(cls: type[Any], faults: Mapping[str, errors.HeadroomError]) -> None:
    """Which settings take several values; nothing: one run. Beneath it the methods, where they are raced."""
    chosen = links.several(
        "launch",
        "race",
        "Race",
        raced.offered(cls),
        default=(),
        owns="race.",
        show=words.setting,
        placeholder="One run. Choose settings to give them several values",
        help=glossary.linked(
            "Several values make several runs, compared live. Side methods that read the same features train "
            "together; the others run one after the other."
        ),
    )
    if "method" in chosen:
        names = sorted((name for name in METHODS.names() if name != cls.name), key=lambda n: method_title(n).lower())
        _pills(f"{cls.card.title} against", "method", names, raced.rivals(cls), show=method_title,
               read=lambda text: {method_title(name): name for name in names}.get(text, text))  # fmt: skip
        forms.complain(faults.get("race.method"))


def widget(cls: type[Any], name: str, backbone: str, faults: Mapping[str, errors.HeadroomError]) -> None:
    """Several values of a setting: a text with commas between, or the options of a choice."""
    model, key, label = raced.owner(cls, name), f"race.{name}", words.setting(name)
    about = glossary.linked(model.model_fields[name].description or "")
    if options := raced.choices(model, name):
        _pills(label, name, options, options, help=about)
    else:
        default = raced.suggested(cls, name, backbone)
        texts = links.texts(key)
        shown = links.show(key, ", ".join(texts) if texts else default)

        def keep() -> None:
            said = st.session_state[key]
            links.write(**{key: None if said.strip() in ("", default) else said})

        st.text_input(label, shown, key=key, help=f"{about} Several values, separated by commas.", on_change=keep)
    forms.complain(faults.get(key))


def _pills(
    label: str,
    name: str,
    options: list[str],
    default: list[str],
    *,
    show: Callable[[str], str] = str,
    read: Callable[[str], str] = str,
    **settings: Any,
) -> None:
    """Pills of several texts; the address repeats the name, and says it once, empty, where none is chosen."""
    key = f"race.{name}"
    texts = links.texts(key)
    chosen = list(dict.fromkeys(read(text) for text in texts if text)) if texts else default
    options = list(dict.fromkeys([*options, *chosen]))
    if texts and chosen == default:
        links.write(**{key: None})
    st.session_state[key] = chosen

    def keep() -> None:
        links.write(**{key: sorted(st.session_state[key], key=options.index) or [""]})

    st.pills(label, options, key=key, selection_mode="multi", wrap=True, on_change=keep,
             format_func=lambda one: plain(show(one)), **settings)  # fmt: skip
