"""What does each task ask, and what does a backbone see of it? All tasks as cards; one task image by image."""

import streamlit as st

from app import backbone_choice, errors, libraries, links, navigation
from app.launch import task_choice
from app.room import who
from app.tasks import feature_view, one_task, reading, task_cards
from app.uploads import page
from peftcore.task import load_task

ALL = ":material/apps:"

is_upload = links.read("view") == "upload"
st.title("What is in your own images?" if is_upload else "What does each task ask, and what does a backbone see of it?")
if is_upload:
    with st.container(key="task_back"):
        navigation.link("tasks", "All tasks", icon=ALL)
    page.draw()
    st.stop()
asked = links.read("task")
if asked is None:
    with st.container(key="task_bring"):
        navigation.link("tasks", "Bring your own images", icon=":material/upload:", view="upload")
    task_cards.draw()
    st.stop()

if not task_choice.is_complete(asked):
    with errors.sentences(stop=False):
        load_task(asked)
    navigation.link("tasks", "All tasks", icon=ALL)
    st.stop()

libraries.ready()
row = st.columns([5, 5, 3, 4], vertical_alignment="bottom")
with row[0]:
    task = task_choice.choose("tasks")
with row[1]:
    backbone = backbone_choice.choose("tasks", "As read by")
with row[2], st.container(key="task_all"):
    navigation.link("tasks", "All tasks", icon=ALL)
with row[3]:
    label = "Fine-tune on this task"
    if st.button(label, key="tasks_launch", type="primary", icon=":material/rocket_launch:", width="stretch"):
        navigation.go("launch", task=task, backbone=backbone, **reading.in_address())
with errors.sentences():
    who.task(task)
facts = one_task.await_facts(task)
view = one_task.choose(facts)
if view == "features":
    feature_view.draw(task, backbone)
else:
    one_task.images(task, facts, backbone)
