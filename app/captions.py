"""Captions: what a figure is, of which run, task, images and seed, and the command that makes it again."""

from __future__ import annotations

import streamlit as st

from app import errors, numbers

POWERS = "MB and GB are powers of ten: 1 MB = 1,000,000 bytes."


def caption(text: str, command: str | None = None) -> None:
    """A line under a figure, none of it markup; two spaces and a new line break it. `command` makes the figure again;
    it is one click away, with a button that copies it. So are the numbers of the figures above it. They stand beside a
    short text, and under one that they would squeeze."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("  \n".join(errors.plain(line) for line in text.split("  \n")))
        with st.container(horizontal=True, width="content", gap="small"):  # one row of them
            numbers.offer()
            if command is None:
                return
            with st.popover(":small[:gray[command]]", type="tertiary", icon=":material/terminal:"):
                st.code(command, language="bash", wrap_lines=True)
