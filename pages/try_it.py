"""Try it: an image of one's own under several runs, and classes of one's own taught from a few pictures."""

import streamlit as st

from app import links
from app.errors import sentences
from app.try_it import teaching, view

VIEWS = {"try": "Try runs", "teach": "Teach it"}

st.title("What do the runs say of your image?")
shown = links.choice(
    st.segmented_control, "try_it", "view", "view", list(VIEWS), default="try", show=VIEWS.__getitem__,
    label_visibility="collapsed",
)  # fmt: skip
with sentences():
    if shown == "try":
        view.draw()
    else:
        teaching.draw()
