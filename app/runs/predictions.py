"""How near the predictions were: of one run in a sentence, of all runs in a figure."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import captions, navigation, state, theme, words
from app.drawn import plan
from app.launch import costs
from peftcore.figures import predictions as figures
from peftcore.figures.words import si_bytes
from peftcore.store import RunRecord

MOST_RUNS = 300  # the newest


def of(record: RunRecord) -> tuple[int, int] | None:
    """Predicted and measured bytes of a finished run's peak: as its launch showed it, else as the run itself predicted
    it; None where there is no prediction, or nothing was measured."""
    memory = record.summary.get("memory", {})
    predicted = costs.remembered(record.id) or memory.get("predicted")
    return (predicted["peak"], memory["peak"]) if predicted and memory.get("peak") else None


def sentence(record: RunRecord) -> str:
    """'Memory: predicted 31.3 MB, measured 31.2 MB (+0.3 %).' of a finished run; '' where there is no prediction."""
    sizes, text = of(record), ""
    if sizes:
        predicted, measured = sizes
        off = 100 * (predicted / measured - 1)
        text = f"Memory: predicted {si_bytes(predicted)}, measured {si_bytes(measured)} ({off:+.1f} %)."
    memory = record.summary.get("memory", {})
    if memory.get("features") and "cached_features" not in memory:
        text += " It is of an earlier Headroom, which counted cached features among the frozen features of the batch."
    return text


def rows() -> list[dict[str, Any]]:
    """Every finished run that has a prediction: run, title, method, predicted and measured bytes."""
    found = [(record, of(record)) for record in state.store().runs(limit=MOST_RUNS, status="finished")]
    return [
        {
            "run": record.id,
            "title": words.run_title(record.spec),
            "method": record.spec["method"]["name"],
            "predicted": sizes[0],
            "measured": sizes[1],
        }
        for record, sizes in found
        if sizes
    ]


def draw() -> None:
    """Predicted against measured, one mark per run."""
    st.header("How near were the predictions?", anchor=False)
    known = rows()
    if not known:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption("Each finished run keeps its prediction beside what it measured; there is none yet.")
            navigation.link("launch", "Launch one")
        return
    runs = "1 finished run" if len(known) == 1 else f"{len(known)} finished runs"
    theme.show(plan(figures.predicted_against_measured, known, dark=theme.is_dark()), "memory_predictions")
    captions.caption(
        f"The peak of a training step of {runs}: predicted before the "
        "launch, and the highest that was measured. On the line the two are equal."
    )
