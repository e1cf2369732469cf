"""Launch: backbone, method, task and recipe in forms made from the schemas, what it will cost, and one button."""

import streamlit as st

from app import libraries
from app.heads import cut
from app.launch import cost_card, costs, launching, preview, race_form
from peftcore.errors import HeadroomError
from peftcore.spec import RunSpec

st.title("Which backbone, which method, which task?")
libraries.ready()

form, price = st.columns([7, 4], gap="large")
spec = fault = None
specs, values = [], {}
with form:
    backbone, method, task = launching.choices()
    pictures = preview.place()
    settings, recipe, raced, heads_off = launching.settings(backbone, method)
try:
    spec = RunSpec(backbone=backbone, method=settings, task=task, **recipe)
    values = race_form.several(method, raced)
    specs = race_form.runs(spec, values)
    fault = costs.known_fault(specs)
except HeadroomError as error:
    fault = error
with price:
    place = launching.launcher(specs, values, fault)

# All that is quick stands; now what takes a while.
images = preview.draw(pictures, task)
if spec and heads_off:
    cut.preview(heads_off, spec, images)
if specs and not fault:
    cost_card.draw(place, specs, values)
