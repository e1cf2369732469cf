"""Is a run's head score stable? Over seeds, over the steps of training, and over the number of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from app import captions, errors, navigation, recordings, screen, state, subjects, theme, words
from app.drawn import plan
from app.heads import measuring
from app.heads.measuring import IMAGES, Given, Key, Measurement
from app.launch import request
from app.subjects import Scores
from peftcore.figures import stability as figures
from peftcore.figures.words import correlation
from peftcore.store import WAITING
from peftcore.store.variations import same_but_seed

SEEDS = 3  # that a comparison over seeds wants
History = list[tuple[int, Scores]]


def draw(run: subjects.Run, history: History) -> None:
    """The section of the Heads page; `history`: the scores that training collected, by step."""
    st.header("Is the score stable?", anchor="stability")
    with st.container(key="wrap_stability"):
        left, right = st.columns(2, gap="medium")
    with left:
        if history:
            _seeds(run, history)
    with right:
        if len(history) > 1:
            _steps(run, history)
        elif history:
            st.caption(
                "How short a warm-up could be: this run recorded its scores once, so there is nothing to compare. A "
                "warm-up of several epochs has a record after each."
            )
    if run.has_weights:
        _images(run)


def _seeds(run: subjects.Run, history: History) -> None:
    """The same spec by other seeds, of this machine's runs and of the recorded ones."""
    from peftcore.bench._stability import over_seeds

    found = {run.spec["seed"]: history[-1][1].summed()} | others(run)
    seeds = sorted(found)
    if len(found) > 1:
        with errors.sentences(stop=False):
            same = over_seeds([found[seed] for seed in seeds])
            names = [f"seed {seed}" for seed in seeds]
            always = ", ".join(f"head {head + 1} of layer {layer + 1}" for layer, head in same.always) or "none"
            figure = plan(
                figures.correlation_matrix, same.correlations, names,
                title=f"Seeds rank heads {figures.alike(same.mean)}: {figures.RHO} {correlation(same.mean)} on average",
                note=f"{len(same.always)} of the {same.top} highest are the same; by chance {same.expected:.1f}",
                **screen.fit(460), dark=theme.is_dark(),
            )  # fmt: skip
            theme.show(figure, "heads_seeds", spec=run.spec)
            captions.caption(
                f"{words.run_title(run.spec)}: {history[-1][1].score} as training collected it, summed over "
                f"projections, in {len(seeds)} runs that differ in nothing but the seed. Among the {same.top} highest "
                f"of each: {always}.",
                f"python -m peftcore heads {'RUN' if run.example else run.subject.id} --stability",
            )
    if not run.of:
        _offer(run, set(found))


def _offer(run: subjects.Run, found: set[int]) -> None:
    """The seeds that are under way, and those that are missing, as one launch."""
    working = {
        other.spec["seed"]: other
        for other in state.store().runs(status=WAITING)
        if same_but_seed(other.spec, run.spec) and other.spec["seed"] not in found
    }
    if working:
        seeds = " and ".join(map(str, sorted(working)))
        st.caption(f"Under way: seed {seeds}. Scores are compared once a run is finished.")
    for race, number in dict.fromkeys((other.race, None if other.race else other.id) for other in working.values()):
        query = {"race": race} if race else {"run": number}
        navigation.link("runs", f"Watch race {race}" if race else f"Watch run {number}", **query)
    known = found | set(working)
    missing = [seed for seed in range(SEEDS) if seed not in known][: max(0, SEEDS - len(known))]
    if missing:
        told = "This is the only seed of this run. " if len(known) == 1 else ""
        st.caption(f"{told}Other seeds show how much of a score is chance:")
        values = {"seed": missing} if len(missing) > 1 else {}
        form: dict[str, Any] = {**request.to_query(run.spec | {"seed": missing[0]}, values)}
        navigation.link("launch", f"Launch seed {' and '.join(map(str, missing))}", **form)


def others(run: subjects.Run) -> dict[int, np.ndarray]:
    """The last scores of runs with the same spec and another seed, by seed: this machine's first."""
    here = (
        (other.spec, subjects.scores_by_epoch(other.subject)[-1][1])
        for other in subjects.runs("scores")
        if other.status == "finished" and same_but_seed(other.spec, run.spec)
    )
    recorded = (
        (one["spec"], Scores.of(one["history"][-1]["scores"]))
        for one in recordings.runs().values()
        if same_but_seed(one["spec"], run.spec)
    )
    found: dict[int, np.ndarray] = {}
    for spec, scores in (*here, *recorded):
        found.setdefault(spec["seed"], scores.summed())
    return found


def _steps(run: subjects.Run, history: History) -> None:
    from peftcore.bench._stability import over_steps, settled
    from peftcore.methods import make_method

    settings = {name: value for name, value in run.spec["method"].items() if name != "off"}
    own = run.method == "heart_lora"
    with errors.sentences(stop=False):
        table = over_steps(history, make_method(**settings) if own else None)
        cut = subjects.events(run.subject, "heads_cut")
        figure = plan(
            figures.over_steps, table["step"].tolist(), table["rho"].tolist(), table["same"].tolist(), settled(table),
            cut=cut[-1]["step"] if cut else None, dark=theme.is_dark(),
        )  # fmt: skip
        theme.show(figure, "heads_settled", spec=run.spec)
        whose = "this run's own rule" if own else "the rule that Heart-LoRA has by default"
        captions.caption(
            f"{run.title}: how short a warm-up could be. At each record, the heads that would be switched off by "
            f"{whose} against those by the last record's scores, and the rank correlation of all scores.",
            f"python -m peftcore heads {'RUN' if run.example else run.subject.id} --stability",
        )


def _images(run: subjects.Run) -> None:
    key = Key.of(run, "stability-images")
    job = measuring.button("Score fewer images, and others", "scored", key, run, _measure)
    place = st.container()
    if job is None:
        place.caption(
            f"How many images does a score need? Taylor scores on up to {IMAGES} validation images are compared: with "
            "those of all, and of as many others."
        )
        return
    found = measuring.wait(job, key, "scored", "Scoring heads on more and more images", place)
    if found is None:
        return
    figure = plan(figures.over_images, found["images"], found["whole"], found["other"], dark=theme.is_dark())
    theme.show(figure, "heads_over_images", spec=run.spec)
    captions.caption(
        f"{run.caption}. Taylor scores, summed over projections: means over steps of {found['batch']} images each.",
        f"python -m peftcore heads {'RUN' if run.example else run.subject.id} --stability",
    )


def _measure(given: Given, measurement: Measurement) -> dict[str, Any]:
    from peftcore.bench._stability import BATCH, over_images

    model, x, y = measuring.load(given)
    table = over_images(model, x, y, min(BATCH, max(1, len(x) // 2)), measurement.progress)
    return {**table.to_dict("list"), "batch": BATCH}
