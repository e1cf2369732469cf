"""The learning rate of the launch page: the best that is known for the method, until somebody writes another."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import forms, glossary, links, words
from app.launch import tried
from app.launch.request import Request, recipe_of
from peftcore.figures.method_style import method_title
from peftcore.spec import Settings
from peftcore.store import recipes


def field(model: type[Settings], request: Request) -> None:
    """The field: empty where each raced method has its own; what is written stays, and empty is the default."""
    texts = links.texts("lr")
    single = "" if request.own_rates else str(next(iter(request.rates.values()), ""))
    st.text_input(
        words.setting("lr"),
        links.show("lr", texts[-1] if any(texts) else single),
        key="lr",
        help=glossary.linked(f"{model.model_fields['lr'].description} Empty: the best known for the method."),
        placeholder="each method's own",
        on_change=lambda: links.write(**_written(st.session_state["lr"].strip(), model, request)),
    )
    for name, why in request.faults.items():
        if name == "lr" or name.endswith(".lr"):
            forms.complain(why)


def _written(text: str, model: type[Settings], request: Request) -> dict[str, Any]:
    """A rate that is written, and with it what else the recipe said, which a rate of one's own would end."""
    if not text:
        return {"lr": None}
    assert request.method is not None, "a form with settings has a method"
    owners = {name: request.method if "." in name else model for name in request.defaults}
    unsaid = {name: value for name, value in request.defaults.items() if not any(links.texts(name))}
    more = {name: forms.texts_of(owners[name], name.rpartition(".")[2], value) for name, value in unsaid.items()}
    return {"lr": text, **more}


def hint(backbone: str, request: Request) -> None:
    """A line on where the recipe comes from, what it is based on one click away, and the way back to it."""
    written = [name for name in _methods(request) if links.texts(f"{name}.lr")]
    known = {name: recipes.best(name, backbone) for name in _methods(request)}
    if alone := len(known) == 1:
        known = {name: recipe_of(name, backbone, links.shown()) for name in known}
    best = {name: recipe.values["lr"] if alone else recipe.lr for name, recipe in known.items()}
    own = any(links.texts("lr")) or any(request.rates.get(name) != best[name] for name in written)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if own:
            default = ", ".join(dict.fromkeys(f"{rate:g}" for rate in best.values()))
            st.caption(f"Set here or by the link; the best known is {default}.", width="content")
            st.button(f"Back to {default}", key="default_rate", type="tertiary", icon=":material/undo:",
                      on_click=links.write,
                      kwargs=dict.fromkeys(["lr", *(f"{name}.lr" for name in written)]))  # fmt: skip
        elif not alone:
            each = ", ".join(f"{method_title(name)} {rate:g}" for name, rate in request.rates.items())
            st.caption(f"Learning rates: {each}. Methods are raced as published.", width="content")
        else:
            [recipe] = known.values()
            st.caption(f"{words.recipe(recipe.values)}: {recipe.basis}.", width="content")
        with st.popover("What was tried", type="tertiary", icon=":material/query_stats:", key="rate_evidence"):
            for name, recipe in known.items():
                tried.show(name, recipe)


def _methods(request: Request) -> list[str]:
    assert request.method is not None, "a form with settings has a method"
    return request.values.get("method") or [request.method.name]
