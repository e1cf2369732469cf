"""Which heads do different tasks move? Head grids of many adapters side by side."""

import streamlit as st

from app import captions, links, navigation, screen
from app.atlas import choice, contents, evidence, opened, sameness, wall

st.title("Which heads do different tasks move?")
chosen = choice.choose(contents.entries())
cards = {card.entry.id: card for card in chosen.cards}
asked = links.read("open")
place = st.container()
if clicked := wall.draw(chosen, asked):
    page, query = wall.place(cards[clicked], chosen)
    if page != "atlas":
        navigation.go(page, **query)
    links.write(open=clicked)
    st.rerun()
with place:
    if asked in cards and cards[asked].entry.subject is None:
        opened.draw(cards[asked], chosen)
count = f"{len(cards)} adapters" if len(cards) > 1 else "One adapter"
with st.container(horizontal=not screen.is_phone(), vertical_alignment="center", gap="small"):
    captions.caption(
        f"{count}: {choice.SCORES[chosen.score]}, {chosen.of}, as multiples of each one's median head; one "
        "scale for all. Layers count from 1 at the bottom, heads from the left. Click one to open it."
    )
    wall.offer(chosen)
sameness.draw(chosen)
evidence.draw()
