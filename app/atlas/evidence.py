"""Does the score mean anything? On the embedded tasks: what scores foretell, what their order saves, how soon and how
surely they are there. Recorded with `python -m peftcore bench heads`. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
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
from peftcore.figures.method_style import method_title
from peftcore.figures.words import percent
from peftcore.task import task_card

RECORD = Path(__file__).resolve().parents[2] / "assets" / "head_scores.jsonl"
SCORES = {
    "taylor": "Taylor",
    "energy": "energy",
    "conductance": "conductance",
    "distance": "attention distance",
    "entropy": "attention entropy",
}
FEWEST = 3  # tasks, for an answer
RANKED = 0.95
# What is compared with a score: the change of the loss without the update or the head, or the size of that change.
OF = {"update": "its update", "size": "its update, whatever the sign", "head": "the head itself"}
Row = Mapping[str, Any]


@lru_cache(maxsize=1)
def record() -> tuple[Row, ...]:
    """The file's rows, one for each run."""
    if not RECORD.exists():
        return ()
    return tuple(map(json.loads, filter(str.strip, RECORD.read_text(encoding="utf-8").splitlines())))


def draw() -> None:
    """Two sections at the foot of the Atlas page; each is left out where nothing was recorded for it."""
    rows = record()
    if rows:
        _worth(rows)
    found = settling(tuple(recordings.runs()))
    if found:
        _settling(found)


def _worth(rows: Sequence[Row]) -> None:
    st.header("Does the score mean anything?", anchor="evidence")
    by_task = {task: [row for row in rows if row["task"] == task] for task in dict.fromkeys(r["task"] for r in rows)}
    st.markdown(f"**{answer(by_task)}**")
    of = links.choice(
        st.segmented_control, "atlas", "off", "switched off is", list(OF), default="update", show=OF.__getitem__,
        required=True,
    )  # fmt: skip
    names = [task_card(task).title for task in by_task]
    rhos = {SCORES[name]: [_known(own, name, of) for own in by_task.values()] for name in SCORES}
    heads = rows[0]["heads"]
    with st.container(key="wrap_evidence"):
        left, right = st.columns([11, 9], gap="medium")
    with left:
        title = foretold(rhos, of, heads)
        figure = plan(evidence.foretold, names, rhos, heads=heads, title=title, dark=theme.is_dark())
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
    navigation.link("heads", "Measure it on a run of your own")


def _settling(found: Sequence[Row]) -> None:
    st.header("How short can the warm-up be?", anchor="settling")
    shares = [row["cut settled after"] for row in found]
    st.markdown(
        f"**The heads that Heart-LoRA's default cut would take are settled after {percent(min(shares))} to "
        f"{percent(max(shares))} of training, {percent(fmean(shares))} on average.**"
    )
    shown = [
        {name: f"{value:.2f}" if isinstance(value, float) and np.isfinite(value) else "–" if isinstance(value, float)
         else value for name, value in row.items()}
        for row in found
    ]  # fmt: skip
    st.dataframe(pd.DataFrame(shown), hide_index=True, key="atlas_settling")
    captions.caption(
        "Recorded runs of LoRA on vit_micro, whose scores are means over all steps so far, recorded after each epoch; "
        "means over seeds. Cut settled after: the share of the steps from which on the cut is what it is at the end. "
        "Ranks settled after: from which on rank correlation with the last scores stays above 0.95. First epoch: that "
        "correlation after one epoch. Seeds agree: mean rank correlation of the last scores between seeds; always in "
        "the top ten: heads that are so for every seed, by chance as many as stand beside it.",
        "python -m peftcore heads RUN --stability",
    )


@st.cache_data(max_entries=4, show_spinner="Looking through recorded runs ...")
def settling(names: tuple[str, ...]) -> list[dict[str, Any]]:
    """A row for each task: how soon the scores of its recorded runs are what they are at the end, and whether seeds
    agree. Loads PyTorch where there is anything to say."""
    by_task: dict[str, list[recordings.Recorded]] = {}
    for one in map(recordings.runs().__getitem__, names):
        if (one["method"], one["backbone"]) == ("lora", "vit_micro"):
            by_task.setdefault(one["task"], []).append(one)
    return [_settled(runs) for runs in by_task.values()]


def _settled(runs: Sequence[recordings.Recorded]) -> dict[str, Any]:
    from peftcore.bench._stability import over_seeds, over_steps, settled

    steps, last = [], []
    for one in runs:
        history = [(event["step"], Scores.of(event["scores"])) for event in one["history"]]
        steps.append(over_steps(history))
        last.append(history[-1][1].summed())
    ends = [int(table["step"].iloc[-1]) for table in steps]
    same = over_seeds(last) if len(last) > 1 else None
    return {
        "task": runs[0]["title"],
        "seeds": len(runs),
        "cut settled after": fmean(settled(table) / end for table, end in zip(steps, ends, strict=True)),
        "ranks settled after": fmean(
            settled(table, "rho", RANKED) / end for table, end in zip(steps, ends, strict=True)
        ),
        "first epoch": fmean(float(table["rho"].iloc[0]) for table in steps),
        "seeds agree": same.mean if same else float("nan"),
        "always in the top ten": f"{len(same.always)} ({same.expected:.1f} by chance)" if same else "–",
    }


def answer(by_task: Mapping[str, Sequence[Row]]) -> str:
    """What the numbers say, in two sentences."""
    heads = next(iter(by_task.values()))[0]["heads"]
    chance = evidence.by_chance(heads)
    taylor = [fmean(_known(own, "taylor", "update")) for own in by_task.values()]
    sizes = [fmean(_known(own, "taylor", "size")) for own in by_task.values()]
    beyond, count = sum(rho > chance for rho in taylor), len(taylor)
    saved = [fmean(fmean(row["areas"]["loss"]["random"]) - row["areas"]["loss"]["least"][0] for row in own)
             for own in by_task.values()]  # fmt: skip
    better = sum(value > 0 for value in saved)
    how = "Yes" if beyond == count else "No" if not beyond else "Often" if beyond > count / 2 else "Seldom"
    if count < FEWEST:
        how = "Too few tasks were measured for an answer"
    return (
        f"{how}: on {beyond} of {count} tasks a head's Taylor score predicts, better than chance, what switching its "
        f"update off does to the loss (rank correlation {fmean(taylor):.2f} on average, {fmean(sizes):.2f} with the "
        f"size of that change). Switching off the least responsive heads first costs less than random order on "
        f"{better} of {count}."
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


def _known(rows: Sequence[Row], score: str, of: str) -> list[float]:
    """The rank correlation of a score with one of OF, for each row that has it; NaN where none has."""
    found = [row["sizes"][f"{score}/update"] if of == "size" else row[f"{score}/{of}"] for row in rows]
    return [value for value in found if value is not None] or [float("nan")]


def foretold(rhos: Mapping[str, Sequence[Sequence[float]]], of: str, heads: int) -> str:
    """What the figure of the same name shows: the score that predicts best, if it is better than chance."""
    known = {name: [fmean(v) for v in by_task if np.isfinite(v).all()] for name, by_task in rhos.items()}
    means = {name: fmean(values) for name, values in known.items() if values}
    best = max(means, key=lambda name: means[name])
    what = {"update": "what an update is worth", "size": "how much an update does", "head": "what a head is worth"}[of]
    tasks = f"{len(known[best])} task{'s' * (len(known[best]) > 1)}"
    if means[best] <= evidence.by_chance(heads):
        said = f"No score predicts {what} better than chance on average"
        return f"{said}: {best} comes nearest, {means[best]:.2f} over {tasks}"
    return f"{best[0].upper()}{best[1:]} predicts best {what}: rank correlation {means[best]:.2f} on {tasks}"


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
