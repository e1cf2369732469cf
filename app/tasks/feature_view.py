"""What a frozen backbone makes of a task: its features as points, beside those of the same one with random weights."""

from __future__ import annotations

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import background, errors, glossary, heavy, links, screen, theme
from app.captions import caption
from app.drawn import plan
from app.room import who
from app.tasks import feature_points, hover, reading
from app.tasks.feature_points import Features, Reading, Wish
from peftcore.backbone import embedded, weights
from peftcore.errors import HeadroomError
from peftcore.fetch import places
from peftcore.figures import tasks as figures
from peftcore.figures.projection import PERPLEXITY
from peftcore.figures.words import percent, si_bytes
from peftcore.store import conditions

HEIGHT = 450
VIEWS = {"tsne": "t-SNE", "pca": "PCA"}
PERPLEXITIES = (5.0, 15.0, PERPLEXITY, 50.0, 100.0)
HELP = (
    "**t-SNE** keeps neighbours together; how far two groups are apart says nothing. **PCA** is a straight look from "
    "the side on which the features differ most: distances are true, but most of them are out of sight."
)
FETCH = "tasks_fetch"  # in the session: the backbone whose weights are wanted
KINDS = {True: "pretrained", False: "random"}


def draw(task: str, backbone: str) -> None:
    """Controls, then two figures, each as soon as it is computed."""
    view, perplexity, norm, resize = _controls()
    if not heavy.agreed(backbone, "to compute its features", key="tasks"):
        return
    left, right = st.columns(2, gap="medium")
    fetch = st.session_state.get(FETCH) == backbone
    places: dict[Wish, DeltaGenerator] = {}
    for pretrained, column in ((True, left), (False, right)):
        with column:
            if pretrained and not fetch and not _here(backbone):
                _offer(backbone)
            else:
                place = st.container(height=screen.tall(HEIGHT + 12), border=False).empty()
                places[Wish(task, backbone, pretrained, norm, resize)] = place
    below = st.empty()
    shown: list[Features] = []
    for wish, place in places.items():
        if found := _await(wish, place, fetch):
            points = _points(wish, found, place, view, perplexity)
            if points is not None:
                shown.append(found)
    if shown:
        drawn = feature_points.drawn(task)
        background.wait(drawn, lambda: None, below)
        if not isinstance(drawn.result(), HeadroomError):
            hover.images(drawn.result(), [_key(wish) for wish in places])
        with below.container():
            caption(_caption(shown[0], next(iter(places)), view, perplexity))


def _controls() -> tuple[str, float, str, str]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = links.choice(
            st.segmented_control,
            "tasks",
            "by",
            "Projection",
            list(VIEWS),
            default="tsne",
            show=VIEWS.__getitem__,
            required=True,
            help=glossary.linked(HELP),
        )
        perplexity = links.choice(
            st.selectbox,
            "tasks",
            "perplexity",
            "Perplexity",
            PERPLEXITIES,
            default=PERPLEXITY,
            show=lambda value: f"{value:g}",
            code=lambda value: f"{value:g}",
            disabled=view != "tsne",
            width=130,
            help="About how many neighbours t-SNE gives each image.",
        )
        norm, resize = reading.choose("normalisation"), reading.choose("resize")
    return view, perplexity, norm, resize


def _here(backbone: str) -> bool:
    with errors.sentences():
        return backbone in embedded.names() or backbone.startswith(weights.REMOTE) or places.here(backbone)


def _offer(backbone: str) -> None:
    """In the place of the figure where there are no pretrained weights yet."""
    from peftcore.fetch.backbones import size

    with st.container(height=screen.tall(HEIGHT + 12), border=False):
        st.info(
            f"The weights of {errors.plain(backbone)} are not here yet: about {si_bytes(size(backbone))} from "
            f"{places.hub()}.",
            icon=":material/download:",
        )
        with errors.sentences(stop=False):
            who.fetch("weights")
            feature_points.download_button(FETCH, backbone, "Download them and look")


def _await(wish: Wish, place: DeltaGenerator, fetch: bool) -> Features | None:
    """The features, with progress until they are there; None after an error was shown."""

    def tell(reading: Reading) -> None:
        count = f": {reading.done:,} of {reading.total:,}" if reading.total and reading.total < 10**6 else ""
        with place.container():
            st.progress(reading.share, text=f"{KINDS[wish.pretrained].capitalize()} weights. {reading.what}{count}.")

    size = 0 if wish.backbone in embedded.names() else heavy.free()
    job = feature_points.stay(feature_points.features(wish, fetch, size), tell, place)
    with errors.sentences(stop=False), place.container():
        found = job.result()
        if not isinstance(found, HeadroomError):
            return found
        errors.show(found)
        if fetch and wish.pretrained and not _here(wish.backbone):
            st.session_state.pop(FETCH, None)
            feature_points.download_button(FETCH, wish.backbone, "Try again")
    return None


def _points(wish: Wish, found: Features, place: DeltaGenerator, view: str, perplexity: float) -> np.ndarray | None:
    """Draws one figure and returns its points; None after an error was shown."""
    points = found.pca
    across, up = (f"component {i + 1}: {percent(share)}" for i, share in enumerate(found.shares))
    axes = across, up
    if view == "tsne":
        axes, perplexity = ("", ""), feature_points.perplexity_of(found, perplexity)
        job = feature_points.tsne(wish, perplexity, found)
        background.wait(job, lambda: place.caption("Computing t-SNE: a few seconds, once for each setting."), place)
        points = job.result()
    with place.container():
        if isinstance(points, HeadroomError):
            errors.show(points)
            return None
        sentence = (
            "too few to fit a classifier"
            if found.linear is None
            else f"a linear classifier gets {percent(found.linear)} right"
        )
        figure = plan(
            figures.projection,
            points,
            found.labels,
            found.classes,
            title=f"{KINDS[wish.pretrained].capitalize()} weights: {sentence}",
            axes=axes,
            dark=theme.is_dark(),
            height=HEIGHT,
        )
        theme.show(figure, _key(wish))
    return points


def _key(wish: Wish) -> str:
    return f"points_{KINDS[wish.pretrained]}"


def _caption(found: Features, wish: Wish, view: str, perplexity: float) -> str:
    train, val = found.train, len(found.labels) - found.train
    perplexity = feature_points.perplexity_of(found, perplexity)
    how = f"t-SNE, perplexity {perplexity:g}, seed {feature_points.SEED}" if view == "tsne" else "PCA"
    spec = {"task": wish.task, "resize": wish.resize, "normalisation": wish.norm}
    sized, normed = conditions.part(spec, "resize"), conditions.part(spec, "normalisation")
    return (
        f"Pooled features of {wish.backbone}, frozen, of {train:,} training and {val:,} validation images of "
        f"{wish.task}, {sized}, {normed}; {how}. The linear classifier: logistic regression fitted to the training "
        f"ones, checked on the validation ones; always naming the commonest class gets {percent(found.commonest)}. "
        "Point at an image, or step through them with the arrow keys."
    )
