"""Do runs make different mistakes? Image by image, of the runs that kept what they predicted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pandas as pd
import streamlit as st

from app import captions, errors, links, screen, theme, words
from app.compare import examples
from app.compare.entries import LEAST, Entry
from app.drawn import plan
from app.runs import kept_predictions
from peftcore.figures import compare as figures
from peftcore.figures.words import p_alone, p_value, percent
from peftcore.store.comparison import Comparison, comparison, unlike
from peftcore.store.results import Results

RARE = 0.05


def draw(entries: Sequence[Entry]) -> None:
    known: list[tuple[Entry, Results]] = []
    for entry in entries:
        found = kept_predictions.of(entry.record) if entry.record else examples.of(entry)
        if found is None and entry.record:
            kept_predictions.invite(entry.record, key=f"predict_again_{entry.code}")
        elif found is None:
            examples.invite(entry)
        elif known and (reason := unlike(known[0][1], found)):
            st.info(errors.plain(reason), icon=":material/info:")
        else:
            known.append((entry, found))
    if len(known) < LEAST:
        st.info("It takes two runs with predictions on the same test images.", icon=":material/compare_arrows:")
        return
    runs = [entry for entry, _ in known]
    whole, codes = comparison([found for _, found in known]), [entry.code for entry in runs]
    left, right = st.columns(2, gap="medium")
    with left:
        figure = plan(
            figures.disagreement,
            whole.disagreement,
            codes,
            images=len(whole.labels),
            **screen.fit(460, 420),
            dark=theme.is_dark(),
        )
        theme.show(figure, "compare_disagreement")
    with right:
        _vote(whole)
        _pairs(runs, whole)
    captions.caption(
        f"{len(whole.labels):,} test images of {words.task_title(runs[0].spec['task'])}, in percent. A vote: the class "
        "that most runs predict; in a tie, the one with the largest mean probability. McNemar's test, exact: how "
        "likely a split this uneven is, of the images that only one of the two gets right, if both were equally good. "
        "Many pairs make a small p likely by chance.",
        f"python -m peftcore compare {' '.join(codes)}" if all(map(str.isdigit, codes)) else None,
    )
    _parted(runs, whole)


def _vote(whole: Comparison) -> None:
    best, (low, high) = max(one.accuracy for one in whole.runs), whole.vote_interval
    columns = st.columns(3)
    columns[0].metric("Best alone", f"{best:.3f}")
    columns[1].metric(
        "Their vote", f"{whole.vote:.3f}", delta=f"95 %: {low:.2f} to {high:.2f}", delta_color="off", delta_arrow="off"
    )
    columns[2].metric("Any of them", f"{whole.any_right:.3f}", help="Images that at least one of the runs gets right.")


def verdict(first: str, second: str, pair: dict, images: int) -> str:
    """'Run 3 is better than run 1 (p = 0.003): it alone gets 40 images, run 1 alone 12.'"""
    one, two = pair["only_first"], pair["only_second"]
    if not one + two:
        return f"{_first(first)} and {second} are right and wrong on the same images."
    counts = f"{first} alone gets {one} images right, {second} alone {two}"
    if pair["p"] >= RARE:
        return f"No difference beyond chance ({p_value(pair['p'])}): {counts}, of {images:,}."
    better, worse = (first, second) if one > two else (second, first)
    return f"{_first(better)} is better than {worse} ({p_value(pair['p'])}): {counts}, of {images:,}."


def _first(name: str) -> str:
    """A run's name where a sentence begins: 'Run 3', and an example's as it is."""
    return name[:1].upper() + name[1:] if name.startswith("run ") else name


def _pairs(runs: Sequence[Entry], whole: Comparison) -> None:
    if len(runs) == 2:
        st.markdown(errors.plain(verdict(runs[0].name, runs[1].name, whole.pair(0, 1), len(whole.labels))))
        return
    rows = []
    for i, j in combinations(range(len(runs)), 2):
        pair = whole.pair(i, j)
        rows.append(
            {
                "runs": f"{runs[i].code} and {runs[j].code}", "differ": percent(whole.disagreement[i, j]),
                "first alone right": pair["only_first"], "second alone right": pair["only_second"],
                "p (McNemar)": p_alone(pair["p"]),
            }
        )  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="compare_pairs", height=260 if len(rows) > 6 else "content")


def _parted(runs: Sequence[Entry], whole: Comparison) -> None:
    """The images that some get right and others wrong."""
    st.header("Where they part", anchor=False)
    if not len(whole.parted):
        st.caption("On no image: whatever one gets right, all get right.")
        return
    with errors.sentences(stop=False):
        task = kept_predictions.images_of(whole.runs[0])
        last = (len(whole.parted) - 1) // kept_predictions.SHOWN
        page = links.number("page", 0, last, 0)
        some = whole.parted[page * kept_predictions.SHOWN : (page + 1) * kept_predictions.SHOWN]
        votes = [(entry.code, found) for entry, found in zip(runs, whole.runs, strict=True)]
        st.html(kept_predictions.cards(whole.runs[0], task, some, votes))
        kept_predictions.turn("compare", page, len(whole.parted))
