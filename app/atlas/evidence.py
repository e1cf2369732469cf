"""Does the score mean anything? On the embedded tasks: what scores foretell, what their order saves, how soon and how
surely they are there. Recorded with `python -m peftcore bench heads`. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import captions, links, navigation, recordings, theme
from app.drawn import plan
from app.subjects import Scores
from peftcore.figures import evidence
from peftcore.figures.agreement import rank_correlations
from peftcore.figures.theme import method_title, percent
from peftcore.task import task_card

RECORD = Path(__file__).resolve().parents[2] / "assets" / "head_scores.jsonl"
SCORES = {
    "taylor": "Taylor",
    "energy": "energy",
    "conductance": "conductance",
    "distance": "attention distance",
    "entropy": "attention entropy",
}
OF = {"update": "its update", "head": "the head itself"}
Row = Mapping[str, Any]


@lru_cache(maxsize=1)
def record() -> tuple[Row, ...]:
    """The file's rows, one for each run."""
    if not RECORD.exists():
        return ()
    return tuple(map(json.loads, filter(str.strip, RECORD.read_text(encoding="utf-8").splitlines())))


def draw() -> None:
    """The section at the foot of the Atlas page; nothing where nothing was recorded."""
    rows = record()
    if not rows:
        return
    st.subheader("Does the score mean anything?", anchor="evidence")
    by_task = {task: [row for row in rows if row["task"] == task] for task in dict.fromkeys(r["task"] for r in rows)}
    st.markdown(f"**{answer(by_task)}**")
    of = links.choice(
        st.segmented_control, "atlas", "off", "switched off is", list(OF), default="update", show=OF.__getitem__,
        required=True,
    )  # fmt: skip
    names = [task_card(task).title for task in by_task]
    rhos = {SCORES[name]: [_known(own, f"{name}/{of}") for own in by_task.values()] for name in SCORES}
    heads = rows[0]["heads"]
    with st.container(key="wrap_evidence"):
        left, right = st.columns([11, 9], gap="medium")
    with left:
        figure = plan(evidence.foretold, names, rhos, heads=heads, title=_foretold(rhos, of), dark=theme.is_dark())
        theme.show(figure, "atlas_foretold")
    with right:
        least, most, random = areas(by_task)
        won = sum(value < low for value, (low, _) in zip(least, random, strict=True))
        figure = plan(
            evidence.deletion_areas, names, least, most, random,
            title=f"Least responsive first costs less than every random order on {won} of {len(names)} tasks",
            dark=theme.is_dark(),
        )  # fmt: skip
        theme.show(figure, "atlas_deletion_areas")
    _caption(rows, of)
    st.dataframe(pd.DataFrame(table(by_task)), hide_index=True, key="atlas_evidence")
    captions.caption(
        "By task, means over seeds. Cut settled: the share of the scored steps after which the heads that Heart-LoRA's "
        "default cut would take are those that it takes at the end; ranks settled: after which rank correlation with "
        "the last scores stays above 0.95. Seeds agree: mean rank correlation of Taylor scores between recorded runs "
        "of LoRA that differ in the seed alone."
    )
    navigation.link("heads", "Measure it on a run of your own")


def answer(by_task: Mapping[str, Sequence[Row]]) -> str:
    """What the numbers say, in two sentences."""
    heads = next(iter(by_task.values()))[0]["heads"]
    chance = 1.96 / np.sqrt(heads - 1)
    taylor = [fmean(_known(own, "taylor/update")) for own in by_task.values()]
    beyond, count = sum(rho > chance for rho in taylor), len(taylor)
    saved = [fmean(fmean(row["areas"]["loss"]["random"]) - row["areas"]["loss"]["least"][0] for row in own)
             for own in by_task.values()]  # fmt: skip
    better = sum(value > 0 for value in saved)
    how = "Yes" if beyond == count else "No" if not beyond else "Often" if beyond > count / 2 else "Seldom"
    return (
        f"{how}: on {beyond} of {count} tasks a head's Taylor score tells, beyond chance, what switching its update "
        f"off does to the loss (rank correlation {fmean(taylor):.2f} on average). Switching off the least responsive "
        f"heads first costs less than random order on {better} of {count}."
    )


def areas(by_task: Mapping[str, Sequence[Row]]) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    """By task: the mean rise of the loss, in nats, with the least responsive first, the most responsive first, and of
    random order the lowest and the highest draw; each a mean over seeds."""
    least, most, random = [], [], []
    for own in by_task.values():
        rises = [{order: [v - row["before"][0] for v in values] for order, values in row["areas"]["loss"].items()}
                 for row in own]  # fmt: skip
        least.append(fmean(rise["least"][0] for rise in rises))
        most.append(fmean(rise["most"][0] for rise in rises))
        random.append((fmean(min(rise["random"]) for rise in rises), fmean(max(rise["random"]) for rise in rises)))
    return least, most, random


def table(by_task: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """A row for each task: how soon its scores are settled, how far seeds agree, how accurate its runs are."""
    return [
        {
            "task": task_card(task).title,
            "seeds": len({row["seed"] for row in own}),
            "test accuracy": percent(fmean(row["test_accuracy"] for row in own)),
            "cut settled after": percent(fmean(row["settled"] for row in own)),
            "ranks settled after": percent(fmean(row["ranked"] for row in own)),
            "seeds agree": _agreement(own[0]),
        }
        for task, own in by_task.items()
    ]


def _agreement(row: Row) -> str:
    """Mean rank correlation between the recorded runs like this one; '–' where there are not two."""
    grids = [
        Scores.of(one["history"][-1]["scores"]).summed()
        for one in recordings.runs().values()
        if all(one[name] == row[name] for name in ("task", "backbone", "method"))
    ]
    if len(grids) < 2:
        return "–"
    found = rank_correlations(np.stack(grids))
    return f"{fmean(float(found[pair]) for pair in combinations(range(len(grids)), 2)):.2f}"


def _known(rows: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None] or [float("nan")]


def _foretold(rhos: Mapping[str, Sequence[Sequence[float]]], of: str) -> str:
    known = {name: [fmean(v) for v in by_task if np.isfinite(v).all()] for name, by_task in rhos.items()}
    means = {name: fmean(values) for name, values in known.items() if values}
    best = max(means, key=lambda name: means[name])
    what = {"update": "an update", "head": "a head"}[of]
    return f"{best[0].upper()}{best[1:]} tells best what {what} is worth: rank correlation {means[best]:.2f} on average"


def _caption(rows: Sequence[Row], of: str) -> None:
    first, seeds = rows[0], sorted({row["seed"] for row in rows})
    captions.caption(
        f"{method_title(first['method'])} on {first['backbone']}, {first['epochs']} epochs, seed "
        f"{', '.join(map(str, seeds))}; the first {first['images']} validation images. Left: scores of each head "
        f"against the change of the loss with {OF[of]} off, both summed over projections; marks are means over seeds, "
        "bars their span. Right: the mean height of the loss above that with every update on, while more and more "
        "updates go in the order of Taylor scores; grey is the span of five random orders.",
        f"python -m peftcore bench heads --seeds {len(seeds)} --images {first['images']}",
    )
