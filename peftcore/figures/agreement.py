"""Do tasks move the same heads? Rank correlation between their scores, and a permutation test of groups of tasks.

Everything here takes plain arrays: scores (tasks, layers, heads), NaN where a layer has no such head; groups, one label
per task. No figure and no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from peftcore.errors import BadData

DRAWS = 9_999  # random assignments of tasks to groups; the smallest p is one in ten thousand


@dataclass(frozen=True)
class Agreement:
    """Mean correlation of pairs of tasks within a group and between groups, and how rare such a difference is.

    `p`: the share of `len(drawn) + 1` assignments of labels to tasks (the drawn ones and the real one) under which
    within minus between is at least what it is (Phipson and Smyth 2010). `drawn`: that difference under each random
    assignment. `of_group`: the mean within each group of at least two tasks.
    """

    within: float
    between: float
    p: float
    drawn: np.ndarray
    of_group: dict[str, float]

    @property
    def difference(self) -> float:
        return self.within - self.between


def rank_correlations(scores: np.ndarray, within_layers: bool = False) -> np.ndarray:
    """Spearman's rho between tasks: (tasks, layers, heads) -> (tasks, tasks); ties share their mean rank.

    Args:
        within_layers: ranks are taken among all heads, then each layer's mean rank is taken out: what is left says
            which heads of a layer stand out, whatever the layers do. 0 where a task's heads are all alike.

    Raises:
        BadData: fewer than two tasks or three heads, or tasks that do not have the same heads.
    """
    from scipy.stats import rankdata

    scores = np.asarray(scores, float)
    there = np.isfinite(scores)
    if scores.ndim != 3 or len(scores) < 2 or not (there == there[:1]).all() or there[:1].sum() < 3:
        raise BadData(
            "Tasks are compared by the ranks of the same heads: give scores (tasks, layers, heads) of at least two "
            f"tasks and three heads, with gaps in the same places; given was shape {scores.shape}."
        )
    layers = np.nonzero(there[0])[0]
    ranks = np.stack([rankdata(task[there[0]]) for task in scores])  # (tasks, heads of all layers)
    if within_layers:
        for layer in np.unique(layers):
            ranks[:, layers == layer] -= ranks[:, layers == layer].mean(1, keepdims=True)
    ranks -= ranks.mean(1, keepdims=True)
    sizes = np.linalg.norm(ranks, axis=1)
    ranks /= np.where(sizes > 1e-9, sizes, 1.0)[:, None]
    return np.clip(ranks @ ranks.T, -1.0, 1.0)


def clustered(correlations: np.ndarray) -> np.ndarray:
    """An order of the tasks (tasks,) in which alike ones are neighbours: average linkage of 1 - rho, leaves turned so
    that neighbours are as close as they can be (Bar-Joseph et al. 2001)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(correlations) < 3:
        return np.arange(len(correlations))
    distances = np.maximum(1.0 - (correlations + correlations.T) / 2, 0.0)
    np.fill_diagonal(distances, 0.0)
    return leaves_list(linkage(squareform(distances, checks=False), "average", optimal_ordering=True))


def compare_groups(
    correlations: np.ndarray,
    groups: Sequence[str],
    *,
    strata: Sequence[object] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Agreement:
    """Whether tasks of one group agree more than tasks of different groups; one-sided.

    The null: labels have nothing to do with the scores, so every assignment of these labels to these tasks is equally
    likely. Tasks are permuted, not pairs, since the pairs of one task are not independent.

    Args:
        correlations: (tasks, tasks). groups: one label per task.
        strata: one value per task, such as a setting that it was trained with: labels are then permuted only among
            tasks of one value, so that a difference between values cannot pass for one between groups.

    Raises:
        BadData: no pair of tasks within a group, or none between groups.
    """
    labels = np.unique(np.asarray(groups), return_inverse=True)[1]
    first, second = np.triu_indices(len(labels), 1)
    pairs = correlations[first, second]
    together = labels[first] == labels[second]
    if len(labels) != len(correlations) or not together.any() or together.all():
        raise BadData(
            "Groups can be compared where two tasks share a group and two do not; given were "
            f"{len(correlations)} tasks in the groups {', '.join(sorted(set(groups))) or 'of nobody'}."
        )
    rng = np.random.default_rng(seed)
    drawn = np.empty(draws)
    for start in range(0, draws, 1000):
        count = min(1000, draws - start)
        mixed = labels[_orders(rng, count, strata or [0] * len(labels))]  # (draws, tasks)
        same = mixed[:, first] == mixed[:, second]  # (draws, pairs)
        inside = same.sum(1)
        sums = same @ pairs
        drawn[start : start + count] = sums / inside - (pairs.sum() - sums) / (len(pairs) - inside)
    within, between = float(pairs[together].mean()), float(pairs[~together].mean())
    rare = int((drawn >= within - between - 1e-12).sum())
    return Agreement(within, between, (rare + 1) / (draws + 1), drawn, dict(_of_groups(correlations, groups)))


def _orders(rng: np.random.Generator, count: int, strata: Sequence[object]) -> np.ndarray:
    """(count, tasks): random orders of the tasks in which each keeps a place of its own stratum."""
    orders = np.tile(np.arange(len(strata)), (count, 1))
    for value in dict.fromkeys(strata):
        places = np.array([place for place, own in enumerate(strata) if own == value])
        orders[:, places] = rng.permuted(np.tile(places, (count, 1)), axis=1)
    return orders


def _of_groups(correlations: np.ndarray, groups: Sequence[str]) -> Iterator[tuple[str, float]]:
    for group in dict.fromkeys(groups):
        members = [place for place, own in enumerate(groups) if own == group]
        if len(members) > 1:
            yield group, float(np.mean([correlations[pair] for pair in combinations(members, 2)]))


def layer_profiles(scores: np.ndarray) -> np.ndarray:
    """Each task's mean over the heads of a layer, as multiples of its median head: (tasks, layers)."""
    scores = np.asarray(scores, float)
    medians = np.nanmedian(np.abs(scores), axis=(1, 2), keepdims=True)
    return np.nanmean(scores / np.where(medians > 0, medians, 1.0), axis=2)


def explained_by_layers(scores: np.ndarray) -> float:
    """The share of the variance of the ranks of heads that their layer explains, a mean over tasks: 0 to 1."""
    from scipy.stats import rankdata

    shares = []
    for task in np.asarray(scores, float):
        there = np.isfinite(task)
        ranks = np.full(task.shape, np.nan)
        ranks[there] = rankdata(task[there])
        means = np.where(there, np.nanmean(ranks, axis=1, keepdims=True), np.nan)
        shares.append(np.nanvar(means) / max(float(np.nanvar(ranks)), 1e-12))
    return float(np.mean(shares))
