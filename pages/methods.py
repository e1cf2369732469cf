"""Methods: a card for each, with its equation, one block of its making, its cost, and what it reaches."""

import streamlit as st

from app import errors, links, navigation
from app.methods import card
from peftcore.figures.method_style import method_in_text
from peftcore.registry import METHODS

name = links.read("method")
if name in METHODS.names():
    st.title(f"What does {method_in_text(name)} change, and what does it cost?")
    with st.container(key="task_back"):
        navigation.link("methods", "All methods", icon=":material/apps:")
    with errors.sentences():
        card.one(name)
else:
    st.title("Which methods are there, and what sets them apart?")
    errors.no_such("method", name, METHODS.names())
    with errors.sentences():
        card.all_cards()
