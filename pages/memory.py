"""Why does this fit? One training step of each method on the same batch, byte by byte, predicted and measured."""

import streamlit as st

from app import background, captions, errors, libraries, links, theme
from app.memory import batch_sizes, kept_tensors, ledgers
from app.runs import predictions
from peftcore.figures import memory as figures
from peftcore.figures.theme import method_title
from peftcore.registry import METHODS

st.title("Why does this fit?")
libraries.ready()
row = st.columns([5, 2, 3, 2, 3, 4], vertical_alignment="bottom")
with row[0]:
    backbone = links.choice(
        st.selectbox,
        "memory",
        "backbone",
        "backbone",
        ledgers.backbones(links.read("backbone")),
        default="vit_micro",
        accept_new_options=True,
        help="Any ViT or Swin that timm has can be typed.",
    )
with row[1]:
    batch = links.choice(
        st.selectbox,
        "memory",
        "batch",
        "batch",
        ledgers.offered(ledgers.BATCHES, links.read("batch")),
        default="32",
        accept_new_options=True,
        help="Images per step.",
    )
with row[2]:
    size = links.choice(
        st.selectbox,
        "memory",
        "size",
        "image size",
        ledgers.offered(ledgers.SIZES, links.read("size")),
        default=ledgers.OWN,
        show=lambda size: "its own" if size == ledgers.OWN else size,
        accept_new_options=True,
        help="Pixels of a side: a multiple of the backbone's patch. Its own is what it was trained on.",
    )
with row[3]:
    precision = links.choice(st.selectbox, "memory", "precision", "precision", ["fp32", "bf16"], default="fp32")
with row[4]:
    device = links.choice(
        st.selectbox, "memory", "device", "on", list(ledgers.DEVICES), default="auto", show=ledgers.DEVICES.get
    )
with row[5]:
    features = links.choice(
        st.selectbox,
        "memory",
        "features",
        "side methods' features",
        list(ledgers.FEATURES),
        default="cached",
        show=ledgers.FEATURES.get,
        help="Side methods such as LAST only read frozen features: these can be computed once and kept, "
        "or computed again in every step.",
    )
row = st.columns([12, 3, 5], vertical_alignment="bottom")
with row[0]:
    methods = links.several(
        "memory",
        "methods",
        "methods",
        METHODS.names(),
        default=[METHODS.baseline("upper"), "lora", "last"],
        show=method_title,
    )
with row[1]:
    options = ledgers.options(methods)
task, epochs = links.read("task") or ledgers.TASK, links.read("epochs") or "10"
cases = [
    ledgers.Case(method, backbone, batch, precision, device, features == "cached", size, options[method], task, epochs)
    for method in methods
]
with row[2], st.container(horizontal=True):
    st.button(
        "Measure one real step",
        key="memory_measure",
        icon=":material/straighten:",
        type="primary",
        on_click=ledgers.measure_all,
        args=(cases,),
        help="Runs one training step of each method on this machine and counts every byte that lives.",
    )
    if ledgers.measuring(cases):
        st.button("Stop", key="memory_stop", icon=":material/stop:", on_click=ledgers.stop, args=(cases,))
if not cases:
    st.info("Choose at least one method.")
    st.stop()

asked = list(dict.fromkeys([*cases, kept_tensors.reference(cases)]))
busy, (share, text) = st.empty(), ledgers.progress(asked)
if ledgers.under_way(asked):
    busy.progress(share, text=text)
for trouble in ledgers.troubles(cases):
    errors.show(trouble)
rows = ledgers.rows(cases)
if rows:
    left, right = st.columns([5, 3], gap="medium")
    with left:
        theme.show(figures.memory_bars(rows, cards=figures.CARDS, dark=theme.is_dark()), "memory_bars")
    with right:
        st.dataframe(ledgers.table(cases), hide_index=True, key="memory_table")
    captions.caption(
        f"The highest moment of one training step of {backbone}: {batch} images, {precision}, {ledgers.classes(task)}, on "
        f"{ledgers.DEVICES[device]}, side methods' features {ledgers.FEATURES[features]}. {captions.POWERS}",
        cases[-1].command(),
    )
    known = [case for case in cases if ledgers.curve(case)]
    case = links.choice(
        st.segmented_control,
        "memory",
        "curve",
        "within one step of",
        known,
        default=known[-1],
        show=lambda case: method_title(case.method),
        code=lambda case: case.method,
        required=True,
    )
    moments, source = ledgers.curve(case)
    theme.show(figures.step_memory(moments, dark=theme.is_dark()), "memory_step")
    captions.caption(
        f"One step of {method_title(case.method)}, {source}, operation by operation. "
        "Point at it to read which block is under way."
    )
    kept_tensors.draw(cases)
    searching = batch_sizes.draw(cases)
    predictions.draw()
elif ledgers.under_way(cases):
    st.skeleton(340)

if job := ledgers.under_way(asked):
    background.wait(job, lambda: busy.progress(share, text=text))
    st.rerun()
if job := batch_sizes.next_job(cases):
    background.wait(job, lambda: batch_sizes.tell(searching, cases))
    st.rerun()
