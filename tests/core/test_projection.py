"""Frozen features in two dimensions: PCA by its laws, t-SNE by its seed, and how separable the classes are."""

from __future__ import annotations

import numpy as np
import pytest

from peftcore.errors import BadData, InvalidSetting
from peftcore.figures.projection import linear_accuracy, pca, tsne
from peftcore.figures.tasks import nearest_agreement

RNG = np.random.default_rng(3)
CLOUD = RNG.normal(size=(60, 12)) * np.linspace(3, 0.3, 12)
LABELS = np.arange(60) % 3
APART = CLOUD + 40 * np.eye(12)[LABELS]  # three groups, far from each other


def gaps(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_pca_is_a_rotation_that_keeps_the_variance():
    points, shares = pca(CLOUD, 12)
    np.testing.assert_allclose(gaps(points), gaps(CLOUD), rtol=1e-9, atol=1e-9)
    assert shares.sum() == pytest.approx(1) and (np.diff(shares) <= 0).all()
    np.testing.assert_allclose(points.var(0) / points.var(0).sum(), shares, rtol=1e-9)
    covariance = np.cov(points.T)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-9)


def test_pca_is_the_singular_value_decomposition():
    centred = CLOUD - CLOUD.mean(0)
    u, s, axes = np.linalg.svd(centred, full_matrices=False)
    points, shares = pca(CLOUD)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(shares, (s**2 / (s**2).sum())[:2], rtol=1e-9)
    assert (np.sign(points[0]) == np.sign((centred @ axes.T)[0, :2] * [a[np.abs(a).argmax()] for a in axes[:2]])).all()


def test_pca_does_not_depend_on_where_the_features_lie_or_how_they_are_ordered():
    points, _ = pca(CLOUD)
    np.testing.assert_allclose(pca(CLOUD + 7)[0], points, atol=1e-9)
    order = RNG.permutation(60)
    np.testing.assert_allclose(pca(CLOUD[order])[0], points[order], atol=1e-9)


@pytest.mark.parametrize("features", [np.ones((5, 4)), np.ones((5, 1)), CLOUD[:3]])
def test_pca_of_next_to_nothing_is_finite(features):
    points, shares = pca(features)
    assert points.shape == (len(features), 2) and np.isfinite(points).all() and np.isfinite(shares).all()


def test_tsne_keeps_groups_together_and_follows_from_its_seed():
    points = tsne(APART, perplexity=5)
    assert points.shape == (60, 2) and nearest_agreement(points, LABELS) == 1.0
    np.testing.assert_array_equal(tsne(APART, perplexity=5), points)
    assert not np.allclose(tsne(APART, perplexity=15), points)


def test_a_line_parts_what_a_line_can_part():
    train, val = slice(0, 42), slice(42, 60)
    right, commonest = linear_accuracy(APART[train], LABELS[train], APART[val], LABELS[val])
    assert right == 1.0 and commonest == pytest.approx(1 / 3)
    shuffled = RNG.permutation(LABELS)
    assert linear_accuracy(CLOUD[train], shuffled[train], CLOUD[val], shuffled[val])[0] < 0.8


def test_a_line_does_not_depend_on_units():
    """Each feature is standardised to mean 0 and deviation 1; a constant one is ignored."""
    noisy = CLOUD + 2 * np.eye(12)[LABELS]
    said = linear_accuracy(noisy[:42], LABELS[:42], noisy[42:], LABELS[42:])
    other = np.column_stack([noisy * np.geomspace(0.01, 100, 12) + 5, np.full(60, 3.0)])
    assert linear_accuracy(other[:42], LABELS[:42], other[42:], LABELS[42:]) == said


@pytest.mark.parametrize(
    "wrong, kind",
    [
        (lambda: pca(CLOUD[:2]), BadData),
        (lambda: pca(CLOUD[0]), BadData),
        (lambda: pca(np.full((5, 3), np.nan)), BadData),
        (lambda: tsne(CLOUD, perplexity=60), InvalidSetting),
        (lambda: tsne(CLOUD, perplexity=0), InvalidSetting),
        (lambda: linear_accuracy(CLOUD, np.zeros(60, int), CLOUD, LABELS), BadData),
        (lambda: linear_accuracy(CLOUD, LABELS, CLOUD[:0], LABELS[:0]), BadData),
    ],
)
def test_what_cannot_be_projected_is_a_sentence(wrong, kind):
    with pytest.raises(kind, match=r"^[A-Z].{25,}\.$"):
        wrong()
