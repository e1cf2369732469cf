"""Runs: the queue and the history at the left, the chosen run or race live at the right."""

import streamlit as st

from app import state, welcome
from app.runs import race_view, run_list, run_view, selection

st.title("What did each run learn, and what did it take?")
records = state.store().runs(limit=1)
choice = selection.chosen(records)
if choice is None:
    welcome.no_runs()
    st.stop()
left, right = st.columns([3, 10], gap="medium")
with left:
    run_list.draw(choice)
with right:
    if choice.race is not None:
        race_view.draw(choice.race)
    elif choice.run is not None:
        run_view.draw(choice.run)
