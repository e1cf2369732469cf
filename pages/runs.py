"""Runs: the queue and the history at the left, the chosen run or race live at the right."""

import streamlit as st

from app import errors, welcome
from app.runs import race_view, run_list, run_view, selection

st.title("What did each run learn, and what did it take?")
choice = selection.chosen()
fault = selection.missing(choice)
if run_list.is_empty() and (choice is None or fault):
    if fault:
        errors.show(fault)
    welcome.no_runs()
    st.stop()
left, right = st.columns([3, 10], gap="medium")
with left:
    run_list.draw(choice)
with right:
    if choice is None:
        welcome.no_runs()
    elif choice.race is not None:
        race_view.draw(choice.race)
    elif choice.run is not None:
        run_view.draw(choice.run)
