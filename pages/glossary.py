"""Glossary: the field's terms in a sentence each, and where in Headroom each is seen."""

import streamlit as st

from app import errors, glossary, links, navigation
from peftcore.figures.method_style import method_title

st.title("What do the words mean?")
found = glossary.terms()
asked = links.read("term")
texts = {name: f"**{name}**: {glossary.linked(term.text, name)}" for name, term in found.items()}
for name, term in found.items():
    title = method_title(term.method) if term.method else navigation.PAGES[term.page][0]
    address = f"methods?method={term.method}" if term.method else term.page
    texts[name] += f" :gray[See] [{title}]({address})."
errors.no_such("term", asked, list(found))
if asked in found:
    st.info(texts[asked], icon=":material/dictionary:")
half = -(-len(found) // 2)
for place, names in zip(st.columns(2, gap="large"), (list(texts)[:half], list(texts)[half:]), strict=True):
    with place:
        for name in names:
            st.markdown(texts[name])
