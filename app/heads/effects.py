"""Does the score mean anything? Each head of a run switched off, and what that does to the loss, beside its score.

Measuring has a thread and a model of its own: it puts hooks on the model, which nobody else may use meanwhile. What one
reader measured, all see, and a reload shows it at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import streamlit as st

from app import background, captions, errors, links, screen, subjects, theme, words
from app.heads import controls, shown
from peftcore.errors import HeadroomError, NotMeasurable
from peftcore.figures import effects as figures
from peftcore.figures import heads
from peftcore.figures.theme import method_title

IMAGES = 200  # of validation, the first ones
OF = {"update": "its update", "head": "the head itself (zero)", "mean": "the head itself (its mean)"}
HELP = (
    "**Its update**: the frozen head goes on working as before tuning. **The head itself**: what it puts out is "
    "replaced by zero, or by its mean over images and tokens."
)
CUTS = "heart_lora"  # whose default cut is marked where a run has none of its own


class Stopped(Exception):
    """The reader pressed Stop."""


class Given(NamedTuple):
    """Of a run: its adapter, its spec, and the heads that it switched off, by layer."""

    adapter: bytes | None
    spec: Mapping[str, Any]
    off: Sequence[Sequence[int]]


class Measurement:
    """A measurement under way: how far it is, and what stops it."""

    def __init__(self) -> None:
        self.share, self.began, self.stopping = 0.0, monotonic(), threading.Event()

    def progress(self, share: float) -> None:
        if self.stopping.is_set():
            raise Stopped
        self.share = share

    def text(self, what: str) -> str:
        if not self.share:
            return f"{what}: waiting for its turn, then loading the model."
        left = (monotonic() - self.began) * (1 / self.share - 1)
        return f"{what}: {100 * self.share:.0f} %, about {words.duration(left)} left."


def draw(run: subjects.Run, view: shown.Shown, score: str, selected: tuple[int, int]) -> None:
    """The section at the foot of the Heads page. `selected`: the head of the select boxes."""
    st.subheader("Does the score mean anything?", anchor="effects")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        of = links.choice(
            st.segmented_control, "heads", "of", "switch off", list(OF), default="update", show=OF.__getitem__,
            help=HELP, required=True,
        )  # fmt: skip
        one_by_one = "effects", run.subject, run.finished, of
        more = "deletion", run.subject, run.finished, of, score
        grid = _button("Switch heads off, one by one", one_by_one, run, lambda given, m: _effects(given, of, m))
        curve = _button("Switch off more and more", more, run, lambda given, m: _deletion(given, view.scores, of, m))
    place, below = st.container(), st.container()
    if grid is None and curve is None:
        place.caption(
            f"A score is a guess from gradients or weights. Here {IMAGES} validation images run through the model "
            "without each head, and the change of the loss is measured: on this machine, with progress and a stop."
        )
    for job, key, what, show in (
        (grid, one_by_one, "Switching heads off, one by one", _show_effects),
        (curve, more, "Switching off more and more heads", _show_deletion),
    ):
        found = None if job is None else _wait(job, key, what, place)
        if found is not None:
            with below:
                show(run, view, score, of, selected, found)


def _button(label: str, key: tuple, run: subjects.Run, work: Callable[[Given, Measurement], Any]) -> Future | None:
    """A button that begins a measurement; returns it, where it was begun by anybody."""

    def begin() -> None:
        measurement = _measurements()[key] = Measurement()
        cut = subjects.events(run.subject, "heads_cut")
        given = Given(subjects.adapter(run.subject), run.spec, cut[-1]["off"] if cut else [])
        _bench().ask(key, lambda: _or_error(work, given, measurement))

    job = _bench().jobs.get(key)
    st.button(
        label, key=f"heads_{key[0]}", icon=":material/science:", on_click=begin, disabled=job is not None,
        type="primary" if key[0] == "effects" and job is None else "secondary",
    )  # fmt: skip
    return job


def _stop(key: tuple) -> None:
    """Ends a measurement at its next step; it can be begun again."""
    _measurements()[key].stopping.set()
    _bench().forget(key)


def _wait(job: Future, key: tuple, what: str, place: Any) -> Any:
    """The result, with progress until it is there; None where there was an error, which stands in its place."""
    measurement = _measurements()[key]
    if not job.done():
        waiting = place.empty()
        with waiting.container(horizontal=True, vertical_alignment="center"):
            bar = st.empty()
            st.button("Stop", key=f"heads_stop_{key[0]}", icon=":material/stop:", on_click=_stop, args=(key,))
        background.wait(job, lambda: bar.progress(measurement.share, measurement.text(what)))
        waiting.empty()
    found = job.result()
    if isinstance(found, Stopped | HeadroomError):
        _bench().forget(key)
        with place:
            errors.show(found) if isinstance(found, HeadroomError) else st.info(f"Stopped: {what.lower()}.")
        return None
    return found


@st.cache_resource(show_spinner=False)
def _bench() -> background.Desk:
    return background.Desk(threads=1)


@st.cache_resource(show_spinner=False)
def _measurements() -> dict[tuple, Measurement]:
    return {}


def _or_error(work: Callable[[Given, Measurement], Any], given: Given, measurement: Measurement) -> Any:
    measurement.began = monotonic()
    try:
        return work(given, measurement)
    except (Stopped, HeadroomError) as error:
        return error


def _load(given: Given) -> tuple[Any, Any, Any]:
    """A model of one's own, the first validation images (B, 3, H, W) and their labels."""
    import torch

    from peftcore import adapters
    from peftcore.backbone.load import load_backbone
    from peftcore.backbone.preprocess import prepare
    from peftcore.task import load_task

    if given.adapter is None:
        raise NotMeasurable("This run has not come to its end, so there is no trained model of it to measure yet.")
    spec = given.spec
    backbone = load_backbone(spec["backbone"], spec.get("pretrained", True), spec.get("weights"))
    model, val = adapters.from_bytes(given.adapter, backbone), load_task(spec["task"]).val
    how = {"norm": spec.get("normalisation", "backbone"), "resize": spec.get("resize", "stretch")}
    x = prepare(val.images[:IMAGES], model.backbone, **how)
    return model, x, torch.tensor(val.labels[:IMAGES])


def _effects(given: Given, of: Any, measurement: Measurement) -> dict[str, Any]:
    from peftcore.probes.effects import head_effects, heads_of

    model, x, y = _load(given)
    found = vars(head_effects(model, x, y, of, measurement.progress))
    for (layer, projection, head), on in heads_of(model, of).items():
        if not on:  # nothing was left to switch off
            for grid in ("loss", "accuracy"):
                found[grid][layer, found["projections"].index(projection), head] = np.nan
    return found


def _deletion(given: Given, scores: subjects.Scores, of: Any, measurement: Measurement) -> dict[str, Any]:
    """Columns of the curve; `cut` and `cut_name`: how many heads went in the run, or would go in Heart-LoRA's."""
    from peftcore.bench._deletion import head_deletion
    from peftcore.methods import make_method
    from peftcore.methods._scores import HeadScores

    model, x, y = _load(given)
    values = scores.values * (-1 if scores.score == "taylor_signed" else 1)
    by = HeadScores(values, scores.projections, scores.layers, scores.score)
    table = head_deletion(model, x, y, by, of, progress=measurement.progress)
    own = sum(map(len, given.off))
    before = own if of == "update" else 0  # are off already, and stay so
    method: Any = make_method(CUTS)
    chosen = own or sum(method.counts_off(model.backbone.heads))
    name = "this run's cut" if own else f"{method_title(CUTS)} would cut here"
    return {
        "orders": table["order"].tolist(), "draws": table["draw"].tolist(), "off": (table["off"] + before).tolist(),
        "loss": table["loss"].tolist(), "accuracy": table["accuracy"].tolist(), "cut": chosen, "cut_name": name,
        "images": len(x), "before": before,
    }  # fmt: skip


def _command(run: subjects.Run, of: str) -> str:
    if not run.example:
        return f"python -m peftcore effects {run.subject.id} --of {of}"
    return f"{words.command(run.spec)} --save FOLDER\npython -m peftcore effects FOLDER --of {of}"


def _show_effects(
    run: subjects.Run, view: shown.Shown, score: str, of: str, selected: tuple[int, int], found: Mapping[str, Any]
) -> None:
    changes, projections = found["loss"], found["projections"]
    scores, names = view.scores.values, view.scores.projections
    if view.scores.score == "taylor_signed":  # is negative where the update lowers the loss
        scores = -scores
    if of != "update":  # the head as a whole, against what the page's grid shows
        scores, names = view.values[:, None], projections
    both = [name for name in projections if name in names]
    changes = np.stack([changes[:, projections.index(name)] for name in both], 1)
    scores = np.stack([scores[:, names.index(name)] for name in both], 1)
    drawn = [both.index(view.projection)] if view.projection in both else list(range(len(both)))
    there = np.isfinite(changes[:, drawn]).any(1)
    summed = np.where(there, np.nansum(changes[:, drawn], axis=1), np.nan)  # (layers, heads)
    with st.container(key="wrap_effects"):
        left, right = st.columns([11, 9], gap="medium")
    with left, errors.sentences(stop=False):
        figure = figures.score_against_change(
            scores, changes, both, score=view.scores.score, selected=selected, dark=theme.is_dark()
        )
        key = "heads_effects_scatter"
        theme.show(figure, key, spec=run.spec, on_select=lambda: controls.pick_head(key), selection_mode="points")
    with right:
        layer, head = np.unravel_index(int(np.nanargmax(summed)), summed.shape)
        of_what = "+".join(both[j] for j in drawn)
        grid = heads.head_grid(
            summed, view.scores.layers, score="change", projection=of_what, selected=selected,
            title=f"Without head {head + 1} of layer {layer + 1} in {of_what} the loss rises most: "
            f"{summed[layer, head]:+.3f} nats",
            note="click a head to select it", **screen.fit(500, 460), dark=theme.is_dark(),
        )  # fmt: skip
        grid_key = "heads_effects_grid"
        theme.show(
            grid, grid_key, spec=run.spec, on_select=lambda: controls.pick_head(grid_key), selection_mode="points"
        )
    loss, accuracy = found["before"]
    more = f"The grid sums the changes over {', '.join(both)}. " if len(drawn) > 1 else ""
    captions.caption(
        f"{run.caption}. Switched off one by one: {OF[of]}, on the first {found['images']} validation images; with "
        f"every head on the loss is {loss:.3f} nats and the accuracy {accuracy:.3f}. {more}"
        f"Scores: {shown.SCORES[score]}. The second correlation is with the size of a change, whatever its "
        "sign. Heads that are off already are left out.",
        _command(run, of),
    )


def _show_deletion(
    run: subjects.Run, view: shown.Shown, score: str, of: str, _selected: tuple[int, int], found: Mapping[str, Any]
) -> None:
    columns = {name: value for name, value in found.items() if name not in ("images", "before")}
    with st.container(key="wrap_deletion"):
        places = st.columns(2, gap="medium")
    for place, metric in zip(places, ("loss", "accuracy"), strict=True):
        with place, errors.sentences(stop=False):
            figure = figures.deletion(**columns, score=view.scores.score, metric=metric, dark=theme.is_dark())
            theme.show(figure, f"heads_deletion_{metric}", spec=run.spec)
    before = f"{found['before']} heads were off from the start: the run's own cut. " if found["before"] else ""
    captions.caption(
        f"{run.caption}. More and more heads off, in all projections together: {OF[of]}, on the first "
        f"{found['images']} validation images. {before}Ordered by {shown.SCORES[score]}, summed over projections.",
        f'{words.command(run.spec)} --save FOLDER\npython -c "import peftcore as pc; help(pc.head_deletion)"',
    )
