"""How near the predictions were: of one run in a sentence, of all runs in a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import captions, navigation, state, theme, words
from peftcore.figures import predictions as figures
from peftcore.figures.theme import si_bytes

MOST_RUNS = 300  # the newest


def sentence(memory: Mapping[str, Any]) -> str:
    """'Memory: predicted 31.3 MB, measured 31.2 MB (+0.3 %).' of a run's summary; '' where no prediction was kept."""
    if not memory.get("peak") or "predicted" not in memory:
        return ""
    predicted, measured = memory["predicted"]["peak"], memory["peak"]
    error = 100 * (predicted / measured - 1)
    return f"Memory: predicted {si_bytes(predicted)}, measured {si_bytes(measured)} ({error:+.1f} %)."


def rows() -> list[dict[str, Any]]:
    """Every finished run whose prediction was kept with it: run, title, method, predicted and measured bytes."""
    found = []
    for record in state.store().runs(limit=MOST_RUNS, status="finished"):
        memory = record.summary.get("memory", {})
        if memory.get("peak") and "predicted" in memory:
            found.append(
                {
                    "run": record.id,
                    "title": words.run_title(record.spec),
                    "method": record.spec["method"]["name"],
                    "predicted": memory["predicted"]["peak"],
                    "measured": memory["peak"],
                }
            )
    return found


def draw() -> None:
    """Predicted against measured, one mark per run."""
    st.subheader("How near were the predictions?", anchor=False)
    told = rows()
    if not told:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption("Each finished run keeps its prediction beside what it measured; there is none yet.")
            navigation.link("launch", "Launch one")
        return
    theme.show(figures.predicted_against_measured(told, dark=theme.is_dark()), "memory_predictions")
    captions.caption(
        f"The peak of a training step of {len(told)} finished {'run' if len(told) == 1 else 'runs'}: predicted for its "
        "spec without running it, and the highest that was measured. On the line the two are equal."
    )
