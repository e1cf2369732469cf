"""Why didn't memory drop? Two methods side by side: what training needs under each, and what is kept of one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import captions, links, theme
from app.drawn import plan
from app.memory.cases import Case, predicted, result
from peftcore.figures import kept as figures
from peftcore.figures.kept_rows import blocks_of, compare_block, totals
from peftcore.figures.method_style import method_in_text, method_title
from peftcore.figures.words import places, si_bytes
from peftcore.registry import METHODS

if TYPE_CHECKING:
    from peftcore.memory import MemoryReport

WHOLE = METHODS.baseline("upper")
WIDE = 110  # characters of a title as wide as the page
PREFERRED = (WHOLE, "lora")  # the two that are compared where the address says nothing


def reference(cases: Sequence[Case]) -> Case:
    """The same step where everything trains: its tensors are listed also where neither method keeps them."""
    whole = next((case for case in cases if case.method == WHOLE), None)
    return whole or replace(cases[0], method=WHOLE, options="{}")


def draw(cases: Sequence[Case]) -> None:
    """The whole comparison, as soon as its predictions are there."""
    st.header("Why didn't memory drop?", anchor=False)
    known = {case.method: case for case in cases if result(predicted(case))}
    whole = result(predicted(reference(cases)))
    if whole is None or not known:
        return
    row = st.columns([4, 4, 4], vertical_alignment="bottom")
    names = list(known)
    first, second = _pair(names)
    with row[0]:
        first = _chooser("left", "method", names, first)
    with row[1]:
        second = _chooser("right", "beside", names, second)
    chosen = {name: result(predicted(known[name])) for name in (first, second)}
    with row[2]:
        named = places(blocks_of(whole))
        block = _block(named)
    layer = named[block]
    needs, rows = _compared(chosen, block, whole)
    theme.show(plan(figures.training_needs, needs, line=WIDE, dark=theme.is_dark()), "memory_needs")
    if any(size for row in rows for size in row["bytes"].values()):
        theme.show(
            plan(figures.kept_activations, rows, block, called=layer, line=WIDE, dark=theme.is_dark()), "memory_kept"
        )
    else:
        st.info(f"Neither keeps anything of {layer}: no gradient passes through it.", icon=":material/info:")
    captions.caption(
        f"{layer.capitalize()} of {cases[0].backbone}, every tensor that one of the two methods or "
        f"{method_in_text(WHOLE)} keeps from forward to backward, in forward order, as predicted."
    )
    with st.expander("Every tensor and the whole reason"):
        st.dataframe(_listed(rows, list(chosen)), hide_index=True, key="memory_tensors")


def _pair(names: list[str]) -> tuple[str, str]:
    liked = [name for name in PREFERRED if name in names]
    rest = [name for name in names if name not in liked]
    pair = [*liked, *rest][:2]
    return pair[0], pair[-1]


def _chooser(name: str, label: str, names: list[str], default: str) -> str:
    return links.choice(st.selectbox, "memory", name, label, names, default=default, show=method_title)


def _block(named: Mapping[str, str]) -> str:
    """One layer's path; the address has it."""
    blocks = list(named)
    middle = blocks[len(blocks) // 2]
    return links.choice(st.selectbox, "memory", "block", "one layer", blocks, default=middle, show=named.__getitem__)


def _compared(chosen: Mapping[str, MemoryReport], block: str, whole: MemoryReport) -> tuple[dict, list[dict]]:
    return {name: totals(report) for name, report in chosen.items()}, compare_block(chosen, block, whole)


def _listed(rows: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> list[dict[str, str]]:
    return [
        {"tensor": row["what"], "shape": " x ".join(map(str, row["shape"]))}
        | {
            method_title(name): f"{si_bytes(row['bytes'][name])}: {row['reason'][name]}"
            if row["bytes"][name]
            else f"not kept: {row['reason'][name]}"
            for name in methods
        }
        for row in rows
    ]
