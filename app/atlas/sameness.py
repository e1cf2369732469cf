"""Do tasks of one group move the same heads? The numbers of the adapters that are shown, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from app import captions, errors, glossary, links, screen, theme
from app.atlas.choice import Card, Chosen
from app.drawn import plan
from peftcore.errors import BadData
from peftcore.figures import alike_tasks
from peftcore.figures.agreement import (
    DRAWS,
    Agreement,
    clustered,
    compare_groups,
    explained_by_layers,
    layer_profiles,
    rank_correlations,
)
from peftcore.figures.atlas import multiples
from peftcore.figures.words import percent
from peftcore.task import GROUPS

HOWS = {"heads": "all heads", "inside": "within each layer"}
OVER = {"heads": "over all heads", "inside": "within each layer"}
HELP = (
    "**All heads**: Spearman's rank correlation over all heads of all layers. **Within each layer**: each layer's mean "
    "rank is taken out first, so that layers which move much in every task do not count as the same heads."
)
RARE = 0.05


@dataclass(frozen=True)
class Tasks:
    """One grid per task, (tasks, layers, heads): the mean over its adapters, as multiples of the median head."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    scores: np.ndarray
    setting: tuple[object, ...]  # of each task, what it was trained with where that differs between tasks
    setting_name: str


def tasks_of(cards: Sequence[Card]) -> Tasks:
    """Cards of one backbone, as tasks in an order of their own. Heads that one adapter lacks are left out of all.

    Raises:
        BadData: adapters of several backbones, or of one task.
    """
    by_task: dict[str, list[Card]] = {}
    for card in sorted(cards, key=lambda card: (GROUPS.index(card.entry.group), card.entry.id)):
        by_task.setdefault(card.entry.task, []).append(card)
    if len({(card.entry.backbone, card.values.shape) for card in cards}) != 1:
        raise BadData("Tasks are compared on one backbone, whose heads they share; choose one above.")
    if len(by_task) < 3:
        raise BadData("It takes three tasks, two of them of one group; choose another backbone, method or score above.")
    grids = [np.mean([multiples(card.values) for card in group], axis=0) for group in by_task.values()]
    firsts = [group[0].entry for group in by_task.values()]
    scores = np.stack(grids)
    scores[:, ~np.isfinite(scores).all(0)] = np.nan
    varied = [
        name
        for name in dict.fromkeys(name for entry in firsts for name in entry.settings)
        if len({entry.settings.get(name) for entry in firsts}) > 1
    ]
    name = varied[0] if varied else ""
    return Tasks(
        tuple(entry.title for entry in firsts),
        tuple(entry.group for entry in firsts),
        scores,
        tuple(entry.settings.get(name) for entry in firsts) if name else (),
        name,
    )


@st.cache_data(max_entries=64, show_spinner=False)
def tested(
    scores: np.ndarray, groups: tuple[str, ...], inside: bool, strata: tuple[object, ...] = ()
) -> tuple[np.ndarray, Agreement]:
    """Correlations (tasks, tasks) and their comparison by group."""
    correlations = rank_correlations(scores, inside)
    return correlations, compare_groups(correlations, groups, strata=strata or None)


def verdict(found: Agreement, inside: bool = False) -> str:
    """What the numbers say, in a sentence."""
    much = f"{found.within:.2f} within groups, {found.between:.2f} between them (p = {found.p:.2g})"
    if found.p >= RARE:
        return f"No more than chance would have it: {much}"
    what = "agree on which heads of a layer stand out" if inside else "agree more with each other"
    return f"Tasks of one group {what}: {much}"


def answer(whole: Agreement, inside: Agreement, kept: Agreement | None, explained: float, setting: str = "") -> str:
    """The answer to the question, as long as it is: heads, or only layers.

    Args:
        whole, inside: over all heads, and within each layer.
        kept: over all heads, with labels permuted only among tasks of one `setting`.
        explained: the share of the variance of ranks that layers explain.
    """
    layers = f"{percent(explained)} of how heads rank is their layer"
    if whole.p < RARE <= inside.p:
        text = (
            f"Not the heads, but to some degree the layers: {layers}; over all heads, tasks of a group agree more, and "
            "within layers no more than by chance."
        )
    elif whole.p < RARE:
        text = f"Yes, and not by layers alone: within layers, too, tasks of a group agree more ({layers})."
    elif inside.p < RARE:
        text = f"Within layers, yes; over all heads it does not show ({layers})."
    else:
        text = f"No: groups differ no more than by chance ({layers})."
    if kept and whole.p < RARE <= kept.p:
        text += f" Among tasks trained with one {setting}, even that may be chance (p = {kept.p:.2g})."
    return text


def draw(chosen: Chosen) -> None:
    """The question, its answer, the matrix with the test, and the layers by group."""
    st.header("Do tasks of one group move the same heads?", anchor=False)
    try:
        tasks = tasks_of(chosen.cards)
        both = {how: tested(tasks.scores, tasks.groups, how == "inside") for how in HOWS}
    except BadData as error:
        st.info(f"There is too little here to compare. {errors.plain(str(error))}", icon=":material/info:")
        return
    whole, inside = both["heads"][1], both["inside"][1]
    strata = {
        how: tested(tasks.scores, tasks.groups, how == "inside", tasks.setting)[1] for how in HOWS if tasks.setting
    }
    explained = explained_by_layers(tasks.scores)
    st.markdown(f"**{answer(whole, inside, strata.get('heads'), explained, tasks.setting_name)}**")
    how = links.choice(
        st.segmented_control, "atlas", "compare", "Compare ranks over", list(HOWS), default="heads",
        show=HOWS.__getitem__, required=True, help=glossary.linked(HELP),
    )  # fmt: skip
    correlations, found = both[how]
    with st.container(key="wrap_sameness"):
        left, right = st.columns([11, 9], gap="medium")
    with left:
        _matrix(tasks, correlations, found, how, chosen)
    with right:
        _test(tasks, {name: agreement for name, (_, agreement) in both.items()}, strata, how)
    _profiles(tasks, chosen)


def _matrix(tasks: Tasks, correlations: np.ndarray, found: Agreement, how: str, chosen: Chosen) -> None:
    order = clustered(correlations)
    figure = plan(
        alike_tasks.likeness,
        correlations[np.ix_(order, order)],
        [tasks.names[place] for place in order],
        [tasks.groups[place] for place in order],
        title=verdict(found, how == "inside"),
        **screen.fit(640, 640),
        dark=theme.is_dark(),
    )
    theme.show(figure, "atlas_likeness")
    marks = ", ".join(f"{mark} {group}" for group, (mark, *_) in alike_tasks.GROUPS.items() if group in tasks.groups)
    captions.caption(
        f"Spearman's rank correlation between tasks, {OVER[how]}: {chosen.score} in {chosen.of}, "
        f"{len(chosen.cards)} adapters of {len(tasks.names)} tasks on {chosen.cards[0].entry.backbone}. {marks}. "
        "Alike tasks are neighbours: average linkage of 1 minus the correlation."
    )


def _test(tasks: Tasks, both: dict[str, Agreement], strata: dict[str, Agreement], how: str) -> None:
    found = both[how]
    rare = percent(found.p) if found.p > 1 / DRAWS else f"fewer than one in {DRAWS + 1:,}"
    title = f"Random groups differ as much in {rare} of {DRAWS + 1:,} assignments"
    theme.show(plan(alike_tasks.by_chance, found, title=title, dark=theme.is_dark()), "atlas_by_chance")
    rows = [_row(HOWS[name], "among all tasks", agreement) for name, agreement in both.items()]
    rows += [_row(HOWS[name], f"among tasks of one {tasks.setting_name}", kept) for name, kept in strata.items()]
    st.markdown("\n".join(["| ranks | labels permuted | within | between | p |", "|---|---|---:|---:|---:|", *rows]))
    sizes = ", ".join(f"{tasks.groups.count(group)} {group}" for group in dict.fromkeys(tasks.groups))
    means = ", ".join(f"{group} {value:.2f}" for group, value in found.of_group.items())
    captions.caption(
        f"The null: groups have nothing to do with the scores, so every assignment of the labels ({sizes}) to the "
        f"tasks is equally likely. p is the share of {DRAWS:,} random assignments and the real one whose mean "
        f"correlation within groups minus between groups is at least the real one's; one-sided. Means within groups: "
        f"{means}."
        + (
            f" Tasks were trained with different {tasks.setting_name}s, which may make them alike too: "
            f"the last rows permute labels only among tasks of one {tasks.setting_name}."
            if tasks.setting_name
            else ""
        )
        + f" {len(rows)} tests for each choice of projections, none corrected for the others: a p near 0.05 is a hint."
    )


def _row(over: str, labels: str, found: Agreement) -> str:
    return f"| {over} | {labels} | {found.within:.2f} | {found.between:.2f} | {found.p:.4f} |"


def _profiles(tasks: Tasks, chosen: Chosen) -> None:
    profiles = layer_profiles(tasks.scores)
    share = explained_by_layers(tasks.scores)
    top = int(profiles.mean(0).argmax())
    figure = plan(alike_tasks.group_profiles,
        profiles, tasks.names, tasks.groups,
        title=f"Layer {top + 1} moves most on average; the layer explains {percent(share)} of how heads rank",
        dark=theme.is_dark(),
    )  # fmt: skip
    theme.show(figure, "atlas_profiles")
    captions.caption(
        f"Mean {chosen.score} of each layer's heads in {chosen.of}, as multiples of the task's median head; thin lines "
        "are tasks, thick ones the means of their groups. The layer's share of the variance of ranks is a mean over "
        "tasks." + _coarse(chosen)
    )


def _coarse(chosen: Chosen) -> str:
    """A caution where energies are of adapters of one or two bits."""
    bits = [card.entry.settings.get("bits", 32) for card in chosen.cards]
    if chosen.score != "energy" or min(bits) > 2:
        return ""
    return (
        f" These adapters have {min(bits)} bit per weight, so the rows of a matrix are of nearly one size and the "
        "heads of a layer can hardly differ in energy: that heads differ little within layers is partly made by the "
        "format."
    )
