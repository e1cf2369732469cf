"""All experiments as cards: the question, how much of it is measured, and the answer."""

from __future__ import annotations

import streamlit as st

from app import errors, libraries, navigation, state, theme, words
from peftcore.bench.experiments import experiment, names, papers
from peftcore.bench.experiments._known import Standing, everything, from_record
from peftcore.figures.method_style import method_title
from peftcore.figures.words import with_units
from peftcore.registry import METHODS

COLUMNS = 2


def draw() -> None:
    """At once what was recorded; what this home has made, and what weights and recipes of today say, when they load."""
    if libraries.loaded():
        _cards(everything(state.store()))
        return
    recorded = [from_record(experiment(name)) for name in names()]
    if all(recorded):
        _cards([one for one in recorded if one])
    libraries.ready()
    st.rerun()


def _cards(found: list[Standing]) -> None:
    for paper in papers():
        mark = words.mark(paper, theme.is_dark())
        st.header(f"{mark} {method_title(paper)}", anchor=False)
        st.caption(errors.plain(METHODS.load(paper).METHOD.card.paper))
        own = [one for one in found if one.experiment.paper == paper]
        for start in range(0, len(own), COLUMNS):
            for column, one in zip(st.columns(COLUMNS), own[start : start + COLUMNS], strict=False):
                with column, st.container(border=True, height="stretch"):
                    _card(one)


def _card(one: Standing) -> None:
    navigation.link(
        "experiments", one.experiment.title, icon=":material/science:", bold=True, experiment=one.experiment.name
    )
    st.markdown(errors.plain(with_units(one.answer)) or ":gray[Not measured yet.]")
    done = one.total - len(one.missing)
    st.caption(
        f"{_of(one)}{', with earlier weights or recipes' if one.old else ''}"
        if one.answer
        else f"{done} of {one.total} measured"
    )


def _of(one: Standing) -> str:
    """'18 runs, 3 seeds', '12 predictions'."""
    what = {"accuracy": "runs", "memory": "predictions", "time": "measurements"}[one.experiment.measure]
    return f"{one.total} {what}" + (f", {one.seeds} seeds" if one.seeds > 1 else "")
