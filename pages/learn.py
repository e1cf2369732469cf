"""Lessons: what the three papers found, by predicting, doing and seeing."""

import streamlit as st

from app import links
from app.learn import lesson, view

name = links.read("lesson")
if name in lesson.names():
    st.title(lesson.read(name).question)
    view.one(name)
else:
    st.title("What would you like to understand?")
    view.lessons()
