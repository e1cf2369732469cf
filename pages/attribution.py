"""Why this class? Which parts of an image speak for a class, before and after tuning."""

import streamlit as st

from app import cached, heavy, libraries, subjects
from app.attribution import choice, maps, view
from app.errors import sentences
from app.heads import controls, image_choice

st.title("Why this class?")
row = st.columns([6, 3, 3, 2], vertical_alignment="bottom")
with row[0]:
    run = controls.choose_run("attribution", subjects.runs("adapter"), method="lora")
libraries.ready()
if not heavy.agreed_for(run.spec, "to ask it why", key="attribution"):
    st.stop()
with sentences():
    image = image_choice.choose_image("attribution", run, count=14)
    with st.container(horizontal=True, vertical_alignment="center"):
        run = image_choice.finer("attribution", run)
        image_choice.photographs("attribution")
    task = cached.task(run.spec["task"])
    classes, true = list(map(str, task.classes)), None if isinstance(image, str) else int(task.test.labels[image])
    chosen = choice.choose(run, image, row[1:])
    said = maps.result(maps.said(run, image), st.empty(), "Asking both models")
    view.sentence(said, classes, true)
    view.draw(run, image, chosen.target(int(said.tuned.argmax()), true), chosen, classes)
    view.lens(run, image, said, classes, true)
controls.invite(run)
