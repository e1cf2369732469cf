"""Experiments: what the three papers left open, as grids of runs that anybody launches with one click."""

import streamlit as st

from app import errors, links
from app.experiments import catalogue, one
from peftcore.bench.experiments import experiment, names

name = links.read("experiment")
st.title(experiment(name).title if name in names() else "What did the papers leave open, and what is the answer here?")
with errors.sentences():
    if name in names():
        one.draw(name)
    else:
        errors.no_such("experiment", name, names())
        catalogue.draw()
