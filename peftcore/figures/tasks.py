"""What a task's data look like: images per class, and the images as points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import labels, theme, words

# Greys, since splits are neither methods nor components; patterns tell them apart.
SPLITS = {"train": ("#5F6B7A", ""), "val": ("#9AA5B1", "/"), "test": ("#C9D0D8", ".")}
MOST_NEIGHBOURS = 3000
MOST_NAMED = 24  # most classes in a legend; with more, each point names its own


def class_balance(
    counts: Mapping[str, int] | Mapping[str, Mapping[str, int]],
    *,
    dark: bool = False,
    height: int | None = None,
    line: int = words.TITLE_WIDTH,
) -> go.Figure:
    """Images per class, stacked by split.

    Args:
        counts: {class: images} or {split: {class: images}}; splits are "train", "val", "test".
        line: the title's characters per line.
    """
    if not counts:
        raise BadData("Class balance needs at least one class with its number of images.")
    by_split = isinstance(next(iter(counts.values())), Mapping)
    splits: dict[str, Any] = dict(counts) if by_split else {"train": dict(counts)}
    classes = list(dict.fromkeys(name for split in splits.values() for name in split))
    names = [words.plain(name) for name in classes]
    figure = go.Figure()
    for split, part in splits.items():
        colour, pattern = SPLITS.get(split, ("#8DA0B3", ""))
        figure.add_bar(
            orientation="h",
            y=names,
            x=[part.get(name, 0) for name in classes],
            name=split,
            marker=dict(
                color=colour,
                pattern=dict(
                    shape=pattern, size=6, solidity=0.25, fgcolor="#FFFFFF", bgcolor=colour, fillmode="replace"
                ),
            ),
            hovertemplate=f"%{{y}}: %{{x}} images in {split}<extra></extra>",
        )
    train = next(iter(splits.values())) if "train" not in splits else splits["train"]
    smallest, largest = min(train.get(name, 0) for name in classes), max(train.get(name, 0) for name in classes)
    if smallest == largest:
        title = f"Balanced: {words.how_many(largest, 'training image')} in each of {len(classes)} classes"
    elif smallest == 0:
        none = sum(not train.get(name) for name in classes)
        title = f"{none} of {len(classes)} classes {'has' if none == 1 else 'have'} no training image"
    elif largest - smallest == 1:
        title = f"Balanced: {smallest} or {largest} training images in each of {len(classes)} classes"
    elif largest < 1.05 * smallest:
        title = f"Nearly balanced: {smallest} to {largest} training images in each of {len(classes)} classes"
    else:
        title = f"The largest class has {words.times(largest / smallest)} the training images of the smallest"
    figure.update_xaxes(title_text="images")
    # Strings such as "0" to "9" are names here, not numbers.
    figure.update_yaxes(
        type="category",
        autorange="reversed",
        showgrid=False,
        ticks="",
        **labels.short_ticks(names, classes, 40),
    )
    figure.update_layout(barmode="stack", bargap=0.25, showlegend=len(splits) > 1)
    return theme.finish(
        figure, title, name="class-balance", dark=dark, height=height or 150 + 22 * min(len(classes), 30), line=line
    )


def nearest_agreement(points: np.ndarray, labels: np.ndarray) -> float:
    """Share of points whose nearest other point has their label; of the first MOST_NEIGHBOURS points."""
    points, labels = np.asarray(points, float)[:MOST_NEIGHBOURS], np.asarray(labels)[:MOST_NEIGHBOURS]
    squares = (points**2).sum(1)
    distance = squares[:, None] + squares[None] - 2 * points @ points.T  # (n, n)
    np.fill_diagonal(distance, np.inf)
    return float((labels[distance.argmin(1)] == labels).mean())


def projection(
    points: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    title: str | None = None,
    axes: tuple[str, str] = ("", ""),
    dark: bool = False,
    height: int = 480,
    width: int | None = None,
) -> go.Figure:
    """Images as points in two dimensions, a colour and a marker per class; `customdata` is the image's index.

    Args:
        points: (n, 2). labels: (n,) class indices. classes: their names.
        title: the finding; by default how many points lie nearest to one of their own class, which otherwise is the
            note under the title.
        axes: what each of them is.
    """
    points, labels = np.asarray(points, float), np.asarray(labels, int)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(labels) or not len(points):
        given = f"{points.shape} and {labels.shape}"
        raise BadData(f"A projection needs points (n, 2) and labels (n,), but got {given}.")
    figure = go.Figure()
    for index, name in enumerate(classes):
        chosen = np.flatnonzero(labels == index)
        if len(chosen):
            figure.add_scatter(
                x=points[chosen, 0],
                y=points[chosen, 1],
                mode="markers",
                name=words.plain(name),
                customdata=chosen.tolist(),
                marker=dict(
                    color=theme.CATEGORIES[index % len(theme.CATEGORIES)],
                    size=7,
                    opacity=0.85,
                    symbol=theme.SYMBOLS[(index + index // len(theme.CATEGORIES)) % len(theme.SYMBOLS)],
                    line=dict(width=0.4, color=theme.page(dark)),
                ),
                hovertemplate=f"{words.plain(name)}, image %{{customdata}}<extra></extra>",
            )
    agree = f"{words.percent(nearest_agreement(points, labels))} of the images lie nearest to one of their own class"
    bare = dict(showticklabels=False, ticks="", showgrid=False)
    figure.update_xaxes(**bare, title_text=axes[0])
    figure.update_yaxes(**bare, title_text=axes[1], scaleanchor="x")
    figure.update_layout(showlegend=len(figure.data) <= MOST_NAMED)
    return theme.finish(
        figure,
        title or agree,
        name="projection",
        note=agree if title else "",
        dark=dark,
        height=height,
        width=width,
        margin=dict(l=16, b=24),
    )
