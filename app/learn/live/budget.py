"""Which method for one's own budget of memory and trained weights, all with equal time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import links, theme
from app.captions import caption
from app.drawn import plan
from app.learn import facts, mini
from peftcore.figures.choice import within_budget
from peftcore.figures.words import human_count

MEMORY = {
    "small": (10, 50, 100, 150, 200, 250, 300, 400),
    "large": (400, 600, 1000, 1500, 2500, 3000, 4000, 5000),
}  # MB
WEIGHTS = (2_000, 20_000, 50_000, 100_000, 200_000, 2_000_000)


def draw(settings: Mapping[str, Any]) -> None:
    costs = facts.TABLES["measured"]["costs"]
    of = links.choice(
        st.segmented_control, "learn", "budget_memory_of", "memory of", ["small", "large"], default="large",
        required=True, show=lambda one: _model(costs, one),
    )  # fmt: skip
    places = st.columns(2)
    with places[0]:
        memory = _most("memory", "memory (MB)", MEMORY[of], lambda one: f"{one:,}")
    with places[1]:
        weights = _most("weights", "trained weights", WEIGHTS, human_count)
    rows = mini.costs_of(costs, of)
    budget = {"bytes": 1e6 * memory, "weights": weights}
    figure = plan(within_budget, rows, budget, lines={"your memory": 1e6 * memory}, dark=theme.is_dark())
    theme.show(figure, "budget")
    beside = "" if of == "small" else f" Accuracies and weights are {costs['backbone']}'s all the same."
    caption(
        f"Accuracy: mean over {len(mini.tasks())} tasks and {mini.seeds()} seeds, {costs['backbone']}{mini.since()}, "
        f"{mini.budget()}. "
        f"Memory: the highest moment of a training step of {_model(costs, of)}, predicted; of side methods with "
        f"cached features.{beside}",
        costs["command"],
    )


def _model(costs: Mapping[str, Any], of: str) -> str:
    if of == "small":
        return f"{costs['backbone']}, batch {costs['batch']}"
    return f"ViT-B/16, batch {costs['large']['batch_size']}"


def _most(name: str, label: str, options: tuple[int, ...], show: Any) -> int:
    return links.choice(
        st.select_slider, "learn", f"budget_{name}", f"at most: {label}", options, default=options[-1], show=show
    )
