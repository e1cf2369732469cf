"""Which run is better, and at what price? Runs side by side, and the leaderboard of a task."""

import streamlit as st

from app import links
from app.compare import board, mistakes, view
from app.errors import sentences

VIEWS = {"cost": "Accuracy and cost", "curves": "Curves", "mistakes": "Mistakes", "board": "Leaderboard"}

st.title("Which run is better, and at what price?")
with sentences():
    place = st.container()
    shown = links.choice(
        st.segmented_control, "compare", "view", "view", list(VIEWS), default="cost", show=VIEWS.__getitem__,
        label_visibility="collapsed",
    )  # fmt: skip
    if shown == "board":
        board.draw()
    else:
        with place:
            entries = view.choose()
            same = view.one_task(entries)
        {"cost": view.cost, "curves": view.curves, "mistakes": mistakes.draw}[shown](same)
        st.header("What differs", anchor=False)
        view.settings(entries)
        view.listed(entries)
    board.papers()
