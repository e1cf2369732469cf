"""What was tried for a recipe, and what each reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app import words
from peftcore.figures.method_style import method_title
from peftcore.store.recipes import Recipe, of_row

POINT = 0.01  # what more epochs must win to be worth a word


def show(name: str, recipe: Recipe) -> None:
    """The recipes that were tried, what each reached, and the command."""
    st.markdown(f"**{method_title(name)}: {words.recipe(recipe.values)}**")
    st.caption(f"{recipe.basis[:1].upper()}{recipe.basis[1:]}.")
    for entry in recipe.evidence:
        measured = entry["evidence"]
        chosen = recipe.values if recipe.published and recipe.measured else entry["values"]
        st.markdown(_table(chosen, measured["tried"]))
        st.caption(
            f"{method_title(entry['method'])} on {entry['backbone']}: mean accuracy on the validation images of "
            f"{measured['on']}. A dash: stopped early or diverged. Validation chose; what departs from the method as "
            "published had to win by a point."
        )
        if more := longer(entry):
            st.caption(more)
    if recipe.evidence:
        st.code(recipe.evidence[0]["evidence"]["command"], language="bash", wrap_lines=True)


def _table(chosen: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a popover that opens has it at once, where a data frame would come a second later."""
    rows = []
    for row in tried:
        is_it = all(row.get(name) == value for name, value in chosen.items())
        rate = f"**{row['lr']:g}**\u00a0✓" if is_it and words.beyond(row) == words.beyond(chosen) else f"{row['lr']:g}"
        more = ", ".join(words.beyond(row)) or "–"
        reached = "–" if row["val"] is None else f"{100 * row['val']:.1f} %"
        rows.append(f"| {rate} | {row['epochs']} | {more} | {reached} | {len(row['seeds'])} |")
    return "\n".join(["| rate | epochs | more | validation | seeds |", "|---:|---:|---|---:|---:|", *rows])


def longer(entry: Mapping[str, Any]) -> str:
    """'40 epochs reach 68.4 %, its 20 epochs 65.8 %; ...', of a recipe that keeps fewer epochs than would win."""
    tried = [row for row in entry["evidence"]["tried"] if row["val"] is not None]
    own = next((row for row in tried if of_row(row) == entry["values"]), None)
    more = [row for row in tried if own and row["epochs"] > own["epochs"] and row["seeds"] == own["seeds"]]
    best = max(more, key=lambda row: row["val"], default=None)
    if own is None or best is None or best["val"] < own["val"] + POINT:
        return ""
    return (
        f"{best['epochs']} epochs reach {100 * best['val']:.1f} %, where its {own['epochs']} reach "
        f"{100 * own['val']:.1f} %. The recipe keeps {own['epochs']}, so that a first run ends soon; set more for a "
        "better model."
    )
