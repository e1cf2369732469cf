"""Launch: backbone, method, task and recipe in forms made from the schemas, what it will cost, and one button."""

import streamlit as st

from app import libraries
from app.heads import cut
from app.launch import cost_card, costs, drop_zone, launching, preview
from app.room import noticing, rules_view, who

title, zone, field = st.columns([9, 4, 4], vertical_alignment="center")
title.title("Which backbone, which method, which task?")
libraries.ready()
launching.open_form()
drop_zone.draw(zone, field)

left, price = st.columns([7, 4], gap="large")
with left:
    backbone, task = launching.choices()
    pictures = preview.place()
    heads_off = launching.settings(backbone, launching.asked())
form = launching.asked()
fault = costs.known_fault(form.specs) or who.refused(form.specs)
with price:
    rules_view.remind()
    refused = None if fault else costs.known_refusal(form.specs)
    place = launching.launcher(form, fault, refused is not None)

noticing.watch()

# All that is quick stands; now what takes a while.
images = preview.draw(pictures, task)
if form.spec and heads_off:
    cut.preview(heads_off, form.spec, images)
if form.specs and not fault:
    cost_card.draw(place, form.specs, form.values, refused is not None)
