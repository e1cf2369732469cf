"""Which learning rate to take: what benchmark runs on an embedded backbone found, beside the recipe."""

from __future__ import annotations

import streamlit as st

from peftcore.backbone import embedded


def hint(backbone: str, cls: type, lr: float) -> None:
    """A line on the rate that did best and what the others reached, with a button that takes it; nothing if unknown."""
    told = embedded.card(backbone).get("learning_rates", {}).get(cls.name) if backbone in embedded.names() else None
    if not told:
        return
    reached = ", ".join(f"{100 * both['test']:.0f} % at {rate}" for rate, both in told["rates"].items())
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"Learning rates tried with {cls.card.title} on {backbone}: {reached}.",
            help=f"Mean test accuracy over the nine tasks of the mini-VTAB, {told['epochs']} epochs, seed 0. The rate proposed is "
            "the one with the best validation accuracy: docs/tasks.md.",
        )
        st.button(
            f"Use {told['lr']:g}",
            key="use_rate",
            type="tertiary",
            icon=":material/tune:",
            disabled=lr == told["lr"],
            on_click=_take,
            args=(told["lr"],),
        )


def _take(lr: float) -> None:
    st.session_state["lr"] = lr
