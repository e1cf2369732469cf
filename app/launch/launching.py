"""The parts of the launch page: choices with their cards, the recipe, what it will cost, and the button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import backbone_choice, caps, errors, forms, glossary, links, navigation, screen, state, theme, turns, words
from app.heads import cut
from app.launch import closed, cost_card, costs, durations, race_form, raced, rates, request, strangers, task_choice
from app.launch.request import CHOSEN_ABOVE, Request
from app.memory import cases
from app.room import who
from app.runs import races
from peftcore.errors import HeadroomError
from peftcore.figures.method_style import method_title
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import recipes

UP_FRONT = ("epochs", "batch_size", "lr", "seed")
FIRST_FIELDS = 4  # of a method: as many as stand in one row
BILL_HEIGHT, WARNING_HEIGHT, NARROWER = 430, 130, 60  # pixels; the last: more lines on a phone
MOST_FAULTS = 3  # said beside the button; each stands at its field as well
KINDS = {"side": "Reads the frozen backbone from its side", "in-backbone": "Changes what the backbone computes"}
_LAST = "launch_last"  # in the session: the address of the form as it was left


def open_form() -> None:
    """The form as the link says, or, where the page is opened by its name alone, as this session left it."""
    shown, last = links.shown(), st.session_state.get(_LAST, {})
    if links.is_new():
        if not shown:
            links.write(**last)
        else:
            links.write(**{name: last[name] for name in CHOSEN_ABOVE if name in last and name not in shown})
            links.write(**request.opened(shown))
    elif request.is_like_old(shown):
        links.write(lr="")


def asked() -> Request:
    """What the form asks for, as it stands."""
    st.session_state[_LAST] = links.shown()
    return request.from_query(links.shown())


def choices() -> tuple[str, str]:
    """Widgets for backbone, method and task; the backbone's and the task's name."""
    faults = asked().faults
    left, right = st.columns([4, 7], gap="medium")
    with left:
        backbone = backbone_choice.choose()
        st.caption(backbone_choice.about(backbone))
        task = task_choice.choose("launch")
        forms.complain(faults.get("task"))
    with right:
        _method()
        forms.complain(faults.get("method"))
    return backbone, task


def _method() -> None:
    names = sorted(METHODS.names(), key=lambda name: (METHODS.facts(name).kind != "side", method_title(name).lower()))
    said = links.read("method") or "last"
    names += [said] if said not in names else []
    name = links.choice(
        st.pills, "launch", "method", "Method", names, default="last", show=_method_label, marked=True, wrap=True
    )
    if name in METHODS.names():
        cls = METHODS.load(name).METHOD
        card = cls.card
        st.caption(
            f"{KINDS[cls.kind]}. {card.trains}",
            help=f"${card.equation}$\n\nKeeps in memory: {glossary.linked(card.keeps)}\n\n{card.paper}  \n"
            f"[Its card](methods?method={name}): a block of it, its cost, and what it reaches.",
        )


def _method_label(name: str) -> str:
    if name not in METHODS.names():
        return errors.plain(name)
    return f"{words.mark(name, theme.is_dark())} {method_title(name)}"


def settings(backbone: str, form: Request) -> DeltaGenerator | None:
    """Widgets for the method's settings, the recipe and what is raced; where `cut.preview` draws, if it does."""
    cls = form.method
    if cls is None:
        return None
    varied = raced.chosen(cls, links.shown())
    draw: forms.Draw = {"lr": lambda model, _: rates.field(model, form)} | {
        name: lambda _, name: race_form.widget(cls, name, backbone, form.faults) for name in varied
    }
    own = sorted(cls.model_fields, key=lambda name: name not in cls.up_front)
    first, rest = _split(own, own[:FIRST_FIELDS], varied)
    if first:
        st.markdown(f"**{cls.card.title}**")
        forms.fields(cls, first, prefix=f"{cls.name}.", instead=draw, defaults=form.defaults, kept=form.kept)
    heads_off = cut.place_for_preview(cls)
    st.markdown("**Recipe**")
    up_front, others = _split([name for name in RunSpec.model_fields if name not in CHOSEN_ABOVE], UP_FRONT, varied)
    forms.fields(RunSpec, up_front, instead=draw, defaults=form.defaults, kept=form.kept)
    if "lr" not in varied:
        rates.hint(backbone, form)
    race_form.chooser(cls, form.faults)
    with st.expander("More settings", expanded=_has_a_fault(form, cls, [*rest, *others])):
        forms.fields(cls, rest, prefix=f"{cls.name}.", defaults=form.defaults, kept=form.kept)
        forms.fields(RunSpec, others, defaults=form.defaults, kept=form.kept)
    return heads_off


def _has_a_fault(form: Request, cls: type[Any], names: Sequence[str]) -> bool:
    """What has to be mended is not folded away."""
    return any(name.removeprefix(f"{cls.name}.") in names for name in form.faults)


def _split(names: list[str], first: Sequence[str], raced: list[str]) -> tuple[list[str], list[str]]:
    """Settings that stand up front, with all that are raced, and the others."""
    shown = [*first, *(name for name in names if name in raced and name not in first)]
    return shown, [name for name in names if name not in shown]


def launcher(form: Request, fault: HeadroomError | None, is_too_large: bool = False) -> DeltaGenerator:
    """The button and what stands around it; returns the place of the bill. `fault`: what else is known to be wrong.
    `is_too_large`: the bill will say that this never begins, for lack of memory."""
    st.header("What it will cost", anchor=False)
    height = BILL_HEIGHT + WARNING_HEIGHT * is_too_large + NARROWER * screen.is_phone()
    place = st.container(height=screen.tall(height), border=False).empty()
    is_shut = who.is_shut()
    specs, wrong = form.specs, [*form.faults.values(), *([fault] if fault else [])]
    if wrong:
        with place.container():
            for each in wrong[:MOST_FAULTS]:
                errors.show(each)
            more = len(wrong) - MOST_FAULTS
            st.caption(
                "Nothing can be launched until this is mended."
                + (
                    f" {more} more {'stands at its field' if more == 1 else 'stand at their fields'}."
                    if more > 0
                    else ""
                )
            )
    for stranger in strangers.strangers(links.shown()):
        st.warning(errors.plain(stranger), icon=":material/link_off:")
    if not wrong:
        backbone_choice.download_note(specs[0])
        task_choice.download_note(specs[0].task)
        if not is_too_large and not is_shut:
            st.markdown(_time(specs) + turns.new())
    if is_shut:
        closed.draw()
    label = f"Launch {len(specs)} runs" if len(specs) > 1 else "Launch"
    pressed = st.button(
        label, type="primary", width="stretch", key="launch", icon=":material/rocket_launch:",
        disabled=bool(wrong) or is_too_large or is_shut,
    )  # fmt: skip
    if pressed and not wrong and not is_too_large and not is_shut:
        with errors.sentences(stop=False):
            _launch(form, place)
    if specs:
        with st.container(horizontal=True, vertical_alignment="center"):
            with st.popover("Copy preset link", type="tertiary", icon=":material/link:"):
                st.caption("Opens this page with these settings, for you or somebody else.")
                st.code(link(form), language=None, wrap_lines=True)
            with st.popover("Command", type="tertiary", icon=":material/terminal:"):
                st.caption("The same without the app.")
                st.code(command(form), language="bash", wrap_lines=True)
            navigation.link("memory", "Why does this fit?", **cases.preset(specs[0].to_dict()))
    return place


def _launch(form: Request, place: DeltaGenerator) -> None:
    """Queues what the form asks for, once its memory is predicted: what would never begin is refused here."""
    for spec, job in zip([*form.specs, form.specs[0]], cost_card.predicted(place, form.specs), strict=False):
        if refusal := costs.refusal(spec, job):
            raise refusal
    assert form.spec is not None, "launched where nothing is wrong"
    if len(form.specs) == 1:
        run = caps.submit(form.spec, costs.promised(form.spec))
        navigation.go("runs", run=run)
    race = caps.submit_race(form.specs)
    races.remember(race, form.spec, form.values, form.own_rates)
    navigation.go("runs", race=race)


def _time(specs: Sequence[RunSpec]) -> str:
    estimate = durations.seconds(specs, state.store())
    if estimate is None:
        each = [state.engine().forecast().lasts(spec.to_dict()) for spec in specs]
        known = [one for one in each if one]
        if len(known) < len(specs):
            strange = next(spec.backbone for spec, one in zip(specs, each, strict=True) if not one)
            return f"How long it takes is not known, as no run on {errors.code(strange)} has finished here. "
        low, high = (sum(one[end] for one in known) for end in (0, 1))
        return f"Probably **{words.span(low, high)}**, going by other runs here. "
    if len(specs) > 1:
        return f"At most **{words.duration(estimate[0])}**, as long as the runs take one by one. "
    return f"About **{words.duration(estimate[0])}**, as run {estimate[1]} took. "


def link(form: Request) -> str:
    """The launch page's whole address with every setting in it."""
    here = urlsplit(st.context.url or "http://localhost:8501/launch")
    assert form.spec is not None, "a link is of what can be launched"
    query = request.to_query(form.spec.to_dict(), form.values, form.own_rates)
    return here._replace(query=urlencode(query, doseq=True), fragment="").geturl()


def command(form: Request) -> str:
    """The command line that does the same. Where each method keeps the rate that is known for it, none is given."""
    spec = form.specs[0].to_dict()
    if len(form.specs) == 1:
        return words.command(spec)
    if not form.own_rates:
        return words.command(spec, "race", form.values)
    if any(one != recipes.at_its_rate(one) for one in form.specs):  # which no option of a race says
        return "\n".join(words.command(one.to_dict()) for one in form.specs)
    return words.command({name: value for name, value in spec.items() if name != "lr"}, "race", form.values)
