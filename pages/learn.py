"""Lessons: what the three papers found, by predicting, doing and seeing."""

import streamlit as st

from app import errors, links
from app.learn import lesson, paper, teacher, view

name, printed = links.read("lesson"), links.read("print")
if name in lesson.names() and printed in paper.KINDS:
    paper.of(lesson.read(name), printed)
elif printed in paper.PLANS:
    paper.of_plan(printed)
elif links.read("teacher"):
    st.title("What does a workshop need?")
    teacher.draw()
elif name in lesson.names():
    st.title(lesson.read(name).question)
    view.one(name)
else:
    st.title("What would you like to understand?")
    errors.no_such("lesson", name, lesson.names())
    view.lessons()
