"""Second opinions on a run's heads: conductance, attention distance and entropy, and how far all scores agree."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import streamlit as st

from app import captions, errors, screen, subjects, theme, words
from app.drawn import plan
from app.heads import measuring
from app.heads.measuring import Given, Key, Measurement
from app.subjects import Scores
from peftcore.errors import NotMeasurable
from peftcore.figures import stability as figures
from peftcore.figures.words import times

IMAGES = 48  # of validation, the first ones: each runs a dozen times and more, with gradients
TRAITS = {
    "conductance": "conductance, on validation images",
    "distance": "attention distance, in pixels",
    "entropy": "attention entropy, in nats",
}
HELP = (
    "**Conductance** (as captum's): how much of the true class's logit comes about through what this head puts out, on "
    "the way from a grey image to the image; a mean of sizes. **Attention distance**: how far the head looks. "
    "**Entropy**: 0 where it looks at one patch, largest where it looks at all alike. All three are of the head as a "
    "whole; the class token neither asks nor is looked at."
)
UPDATES: tuple[Literal["taylor", "energy"], ...] = ("taylor", "energy")  # scores that the others are compared with
CHANGES = {"effects-update": "loss without the update", "effects-head": "loss without the head"}


def scores(run: subjects.Run, score: str) -> Scores:
    """One of TRAITS, where it was measured. Where not, the page ends with the button that does it."""
    key, place = _key(run), st.empty()
    found = measuring.found(key)
    if found is None:
        with place.container():
            st.caption(f"{TRAITS[score].capitalize()}: {IMAGES} images, with progress and a stop. It is kept.")
            job = measuring.button("Measure it", "opinions", key, run, _measure, main=True)
            found = None if job is None else measuring.wait(job, key, "opinions", "Asking for a second opinion", place)
        if found is None:
            st.stop()
        place.empty()
    if score not in found["scores"]:
        st.info(errors.plain(found["refused"]), icon=":material/block:")
        st.stop()
    return Scores.of(found["scores"][score])


def title(score: str, values: np.ndarray) -> str | None:
    """What a grid of one of TRAITS says; None for any other score."""
    if score not in TRAITS:
        return None
    layer, head = np.unravel_index(int(np.nanargmax(values)), values.shape)
    which, most, median = f"ead {head + 1} of layer {layer + 1}", float(np.nanmax(values)), float(np.nanmedian(values))
    if score == "conductance":
        return f"Most of the answer runs through h{which}, {times(most / median) if median else 'all'} the median head"
    if score == "distance":
        return f"H{which} looks farthest: {most:.1f} pixels on average, the median head {median:.1f}"
    return f"H{which} spreads its attention most: {most:.2f} nats, the median head {median:.2f}"


def draw(run: subjects.Run, own: Scores | None) -> None:
    """The section of the Heads page. `own`: the scores that training collected."""
    st.header("Do other measures agree?", anchor="opinions")
    key = _key(run)
    found = measuring.found(key)
    if found is None:
        job = measuring.button("Ask for a second opinion", "opinion", key, run, _measure)
        place = st.container()
        if job is None:
            place.caption(
                f"A head's conductance, and how far and how sharply it attends, on {IMAGES} validation images: on this "
                "machine, with progress and a stop. They then are scores to choose above."
            )
            return
        found = measuring.wait(job, key, "opinion", "Asking for a second opinion", place)
        if found is None:
            return
    grids = {} if own is None else {f"{own.score} (in training)": own.summed()}
    again = None if own is None else own.score  # of validation images, beside that of training
    grids |= {
        f"{name} (validation)" if name == again else name: Scores.of(one).summed()
        for name, one in found["scores"].items()
    }
    for name, label in CHANGES.items():
        if (measured := measuring.found(Key.of(run, name))) is not None:
            grids[label] = subjects.summed(np.array(measured["loss"], float))
    correlations = figures.pairwise(list(grids.values()))
    left, right = st.columns([11, 9], gap="medium")
    with left:
        figure = plan(figures.correlation_matrix,
            correlations, list(grids), title=figures.agreeing(correlations, list(grids)),
            note=f"{figures.RHO} over {int(np.isfinite(next(iter(grids.values()))).sum())} heads",
            **screen.fit(560), dark=theme.is_dark(),
        )  # fmt: skip
        theme.show(figure, "heads_agreement", spec=run.spec)
    with right:
        st.markdown(HELP)
        if found["refused"]:
            st.info(errors.plain(found["refused"]), icon=":material/block:")
        if len(set(CHANGES.values()) & set(grids)) < len(CHANGES):
            st.caption("Switch heads off above, and what the loss says stands here as well.")
    captions.caption(
        f"{run.caption}. Rank correlation between scores of heads, each summed over projections; second opinions on "
        f"the first {found['images']} validation images, conductance in {found['steps']} steps from a grey image.",
        _command(run),
    )


def _command(run: subjects.Run) -> str:
    source = "FOLDER" if run.example else run.subject.id
    line = f"python -m peftcore heads {source} --score conductance --images {IMAGES}"
    return f"{words.command(run.spec)} --save FOLDER\n{line}" if run.example else line


def _key(run: subjects.Run) -> Key:
    return Key.of(run, "opinions", IMAGES)


def _measure(given: Given, measurement: Measurement) -> dict[str, Any]:
    from peftcore.bench._opinions import STEPS, attention_traits, head_conductance
    from peftcore.probes.responsiveness import head_scores

    model, x, y = measuring.load(given, IMAGES)
    found: dict[str, Any] = {score: head_scores(model, x, y, score) for score in UPDATES}
    found["conductance"] = head_conductance(model, x, y, progress=measurement.part(0, 0.85))
    refused = ""
    try:
        found["distance"], found["entropy"] = attention_traits(model, x, measurement.part(0.85, 1))
    except NotMeasurable as error:
        refused = str(error)
    kept = {name: one.to_dict() for name, one in found.items()}
    return {"scores": kept, "refused": refused, "images": len(x), "steps": STEPS}
