"""A run that collapses, by its name: what happened, what helps, and a launch with the first of the remedies."""

from __future__ import annotations

import streamlit as st

from app import forms, navigation
from app.runs.following import Follower
from peftcore.store import RunRecord
from peftcore.store.collapse import Collapse, collapse


def of(record: RunRecord, follower: Follower) -> Collapse | None:
    """What is wrong with a run after its newest epoch."""
    entropies = [follower.side_entropy] if follower.side_entropy else []
    return collapse(record.spec, follower.started, follower.evaluations, entropies)


def draw(record: RunRecord, follower: Follower) -> None:
    if found := of(record, follower):
        st.warning(f"**{found.name.capitalize()}.** {found.sentence}", icon=":material/compress:")
        spec = {**record.spec, "lr": found.lr}
        navigation.link("launch", f"Launch again with learning rate {found.lr:g}", **forms.preset(spec))
