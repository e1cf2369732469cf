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
with sentences():
    wish = sources.Wish.of(first, heads, scale)
    adapter = sources.read(wish)
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
    with sentences():
        beside = sources.Wish.of(second, heads, 1.0 if second.needs_scale else None)
        other = sources.read(beside, "Reading the other one's weights ...")
    compare.draw(adapter, other, chosen)
    with sentences():
        compare.directions(sources.compared(wish, beside))
    compare.caption(first, second)
