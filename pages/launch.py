"""Launch: backbone, method, task and recipe in forms made from the schemas, what it will cost, and one button."""

import streamlit as st

from app import costs, cut, launching, libraries
from peftcore.errors import HeadroomError
from peftcore.spec import RunSpec

st.title("Which backbone, which method, which task?")
libraries.ready()

form, bill = st.columns([7, 4], gap="large")
spec = fault = None
with form:
    backbone, method, task = launching.choices()
    preview = launching.place_for_preview()
    settings, recipe, heads_off = launching.settings(method)
try:
    spec = RunSpec(backbone=backbone, method=settings, task=task, **recipe)
    fault = costs.known_fault(spec)
except HeadroomError as error:
    fault = error
with bill:
    place = launching.launcher(spec, fault)

# All that is quick stands; now what takes a while.
images = launching.preview(preview, task)
if spec and heads_off:
    cut.preview(heads_off, spec, images)
if spec and not fault:
    launching.bill(place, spec)
