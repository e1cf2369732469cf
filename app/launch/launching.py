"""The parts of the launch page: choices with their cards, the recipe, what it will cost, and the button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import backbone_choice, errors, forms, links, navigation, state, theme, words
from app.heads import cut
from app.launch import costs, race_form, rates, task_choice
from app.memory import cases
from app.runs import races
from peftcore.errors import HeadroomError, InvalidSetting
from peftcore.figures.theme import method_title
from peftcore.registry import METHODS, TASKS
from peftcore.spec import RunSpec
from peftcore.task import task_card

UP_FRONT = ("epochs", "batch_size", "lr", "seed")
CHOSEN_ABOVE = ("backbone", "method", "task")
FIRST_FIELDS = 4  # of a method: as many as stand in one row
BILL_HEIGHT = 395  # pixels
KINDS = {"side": "Reads the frozen backbone from its side", "in-backbone": "Changes what the backbone computes"}


def choices() -> tuple[str, type, str]:
    """Backbone, method and task; the backbone's name, the method's class, the task's name."""
    _remember("backbone", "method", "task")
    left, right = st.columns([4, 7], gap="medium")
    with left:
        backbone = backbone_choice.choose()
        st.caption(backbone_choice.about(backbone))
        task = task_choice.choose("launch")
    with right:
        cls = _method()
    return backbone, cls, task


def _remember(*names: str) -> None:
    """What this session chose last stands in the address when it comes back, as Streamlit does for bound widgets."""
    last = st.session_state.setdefault("launch_last", {})
    links.write(**{name: last[name] for name in names if name in last and links.read(name) is None})
    last.update({name: said for name in names if (said := links.read(name))})


def _method() -> type:
    names = sorted(METHODS.names(), key=lambda name: (METHODS.facts(name).kind != "side", method_title(name).lower()))
    name = links.choice(st.pills, "launch", "method", "Method", names, default="last", show=_method_label, wrap=True)
    cls = METHODS.load(name).METHOD
    card = cls.card
    st.caption(
        f"{KINDS[cls.kind]}. {card.trains}", help=f"${card.equation}$\n\nKeeps in memory: {card.keeps}\n\n{card.paper}"
    )
    return cls


def _method_label(name: str) -> str:
    return f"{words.mark(name, theme.is_dark())} {method_title(name)}"


def settings(
    backbone: str, cls: type
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str | list[str]], DeltaGenerator | None]:
    """The method's settings, the recipe, and what is raced, as the widgets say them; where `cut.preview` draws, if it does."""
    raced = race_form.chosen(cls)
    draw = {"instead": dict.fromkeys(raced, race_form.widget)}
    own = sorted(cls.model_fields, key=lambda name: name not in cls.up_front)
    first, rest = _split(own, own[:FIRST_FIELDS], raced)
    method: dict[str, Any] = {"name": cls.name}
    if first:
        st.markdown(f"**{cls.card.title}**")
        method |= forms.fields(cls, first, prefix=f"{cls.name}.", **draw)
    heads_off = cut.place_for_preview(cls)
    st.markdown("**Recipe**")
    up_front, others = _split([name for name in RunSpec.model_fields if name not in CHOSEN_ABOVE], UP_FRONT, raced)
    recipe = forms.fields(RunSpec, up_front, **draw)
    if "lr" not in raced:
        rates.hint(backbone, cls, recipe["lr"])
    said = race_form.chooser(cls)
    with st.expander("More settings"):
        method |= forms.fields(cls, rest, prefix=f"{cls.name}.")
        recipe |= forms.fields(RunSpec, others)
    for name in raced:
        if name != "method":
            said[name] = method.pop(name) if name in method else recipe.pop(name)
    return method, recipe, said, heads_off


def _split(names: list[str], first: Sequence[str], raced: list[str]) -> tuple[list[str], list[str]]:
    """Settings that stand up front, with all that are raced, and the others."""
    shown = [*first, *(name for name in names if name in raced and name not in first)]
    return shown, [name for name in names if name not in shown]


def launcher(specs: Sequence[RunSpec], values: dict[str, list[Any]], fault: HeadroomError | None) -> DeltaGenerator:
    """The button and what stands around it; returns the place of the bill. A fault is shown instead of a bill."""
    st.subheader("What it will cost", anchor=False)
    place = st.container(height=BILL_HEIGHT, border=False).empty()
    if fault:
        with place.container():
            errors.show(fault)
    for refusal in _unknown() + forms.refusals():
        st.warning(errors.plain(refusal), icon=":material/link_off:")
    if specs and not fault:
        backbone_choice.download_note(specs[0])
        task_choice.download_note(specs[0].task)
    st.markdown(_time(specs) + costs.queue(state.store()))
    label = f"Launch {len(specs)} runs" if len(specs) > 1 else "Launch"
    if st.button(
        label, type="primary", width="stretch", key="launch", icon=":material/rocket_launch:", disabled=bool(fault)
    ):
        _launch(specs, values)
    if specs:
        with st.container(horizontal=True, vertical_alignment="center"):
            with st.popover("Copy preset link", type="tertiary", icon=":material/link:"):
                st.caption("Opens this page with these settings, for you or somebody else.")
                st.code(link(specs[0], values), language=None, wrap_lines=True)
            with st.popover("Command", type="tertiary", icon=":material/terminal:"):
                st.caption("The same without the app.")
                spec = specs[0].to_dict()
                command = words.command(spec, "race", values) if len(specs) > 1 else words.command(spec)
                st.code(command, language="bash", wrap_lines=True)
            navigation.link("memory", "Why does this fit?", **cases.preset(spec))
    return place


def _launch(specs: Sequence[RunSpec], values: dict[str, list[Any]]) -> None:
    engine = state.engine()
    if len(specs) == 1:
        run = engine.submit(specs[0])
        costs.remember(run, specs[0])
        navigation.go("runs", run=run)
    race = engine.submit_race(specs)
    races.remember(race, specs[0], values)
    navigation.go("runs", race=race)


def _unknown() -> list[str]:
    """A sentence for a method or a task of the link that there is not; the first choice stands in its place."""
    told = []
    for name, registry in (("method", METHODS), ("task", TASKS)):
        try:
            said = links.read(name) or registry.names()[0]
            if name == "method" or not task_choice.is_complete(said):
                registry.load(said)
            if name == "task" and not task_choice.is_complete(said):
                argument = task_card(said).argument
                raise InvalidSetting(f"Task {said!r} needs an argument: {said}:{argument}.")
        except HeadroomError as error:
            told.append(f"From the link: {error} The form shows {st.session_state[f'launch_{name}']}.")
    return told


def _time(specs: Sequence[RunSpec]) -> str:
    told = costs.seconds(specs, state.store()) if specs else None
    if told is None:
        return "No run like it yet to tell the time from. "
    if len(specs) > 1:
        return f"At most **{words.duration(told[0])}**, as long as the runs take one by one. "
    return f"About **{words.duration(told[0])}**, as run {told[1]} took. "


def link(spec: RunSpec, values: dict[str, list[Any]]) -> str:
    """The launch page's whole address with every setting in it."""
    here = urlsplit(st.context.url or "http://localhost:8501/launch")
    query = races.preset(spec.to_dict(), values)
    return here._replace(query=urlencode(query, doseq=True), fragment="").geturl()
