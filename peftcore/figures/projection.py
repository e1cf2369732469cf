"""What frozen features say about a task before training: a view in two dimensions, and how separable classes are.

Everything here takes features (n, width) as plain arrays. PCA is a linear view, so its distances are true as far as it
goes; t-SNE (van der Maaten and Hinton 2008) keeps neighbours together, but distances between groups mean nothing.
"""

from __future__ import annotations

import numpy as np

from peftcore import errors

PERPLEXITY = 30.0  # t-SNE's own default: about how many neighbours each image should have
FIRST = 50  # principal components that t-SNE starts from, as its authors do


def pca(features: np.ndarray, dimensions: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Principal components by singular values: points (n, dimensions), and the share of the variance of each.

    Each axis points to where its largest entry is positive, so the same features give the same picture.

    Raises:
        BadData: fewer than three rows, or numbers that are not finite.
    """
    from sklearn.decomposition import PCA

    features = _checked(features)
    points, shares = np.zeros((len(features), dimensions)), np.zeros(dimensions)
    if np.ptp(features, 0).any():
        fitted = PCA(min(dimensions, *features.shape), svd_solver="full").fit(features)
        points[:, : fitted.n_components_] = fitted.transform(features)
        shares[: fitted.n_components_] = fitted.explained_variance_ratio_
    return points, shares


def tsne(features: np.ndarray, perplexity: float = PERPLEXITY, seed: int = 0) -> np.ndarray:
    """t-SNE of the first 50 principal components, started from PCA: points (n, 2). The same seed gives the same points.

    Raises:
        BadData: as `pca`.
        InvalidSetting: a perplexity that is not above 0 and below the number of images.
    """
    from sklearn.manifold import TSNE

    features = _checked(features)
    if not 0 < perplexity < len(features):
        raise errors.InvalidSetting(
            f"Perplexity {perplexity:g} is not possible with {len(features)} images; choose above 0 and below "
            f"{len(features)}."
        )
    reduced, _ = pca(features, min(FIRST, *features.shape))
    fitted = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1)
    return fitted.fit_transform(reduced.astype(np.float32)).astype(float)


def linear_accuracy(
    train: np.ndarray, train_labels: np.ndarray, val: np.ndarray, val_labels: np.ndarray
) -> tuple[float, float]:
    """Accuracy on `val` of logistic regression on `train`, and the share of the most frequent class.

    Features are standardised by the mean and deviation of `train`. This is a look at the features, not a benchmark:
    nothing is tuned, and a linear probe with tuned settings may do better.

    Raises:
        BadData: as `pca`; or `train` has only one class, or `val` no images.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, val = _checked(train), np.asarray(val, float)
    train_labels, val_labels = np.asarray(train_labels), np.asarray(val_labels)
    if len(np.unique(train_labels)) < 2 or not len(val_labels):
        raise errors.BadData(
            f"A linear classifier needs training images of two classes and images to check it on; there are "
            f"{len(np.unique(train_labels))} classes and {len(val_labels)} images."
        )
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, train_labels)
    commonest = np.bincount(val_labels).max() / len(val_labels)
    return float(fitted.score(val, val_labels)), float(commonest)


def _checked(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, float)
    if features.ndim != 2 or len(features) < 3:
        raise errors.BadData(f"A projection needs at least three rows of features, but got shape {features.shape}.")
    if not np.isfinite(features).all():
        raise errors.BadData("Some features are not finite: the weights or the normalisation do not fit the images.")
    return features
