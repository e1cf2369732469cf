"""Do tasks move the same heads: planted structure is found, and where there is none the test says so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, spearmanr

from peftcore.errors import BadData
from peftcore.figures.agreement import clustered, compare_groups, explained_by_layers, layer_profiles, rank_correlations

GROUPS = ["natural"] * 5 + ["specialised"] * 4 + ["structured"] * 6


def planted(strength: float, seed: int = 0, groups: list[str] = GROUPS, layers: float = 0.0) -> np.ndarray:
    """Scores (tasks, 6 layers, 8 heads): noise, a pattern that a group shares, and layers that all tasks share."""
    rng = np.random.default_rng(seed)
    shared = {group: rng.normal(size=(6, 8)) for group in dict.fromkeys(groups)}
    depth = layers * np.arange(6)[:, None]
    return np.stack([strength * shared[group] + rng.normal(size=(6, 8)) + depth for group in groups])


def test_correlations_are_scipys():
    scores = planted(1.0)
    np.testing.assert_allclose(rank_correlations(scores), spearmanr(scores.reshape(len(scores), -1).T).statistic)


def test_gaps_are_left_out_and_ties_share_a_rank():
    scores = np.round(planted(1.0), 0)
    scores[:, 2, 5:] = np.nan
    there = scores[:, np.isfinite(scores[0])]
    np.testing.assert_allclose(rank_correlations(scores), spearmanr(there.T).statistic)


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 1, 2), (3, 4)])
def test_too_little_to_compare_is_a_sentence(shape):
    with pytest.raises(BadData, match="at least two tasks"):
        rank_correlations(np.ones(shape))


def test_tasks_with_other_heads_are_not_compared():
    scores = planted(1.0)
    scores[3, 0, 0] = np.nan
    with pytest.raises(BadData, match="gaps in the same places"):
        rank_correlations(scores)


def test_a_planted_group_structure_is_found():
    found = compare_groups(rank_correlations(planted(1.5)), GROUPS)
    assert found.within > 0.5 > 0.2 > found.between and found.p == 1e-4
    assert set(found.of_group) == set(GROUPS) and min(found.of_group.values()) > 0.4


def test_layers_that_all_tasks_share_are_no_group_structure():
    """The layers alone make a high correlation between all tasks; within layers nothing of it is left."""
    scores = planted(0.0, layers=3.0)
    whole, inside = (rank_correlations(scores, within_layers=inside) for inside in (False, True))
    assert compare_groups(whole, GROUPS).between > 0.8 and explained_by_layers(scores) > 0.8
    assert abs(compare_groups(inside, GROUPS).between) < 0.1 and compare_groups(inside, GROUPS).p > 0.05


def test_heads_that_a_group_shares_are_found_within_layers():
    inside = rank_correlations(planted(1.5, layers=3.0), within_layers=True)
    assert compare_groups(inside, GROUPS).p < 0.001


def test_shuffled_labels_give_a_uniform_p():
    correlations, rng = rank_correlations(planted(1.5)), np.random.default_rng(1)
    values = [compare_groups(correlations, list(rng.permutation(GROUPS)), draws=199, seed=n).p for n in range(300)]
    assert kstest(values, "uniform").pvalue > 0.01
    assert np.mean(np.array(values) <= 0.05) == pytest.approx(0.05, abs=0.04)


def test_a_setting_that_goes_with_the_groups_does_not_pass_for_them():
    """Scores follow the setting alone, and the setting follows the groups but for one task: strata tell them apart."""
    settings = ["a"] * 6 + ["b"] * 9
    correlations = rank_correlations(planted(1.5, groups=settings))
    assert compare_groups(correlations, GROUPS).p < 0.05 < compare_groups(correlations, GROUPS, strata=settings).p


def test_groups_without_pairs_are_a_sentence():
    correlations = rank_correlations(planted(1.0))
    for groups in (["one"] * 15, [str(n) for n in range(15)], GROUPS[:3]):
        with pytest.raises(BadData, match="share a group"):
            compare_groups(correlations, groups)


def test_alike_tasks_become_neighbours():
    mixed = [GROUPS[n] for n in np.random.default_rng(3).permutation(len(GROUPS))]
    order = clustered(rank_correlations(planted(2.0, groups=mixed)))
    assert sorted(order) == list(range(len(mixed)))
    changes = sum(mixed[a] != mixed[b] for a, b in zip(order, order[1:], strict=False))
    assert changes == 2
    assert clustered(np.eye(2)).tolist() == [0, 1]


def test_profiles_are_multiples_of_the_median_head():
    scores = np.array([[[1.0, 3.0], [5.0, np.nan]], [[20.0, 60.0], [100.0, np.nan]]])
    np.testing.assert_allclose(layer_profiles(scores), [[2 / 3, 5 / 3]] * 2)
