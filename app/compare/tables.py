"""A table that sorts by a click on a column, filters and downloads."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from app import links, numbers


def show(frame: pd.DataFrame, name: str, formats: Mapping[str, str]) -> None:
    """Draws a table with a field that filters its rows, `filter` in the address, and a button for all that is left.

    Args:
        name: of the page's place, for keys and the file's name.
        formats: of numeric columns, as `st.column_config.NumberColumn` takes them.
    """
    key = f"{name}_filter"
    said = links.show(key, links.read("filter") or "")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Filter: rows that have these words", value=said, key=key, placeholder="Filter, such as lora vit_micro",
            label_visibility="collapsed", on_change=lambda: links.write(filter=st.session_state[key] or None),
        )  # fmt: skip
        left = filtered(frame, said)
        numbers.button("Table (CSV)", left, name)
    if frame.shape[0] and left.empty:
        st.caption(f"None of {len(frame)} rows has these words.")
        return
    columns = {column: st.column_config.NumberColumn(format=form) for column, form in formats.items()}
    place = st.container(key=f"own_csv_{name}")
    place.dataframe(left, hide_index=True, key=f"{name}_table", column_config=columns, placeholder="")


def filtered(frame: pd.DataFrame, said: str) -> pd.DataFrame:
    """The rows in which every word of `said` stands, whatever its case."""
    rows = [" ".join(map(str, row)).casefold() for row in frame.itertuples(index=False)]
    return frame[[all(word in row for word in said.casefold().split()) for row in rows]]
