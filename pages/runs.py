"""Runs: the queue and the history at the left, the chosen run live at the right."""

import streamlit as st

from app import run_list, run_view, state, welcome

st.title("What did each run learn, and what did it take?")
records = state.store().runs(limit=1)
run = run_list.chosen(records)
if run is None:
    welcome.no_runs()
    st.stop()
left, right = st.columns([3, 10], gap="medium")
with left:
    run_list.draw(run)
with right:
    run_view.draw(run)
