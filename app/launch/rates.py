"""The learning rate of the launch page: the best that is known for the method, until somebody writes another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import forms, links, words
from app.launch.request import Request
from peftcore.figures.theme import method_title
from peftcore.spec import Settings
from peftcore.store import recipes
from peftcore.store.recipes import Recipe


def field(model: type[Settings], request: Request) -> None:
    """The field: empty where each raced method has its own; what is written stays, and empty is the default."""
    texts = links.texts("lr")
    single = "" if request.own_rates else str(next(iter(request.rates.values()), ""))
    st.text_input(
        words.setting("lr"),
        links.show("lr", texts[-1] if any(texts) else single),
        key="lr",
        help=f"{model.model_fields['lr'].description} Empty: the best known for the method.",
        placeholder="each method's own",
        on_change=lambda: links.write(lr=st.session_state["lr"].strip() or None),
    )
    for name, why in request.faults.items():
        if name == "lr" or name.endswith(".lr"):
            forms.complain(why)


def hint(backbone: str, request: Request) -> None:
    """A line on where the rate comes from, what it is based on one click away, and the way back to it."""
    written = [name for name in _methods(request) if links.texts(f"{name}.lr")]
    known = {name: recipes.best(name, backbone) for name in _methods(request)}
    best = {name: recipe.values["lr"] for name, recipe in known.items()}
    own = any(links.texts("lr")) or any(request.rates.get(name) != best[name] for name in written)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if own:
            default = ", ".join(dict.fromkeys(f"{rate:g}" for rate in best.values()))
            st.caption(f"Set here or by the link; the best known is {default}.", width="content")
            st.button(f"Back to {default}", key="default_rate", type="tertiary", icon=":material/undo:",
                      on_click=links.write,
                      kwargs=dict.fromkeys(["lr", *(f"{name}.lr" for name in written)]))  # fmt: skip
        elif len(known) > 1:
            each = ", ".join(f"{method_title(name)} {rate:g}" for name, rate in request.rates.items())
            st.caption(f"Learning rates: {each}.", width="content")
        else:
            [recipe] = known.values()
            st.caption(f"Learning rate {recipe.values['lr']:g}: {recipe.basis}.", width="content")
        with st.popover("What was tried", type="tertiary", icon=":material/query_stats:", key="rate_evidence"):
            for name, recipe in known.items():
                _evidence(name, recipe)


def _methods(request: Request) -> list[str]:
    assert request.method is not None, "a form with settings has a method"
    return request.values.get("method") or [request.method.name]


def _evidence(name: str, recipe: Recipe) -> None:
    """The rates that were tried, what each reached, and the command."""
    st.markdown(f"**{method_title(name)}: {recipe.values['lr']:g}**")
    st.caption(f"{recipe.basis[:1].upper()}{recipe.basis[1:]}.")
    for entry in recipe.evidence:
        measured = entry["evidence"]
        st.markdown(_table(entry["values"]["lr"], measured["rates"]))
        by_task = _by_task(entry)
        st.caption(
            f"{method_title(entry['method'])} on {entry['backbone']}: mean accuracy over {measured['on']}, "
            f"{measured['epochs']} epochs, {measured['seeds']} seed{'s' if measured['seeds'] > 1 else ''}. "
            "Validation chose." + (f" Task by task it chose {by_task}." if by_task else "")
        )
    if recipe.evidence:
        st.code(recipe.evidence[0]["evidence"]["command"], language="bash", wrap_lines=True)


def _table(chosen: float, rates: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a popover that opens has it at once, where a data frame would come a second later."""
    rows = [
        f"| {f'**{lr}** ✓' if float(lr) == chosen else lr} | {100 * both['val']:.1f} % | {100 * both['test']:.1f} % |"
        for lr, both in rates.items()
    ]
    return "\n".join(["| learning rate | validation | test |", "|---:|---:|---:|", *rows])


def _by_task(entry: Mapping[str, Any]) -> str:
    """'0.005 for cells, counting'; what differs from the choice for all."""
    other: dict[float, list[str]] = {}
    for task, lr in entry["evidence"].get("by_task", {}).items():
        if lr != entry["values"]["lr"]:
            other.setdefault(lr, []).append(words.task_title(task))
    return "; ".join(f"{lr:g} for {', '.join(tasks)}" for lr, tasks in sorted(other.items()))
