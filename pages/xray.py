"""What did this adapter change? An adapter that anybody trained, by its weights alone."""

import streamlit as st

from app import libraries, links
from app.errors import sentences
from app.subjects import Scores
from app.xray import choice, compare, sources, view

st.title("What did this adapter change?")
choice.drop()
first, second = choice.choose()
libraries.ready()
heads = links.number("heads", 1, 256, 1) if links.read("heads") else None
scale = view.ask_scale(first)
with sentences(), st.spinner("Reading its weights ..."):
    adapter = sources.read(first, heads if first.dropped else None, scale)
view.about(adapter)
chosen = view.TOGETHER
with st.container(key="wrap_xray"):
    left, right = st.columns([11, 9], gap="medium")
with left:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if adapter.scores is not None:
            chosen = view.projection(Scores.of(adapter.scores.to_dict()))
        if first.dropped:
            view.ask_heads(adapter)
    view.grid("xray_grid", adapter, chosen)
    view.caption(first)
with right:
    view.sizes(adapter)
view.spectra(adapter)
view.table(adapter)
if second is not None:
    with sentences(), st.spinner("Reading the other one's weights ..."):
        other = sources.read(second, heads if second.dropped else None, 1.0 if second.needs_scale else None)
    compare.draw(adapter, other, (first, second), chosen)
