"""Does the score mean anything? Each head of a run switched off, and what that does to the loss, beside its score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from app import captions, errors, glossary, heavy, links, screen, subjects, theme, words
from app.drawn import plan
from app.heads import controls, measuring, shown
from app.heads.measuring import IMAGES, Given, Key, Measurement
from peftcore.figures import effects as figures
from peftcore.figures import heads
from peftcore.figures.method_style import method_title
from peftcore.figures.squares import Scale

OF = {"update": "its update", "head": "the head itself (zero)", "mean": "the head itself (its mean)"}
SHORT = {"update": "its update", "head": "the head (zero)", "mean": "the head (mean)"}  # three fit a phone
HELP = (
    "**Its update**: the frozen head goes on working as before tuning. **The head itself**: what it puts out is "
    "replaced by zero, or by its mean over images and tokens."
)
CUTS = "heart_lora"  # whose default cut is marked where a run has none of its own


def draw(run: subjects.Run, view: shown.Shown, score: str, selected: tuple[int, int]) -> None:
    """The section at the foot of the Heads page. `selected`: the head of the select boxes."""
    st.header("Does the score mean anything?", anchor="effects")
    if not heavy.agreed_for(run.spec, "to switch its heads off", key="heads_effects"):
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        of = links.choice(
            st.segmented_control, "heads", "of", "switch off", list(OF), default="update", show=SHORT.__getitem__,
            help=glossary.linked(HELP), required=True,
        )  # fmt: skip
        one_by_one, more = Key.of(run, f"effects-{of}"), Key.of(run, f"deletion-{of}-{score}")
        grid = measuring.button(
            "Switch heads off, one by one", "effects", one_by_one, run, lambda given, m: _effects(given, of, m),
            main=True,
        )  # fmt: skip
        curve = measuring.button(
            "Switch off more and more", "deletion", more, run, lambda given, m: _deletion(given, view.scores, of, m)
        )
    place, below = st.container(), st.container()
    if grid is None and curve is None:
        place.caption(
            f"A score is a guess from gradients or weights. Here {IMAGES} validation images run through the model "
            "without each head, and the change of the loss is measured: on this machine, with progress and a stop."
        )
    for job, key, name, what, show in (
        (grid, one_by_one, "effects", "Switching heads off, one by one", _show_effects),
        (curve, more, "deletion", "Switching off more and more heads", _show_deletion),
    ):
        found = None if job is None else measuring.wait(job, key, name, what, place)
        if found is not None:
            with below:
                show(run, view, score, of, selected, found)


def _effects(given: Given, of: Any, measurement: Measurement) -> dict[str, Any]:
    from peftcore.probes.effects import head_effects, heads_of

    model, x, y = measuring.load(given)
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

    model, x, y = measuring.load(given)
    by = HeadScores(scores.values, scores.projections, scores.layers, scores.score)
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


def _order(run: subjects.Run, score: str) -> str:
    """The score as the command calls it; a saved adapter has none that its training collected."""
    return score if score != shown.TRAINING or not run.example else "taylor  # on validation images, not in training"


def _show_effects(
    run: subjects.Run, view: shown.Shown, score: str, of: str, selected: tuple[int, int], found: Mapping[str, Any]
) -> None:
    changes, projections = np.array(found["loss"], float), found["projections"]
    scores, names = view.scores.values, view.scores.projections
    if view.scores.score == "taylor_signed":  # is negative where the update lowers the loss
        scores = -scores
    both = [name for name in projections if name in names]
    if not both:  # of the head as a whole, or a score of it: against what the page's grid shows
        changes, both = subjects.summed(changes)[:, None], ["+".join(projections)]
        scores, names, projections = view.values[:, None], tuple(both), both
    changes = np.stack([changes[:, projections.index(name)] for name in both], 1)
    scores = np.stack([scores[:, names.index(name)] for name in both], 1)
    drawn = [both.index(view.projection)] if view.projection in both else list(range(len(both)))
    summed = subjects.summed(changes[:, drawn])  # (layers, heads)
    with st.container(key="wrap_effects"):
        left, right = st.columns([11, 9], gap="medium")
    with left, errors.sentences(stop=False):
        figure = plan(
            figures.score_against_change, scores, changes, both, score=view.scores.score, selected=selected,
            dark=theme.is_dark(),
        )  # fmt: skip
        key = "heads_effects_scatter"
        theme.show(figure, key, spec=run.spec, on_click=lambda: controls.pick_head(key))
    with right:
        layer, head = np.unravel_index(int(np.nanargmax(summed)), summed.shape)
        of_what = "+".join(both[j] for j in drawn)
        grid = plan(
            heads.head_grid, summed, view.scores.layers, score="change", projection=of_what, selected=selected,
            title=f"Without head {head + 1} of layer {layer + 1} in {of_what} the loss rises most: "
            f"{summed[layer, head]:+.3f} nats",
            scale=Scale.measured("nats"), note="click a head to select it", **screen.fit(500, 460),
            dark=theme.is_dark(),
        )  # fmt: skip
        grid_key = "heads_effects_grid"
        theme.show(grid, grid_key, spec=run.spec, on_click=lambda: controls.pick_head(grid_key))
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
            figure = plan(figures.deletion, **columns, score=view.scores.score, metric=metric, dark=theme.is_dark())
            theme.show(figure, f"heads_deletion_{metric}", spec=run.spec)
    before = f"{found['before']} heads were off from the start: the run's own cut. " if found["before"] else ""
    captions.caption(
        f"{run.caption}. More and more heads off, in all projections together: {OF[of]}, on the first "
        f"{found['images']} validation images. {before}Ordered by {shown.SCORES[score]}, summed over projections.",
        f"{_command(run, of)} --order {_order(run, score)}",
    )
