"""Home: one sentence, one picture from real data, three doors."""

import streamlit as st

from app import welcome

st.title("Fine-tune a vision transformer a little, and see what moved")
found = welcome.picture()
picture, doors = st.columns([3, 2], gap="large", vertical_alignment="center")
with picture:
    if found:
        welcome.show(found)
with doors:
    welcome.doors()
