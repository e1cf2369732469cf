"""Experiments: what the three papers left open, as grids of runs that anybody launches with one click."""

import streamlit as st

from app import libraries, links
from app.errors import sentences
from app.experiments import catalogue, one
from peftcore.bench.experiments import experiment, names

name = links.read("experiment")
st.title(experiment(name).title if name in names() else "What did the papers leave open, and what is the answer here?")
libraries.ready()
with sentences():
    if name in names():
        one.draw(name)
    else:
        catalogue.draw()
