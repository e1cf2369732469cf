"""Curves of one run over its steps: loss and accuracy, learning rate, gradient norm.

Every axis spans the whole run from the first step on, so that nothing moves while a live curve grows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.accuracy import Ground, share
from peftcore.figures.method_style import kind_dash, method_colour, method_kind


def floats(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A column as floats; (0,) where the frame is still empty."""
    if frame is None or not len(frame):
        return np.zeros(0)
    if name not in frame:
        there = ", ".join(map(str, frame.columns))
        raise BadData(f"A curve needs the column {name!r}; this frame has {there}.")
    return frame[name].to_numpy(float)


def smooth(values: np.ndarray, total_steps: int) -> np.ndarray:
    """Debiased exponential moving average over a 25th of the run; it only looks back, so the past stays put."""
    span = max(3, total_steps // 25)
    return pd.Series(values).ewm(span=span, adjust=True).mean().to_numpy()


def loss_top(losses: Iterable[np.ndarray]) -> float:
    """Where an axis of several runs' losses ends: at the highest, but no further than thrice the highest at which one
    begins, or a run that bursts presses the others flat; its curve leaves at the top."""
    finite = [own for one in losses if len(own := np.asarray(one, float)[np.isfinite(one)])]
    if not finite:
        return 2.5
    return words.ceiling(1.02 * min(max(own.max() for own in finite), 3 * max(own[0] for own in finite)))


def loss_curve(
    steps: pd.DataFrame,
    evaluations: pd.DataFrame,
    total_steps: int,
    *,
    method: str = "",
    kind: str | None = None,
    ground: Ground | None = None,
    dark: bool = False,
    height: int = 400,
) -> go.Figure:
    """Training loss above, accuracy below, on one axis of steps.

    Args:
        steps: columns `step`, `loss`; empty before the first step.
        evaluations: columns `step`, `split` ("val" | "test"), `accuracy` (0 to 1), optionally `loss`.
        total_steps: the length of the whole run; the axis ends there from the start.
        ground: of the test accuracy; chance is drawn and named.
        method, kind: for the method's colour and the kind's dash.
    """
    colour = method_colour(method, kind, dark) if method else theme.ink(dark)
    step, loss = floats(steps, "step"), floats(steps, "loss")
    if not len(step):  # an empty curve keeps the panel and the legend's entries in place
        step, loss = np.array([np.nan]), np.array([np.nan])
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.55, 0.45], vertical_spacing=0.07)
    figure.add_scatter(
        x=step,
        y=loss,
        mode="lines",
        line=dict(color=colour, width=1),
        opacity=0.6 if dark else 0.3,
        name="each step",
        hovertemplate="step %{x}<br>loss %{y:.3f}<extra></extra>",
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=step,
        y=smooth(loss, total_steps),
        mode="lines",
        line=dict(color=colour, width=2.5),
        name="smoothed",
        hovertemplate="step %{x}<br>smoothed loss %{y:.3f}<extra></extra>",
        row=1,
        col=1,
    )
    if ground:
        mark_chance(figure, ground.chance, max(1, total_steps), row=2, col=1, dark=dark)
    _evaluations(figure, evaluations, colour, kind_dash(method_kind(method, kind)), dark)
    losses = loss
    if evaluations is not None and "loss" in evaluations:
        losses = np.concatenate([loss, floats(evaluations, "loss")])
    top = words.ceiling(float(losses[np.isfinite(losses)].max()) * 1.02) if np.isfinite(losses).any() else 2.5
    figure.update_xaxes(range=[0, max(1, total_steps)])
    figure.update_xaxes(title_text="step", row=2, col=1)
    figure.update_yaxes(title_text="loss (nats)", range=[0, top], row=1, col=1)
    figure.update_layout(showlegend=True)
    figure.update_yaxes(title_text="accuracy", range=[0, 1.03], tickvals=[0, 0.25, 0.5, 0.75, 1], row=2, col=1)
    return theme.finish(
        figure,
        _progress_title(step, loss, evaluations, total_steps, ground),
        name=f"loss-{total_steps}",
        dark=dark,
        height=height,
    )


def _evaluations(figure: go.Figure, evaluations: pd.DataFrame, colour: str, dash: str, dark: bool) -> None:
    """Accuracy on validation images as a line, on test images as one large star; both losses above."""
    if evaluations is None or not len(evaluations):
        evaluations = pd.DataFrame({"step": [np.nan], "split": ["val"], "accuracy": [np.nan]})
    for split, title, marker in (
        ("val", "validation", dict(symbol="circle", size=7, color=colour)),
        ("test", "test", dict(symbol="star", size=15, color=colour, line=dict(color=theme.ink(dark), width=1))),
    ):
        part = evaluations[evaluations["split"] == split]
        if not len(part):
            continue
        lines = "lines+markers" if split == "val" else "markers"
        figure.add_scatter(
            x=part["step"],
            y=part["accuracy"],
            mode=lines,
            line=dict(color=colour, width=2, dash=dash),
            marker=marker,
            name=title,
            cliponaxis=False,
            hovertemplate=f"step %{{x}}<br>{title} accuracy %{{y:.3f}}<extra></extra>",
            row=2,
            col=1,
        )
        if split == "val" and "loss" in part and part["loss"].notna().any():
            figure.add_scatter(
                x=part["step"],
                y=part["loss"],
                mode="markers",
                name="validation loss",
                marker=dict(symbol="circle-open", size=7, color=colour, line=dict(width=1.5)),
                hovertemplate="step %{x}<br>validation loss %{y:.3f}<extra></extra>",
                showlegend=False,
                cliponaxis=False,
                row=1,
                col=1,
            )


def mark_chance(
    figure: go.Figure, chance: float, end: float, *, start: float = 0.0, dark: bool = False, **panel: int
) -> None:
    """A thin, named line at the accuracy of guessing, in a panel of accuracies from `start` to `end`; `panel`: its row
    and col."""
    figure.add_scatter(
        x=[start, end],
        y=[chance, chance],
        mode="lines+text",
        text=["", f"chance {share(chance)}"],
        textposition="top left",
        textfont=dict(size=11, color=theme.muted(dark)),
        line=dict(color=theme.muted(dark), width=1, dash="dot"),
        name="chance",
        showlegend=False,
        hoverinfo="skip",
        **panel,
    )


def _progress_title(
    step: np.ndarray, loss: np.ndarray, evaluations: pd.DataFrame, total_steps: int, ground: Ground | None = None
) -> str:
    """What the curves say now, in one short line."""
    if evaluations is not None and len(evaluations):
        test = evaluations[evaluations["split"] == "test"]
        if len(test):
            accuracy = float(test["accuracy"].iloc[-1])
            if ground and ground.at_chance(accuracy):
                return ground.stayed(accuracy)
            sure = ground.text(accuracy) if ground else ""
            return f"Reached a test accuracy of {accuracy:.3f}" + (f" (95 %: {sure})" if sure else "")
        latest = evaluations.iloc[-1]
        return f"Validation accuracy {latest['accuracy']:.3f} at step {int(latest['step'])} of {total_steps}"
    if np.isfinite(step[-1]):
        return f"Loss {loss[-1]:.3f} at step {int(step[-1])} of {total_steps}"
    return f"Waiting for the first of {total_steps} steps"


def _small(
    steps: pd.DataFrame,
    total_steps: int,
    column: str,
    y_title: str,
    title: str,
    colour: str,
    digits: str,
    dark: bool,
    height: int,
    top: float | None = None,
) -> go.Figure:
    step, values = floats(steps, "step"), floats(steps, column)
    figure = go.Figure(
        go.Scatter(
            x=step,
            y=values,
            mode="lines",
            line=dict(color=colour, width=2),
            showlegend=False,
            hovertemplate=f"step %{{x}}<br>{y_title} %{{y:{digits}}}<extra></extra>",
        )
    )
    finite = values[np.isfinite(values)]
    top = top or (words.ceiling(float(finite.max()) * 1.02) if len(finite) else 1.0)
    figure.update_xaxes(title_text="step", range=[0, max(1, total_steps)])
    figure.update_yaxes(title_text=y_title, range=[0, top], nticks=4, exponentformat="power")
    return theme.finish(figure, title, name=f"{column}-{total_steps}", dark=dark, height=height)


def learning_rate_curve(
    steps: pd.DataFrame, total_steps: int, *, peak: float | None = None, dark: bool = False, height: int = 200
) -> go.Figure:
    """The learning rate by step; `peak`, the recipe's rate, keeps the axis in place during the warm-up."""
    now = floats(steps, "lr")
    title = f"Learning rate {now[-1]:.2g}" if len(now) else "Learning rate"
    return _small(
        steps,
        total_steps,
        "lr",
        "learning rate",
        title,
        theme.ink(dark),
        ".2e",
        dark,
        height,
        peak * 1.05 if peak else None,
    )


def gradient_norm(steps: pd.DataFrame, total_steps: int, *, dark: bool = False, height: int = 200) -> go.Figure:
    """The norm of the whole gradient by step."""
    now = floats(steps, "grad_norm")
    title = f"Gradient norm {now[-1]:.2g}" if len(now) else "Gradient norm"
    return _small(steps, total_steps, "grad_norm", "gradient norm", title, theme.ink(dark), ".3g", dark, height)
