"""The parts of the launch page: choices with their cards, the recipe, what it will cost, and the button."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import background, costs, cut, errors, forms, ledgers, links, navigation, state, theme, words
from app.captions import POWERS
from peftcore import embedded
from peftcore.errors import HeadroomError
from peftcore.figures import memory as figures
from peftcore.figures.theme import human_count, method_title, percent
from peftcore.registry import METHODS, TASKS
from peftcore.spec import RunSpec

log = logging.getLogger(__name__)

UP_FRONT = ("epochs", "batch_size", "lr", "seed")
CHOSEN_ABOVE = ("backbone", "method", "task")
FIRST_FIELDS = 4  # of a method: as many as stand in one row
PREVIEWED = 10  # images of a task, one of each class
PREVIEW_HEIGHT, BILL_HEIGHT = 136, 340  # pixels
PAD = 5  # transparent pixels around each of them
KINDS = {"side": "Reads the frozen backbone from its side", "in-backbone": "Changes what the backbone computes"}


def choices() -> tuple[str, type, str]:
    """Backbone, method and task; the backbone's name, the method's class, the task's name."""
    _remember("method", "task")
    left, right = st.columns([4, 7], gap="medium")
    with left:
        backbone = _backbone()
        task = links.choice(
            st.pills, "launch", "task", "Task", TASKS.names(), default="digits", show=words.task_title, wrap=True
        )
    with right:
        cls = _method()
    return backbone, cls, task


def _remember(*names: str) -> None:
    """What this session chose last stands in the address when it comes back, as Streamlit does for bound widgets."""
    last = st.session_state.setdefault("launch_last", {})
    links.write(**{name: last[name] for name in names if name in last and links.read(name) is None})
    last.update({name: said for name in names if (said := links.read(name))})


def _method() -> type:
    names = sorted(
        METHODS.names(), key=lambda name: (METHODS.load(name).METHOD.kind != "side", method_title(name).lower())
    )
    name = links.choice(st.pills, "launch", "method", "Method", names, default="last", show=_method_label, wrap=True)
    cls = METHODS.load(name).METHOD
    card = cls.card
    st.caption(
        f"{KINDS[cls.kind]}. {card.trains}", help=f"${card.equation}$\n\nKeeps in memory: {card.keeps}\n\n{card.paper}"
    )
    return cls


def _method_label(name: str) -> str:
    return f"{words.mark(name, theme.is_dark())} {method_title(name)}"


def _backbone() -> str:
    name = st.selectbox(
        "Backbone",
        _backbones(),
        key="backbone",
        bind="query-params",
        accept_new_options=True,
        help="A backbone that comes with Headroom, any ViT or Swin of timm, or hf-hub:OWNER/NAME.",
    )
    if name in embedded.names():
        card = embedded.card(name)
        sides = card["arguments"]
        st.caption(
            f"Comes with Headroom: {sides['depth']} layers of {sides['num_heads']} heads, width {sides['embed_dim']}, "
            f"{card['input_size'][-1]} x {card['input_size'][-1]} pixels."
        )
    else:
        st.caption(
            "Its weights are downloaded from the model hub when the run begins, unless they are on this machine."
        )
    return name


@st.cache_data(show_spinner=False)
def _backbones() -> list[str]:
    from peftcore.backbone import backbones

    return backbones()


def place_for_preview() -> DeltaGenerator:
    """Where `preview` draws, of its size already, so that nothing moves when it comes."""
    return st.container(height=PREVIEW_HEIGHT, border=False).empty()


def preview(place: DeltaGenerator, task: str) -> int:
    """One training image of each class, with its name; returns how many training images there are."""
    job = background.later(("preview", task), lambda: _one_of_each(task))
    background.wait(job, lambda: place.caption("Drawing the task's images."))
    images, names, count = job.result()
    with place.container(gap=None):
        st.image(images, caption=names, width=56)
        st.caption(f"{words.task_description(task)} {count:,} training images.")
    return count


def _one_of_each(name: str) -> tuple[list[np.ndarray], list[str], int]:
    from peftcore.tasks import load_task

    task = load_task(name)
    first = [int(np.flatnonzero(task.train.labels == index)[0]) for index in range(min(PREVIEWED, len(task.classes)))]
    return [_framed(task.train.images[i]) for i in first], list(task.classes[: len(first)]), len(task.train)


def _framed(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H + 2 PAD, W + 2 PAD, 4) with a transparent edge, since Streamlit sets images edge to edge."""
    opaque = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    return np.pad(opaque, ((PAD, PAD), (PAD, PAD), (0, 0)))


def settings(cls: type) -> tuple[dict[str, Any], dict[str, Any], DeltaGenerator | None]:
    """The method's settings and the recipe, as the widgets say them, and where `cut.preview` draws, if it does."""
    names = sorted(cls.model_fields, key=lambda name: name not in cls.up_front)
    method: dict[str, Any] = {"name": cls.name}
    if names:
        st.markdown(f"**{cls.card.title}**")
        method |= forms.fields(cls, names[:FIRST_FIELDS], prefix=f"{cls.name}.")
    heads_off = cut.place_for_preview(cls)
    st.markdown("**Recipe**")
    recipe = forms.fields(RunSpec, UP_FRONT)
    with st.expander("More settings"):
        method |= forms.fields(cls, names[FIRST_FIELDS:], prefix=f"{cls.name}.")
        rest = [name for name in RunSpec.model_fields if name not in (*UP_FRONT, *CHOSEN_ABOVE)]
        recipe |= forms.fields(RunSpec, rest)
    return method, recipe, heads_off


def launcher(spec: RunSpec | None, fault: HeadroomError | None) -> DeltaGenerator:
    """The button and what stands around it; returns the place of the bill. A fault is shown instead of a bill."""
    st.subheader("What it will cost", anchor=False)
    place = st.container(height=BILL_HEIGHT, border=False).empty()
    if fault:
        with place.container():
            errors.show(fault)
    for refusal in _unknown() + forms.refusals():
        st.warning(errors.plain(refusal), icon=":material/link_off:")
    st.markdown(_time(spec) + costs.queue(state.store()))
    if st.button(
        "Launch", type="primary", width="stretch", key="launch", icon=":material/rocket_launch:", disabled=bool(fault)
    ):
        navigation.go("runs", run=state.engine().submit(spec))
    if spec:
        with st.container(horizontal=True):
            with st.popover("Copy preset link", type="tertiary", icon=":material/link:"):
                st.caption("Opens this page with these settings, for you or somebody else.")
                st.code(link(spec), language=None, wrap_lines=True)
            with st.popover("Command", type="tertiary", icon=":material/terminal:"):
                st.caption("The same run without the app.")
                st.code(words.command(spec.to_dict()), language="bash", wrap_lines=True)
            navigation.link("memory", "Why does this fit?", **ledgers.preset(spec.to_dict()))
    return place


def _unknown() -> list[str]:
    """A sentence for a method or a task of the link that there is not; the first choice stands in its place."""
    told = []
    for name, registry in (("method", METHODS), ("task", TASKS)):
        try:
            registry.load(links.read(name) or registry.names()[0])
        except HeadroomError as error:
            told.append(f"From the link: {error} The form shows {st.session_state[f'launch_{name}']}.")
    return told


def _time(spec: RunSpec | None) -> str:
    told = spec and costs.seconds(spec, state.store())
    return (
        f"About **{words.duration(told[0])}**, as run {told[1]} took. "
        if told
        else "No run like it yet to tell the time from. "
    )


def bill(place: DeltaGenerator, spec: RunSpec) -> None:
    """What the run will cost, as soon as it is predicted. Where it turns out to be impossible, the page begins again."""
    job = costs.of(spec)
    background.wait(job, lambda: place.caption("Predicting: one training step on tensors without data."))
    with place.container():
        if job.exception():
            log.error("no prediction for %s", spec.to_json(), exc_info=job.exception())
            kind = type(job.exception()).__name__
            st.warning(f"What {spec.method.card.title} costs here cannot be predicted ({kind}). It can be launched.")
        elif isinstance(job.result(), HeadroomError):
            st.rerun()  # the fault is known now, and the button is drawn without a click in it
        else:
            _cost(spec, job.result())


def _cost(spec: RunSpec, cost: costs.Cost) -> None:
    st.markdown(
        f"Trains **{human_count(cost.trained)}** of {human_count(cost.parameters['backbone'])} weights "
        f"(**{percent(cost.share)}**): {cost.parameters['method']:,} in {spec.method.card.title}, "
        f"{cost.parameters['head']:,} in the classifier."
    )
    ghost = None if spec.method.name == "full" else cost.full
    theme.show(figures.memory_bar(cost.components, ghost=ghost, dark=theme.is_dark(), height=150), key="launch_memory")
    st.caption(
        words.components(cost.components)
        + f"  \nPredicted for one training step of {spec.batch_size} images, without running it. "
        + POWERS
        + (f"  \n{cost.cache}" if cost.cache else "")
    )


def link(spec: RunSpec) -> str:
    """The launch page's whole address with every setting in it."""
    here = urlsplit(st.context.url or "http://localhost:8501/launch")
    return here._replace(query=urlencode(forms.preset(spec.to_dict()), doseq=True), fragment="").geturl()
