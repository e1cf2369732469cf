"""Glossary: the field's terms in a sentence each, and where in Headroom each is seen."""

import streamlit as st

from app import glossary, links, navigation
from peftcore.figures.theme import method_title

st.title("What do the words mean?")
asked = links.read("term")
found = glossary.terms()
if asked in found:
    st.info(f"**{found[asked].name}**: {glossary.linked(found[asked].text)}", icon=":material/dictionary:")
left, right = st.columns(2, gap="large")
half = -(-len(found) // 2)
for place, term in enumerate(found.values()):
    with left if place < half else right, st.container(horizontal=True, vertical_alignment="top"):
        st.markdown(f"**{term.name}**: {glossary.linked(term.text)}", width="stretch")
        if term.method:
            navigation.link("methods", method_title(term.method), method=term.method)
        else:
            navigation.link(term.page)
