"""Memory as it changes, stacked by component: within one training step, and from step to step of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.events import COMPONENTS
from peftcore.figures import theme, words
from peftcore.figures.components import COMPONENT_PATTERNS, PATTERN, component_colour, component_title
from peftcore.figures.curves import floats

MOST_MOMENTS = 1200


def step_memory(
    curve: pd.DataFrame | Iterable[Mapping], *, dark: bool = False, height: int = 380, line: int = words.NARROW
) -> go.Figure:
    """One training step, operator by operator, stacked by component, the three phases marked.

    Args:
        curve: rows of `t` (0 to 1, the share of the step's operators that have run), `phase` ("forward" |
            "backward" | "optimizer"), `where` (the module under way) and bytes per component.
        line: the title's characters per line.
    """
    frame = curve if isinstance(curve, pd.DataFrame) else pd.DataFrame(list(curve))
    missing = ", ".join(sorted({"t", "phase", "where"} - set(frame.columns)))
    if missing or not len(frame):
        raise BadData(f"A step's curve needs rows with t, phase and where; missing: {missing or 'all rows'}.")
    named = words.places(frame["where"].unique())
    frame = _thin(frame.reset_index(drop=True))
    parts = _component_frame(frame)
    t, total = 100 * frame["t"].to_numpy(float), parts.sum(axis=1).to_numpy()
    where = frame["where"].map(lambda place: words.plain(named[place]) or "outside the layers")
    divisor, unit = words.byte_unit(total.max())
    figure = go.Figure()
    _stack_components(figure, t, parts, divisor, unit, shape="hv")
    # The last line of the unified hover: the sum, and which layer is under way.
    figure.add_scatter(
        x=t,
        y=total / divisor,
        mode="lines",
        name="total",
        showlegend=False,
        line=dict(color=theme.ink(dark), width=1.2, shape="hv"),
        customdata=list(zip(frame["phase"], where, strict=True)),
        hovertemplate=f"%{{y:.4~f}} {unit}<br><b>%{{customdata[0]}}: %{{customdata[1]}}</b>",
    )
    top = words.ceiling(total.max() * 1.12 / divisor)
    _phase_bands(figure, t, frame["phase"].to_numpy(), dark)
    peak = int(total.argmax())
    figure.add_annotation(
        x=t[peak],
        y=total[peak] / divisor,
        text=f"peak {words.si_bytes(total[peak])}",
        showarrow=True,
        arrowhead=2,
        arrowcolor=theme.ink(dark),
        ax=0,
        ay=-22,
        xanchor="right" if frame["phase"][peak] == "forward" else "left",  # off the line between the two
        font=dict(color=theme.ink(dark)),
    )
    figure.update_xaxes(title_text="share of the step's operators that have run (%)", range=[t[0], t[-1]])
    figure.update_yaxes(title_text=f"memory ({unit})", range=[0, top])
    figure.update_layout(hovermode="x unified")
    largest = parts.iloc[peak].idxmax()
    share = words.percent(parts[largest][peak] / total[peak])
    place = words.plain(named[frame["where"][peak]])
    at = f" at {place}" if place else ", outside the layers"
    title = f"Peak in {frame['phase'][peak]}{at}: {share} of it {component_title(largest)}"
    room = theme.title_height(title, line) + 16  # for the names of the phases
    return theme.finish(figure, title, name="step-memory", dark=dark, height=height, margin=dict(t=room), line=line)


def _changes(phases: np.ndarray) -> list[int]:
    """Where a new phase begins, the first row apart."""
    return (np.flatnonzero(phases[1:] != phases[:-1]) + 1).tolist()


def _thin(frame: pd.DataFrame) -> pd.DataFrame:
    """About MOST_MOMENTS rows at most; the fullest of each stretch stays, so that no peak is lost."""
    if len(frame) <= MOST_MOMENTS:
        return frame
    total = _component_frame(frame).sum(axis=1).to_numpy()
    stretches = np.array_split(np.arange(len(frame)), MOST_MOMENTS)
    keep = {0, len(frame) - 1, *(int(rows[total[rows].argmax()]) for rows in stretches)}
    return frame.iloc[sorted(keep | set(_changes(frame["phase"].to_numpy())))].reset_index(drop=True)


def _phase_bands(figure: go.Figure, t: np.ndarray, phases: np.ndarray, dark: bool) -> None:
    """Shade every second phase, draw a line where one ends, and write its name above."""
    starts = [0, *_changes(phases)]
    ends = [*starts[1:], len(t) - 1]
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if index % 2:
            figure.add_vrect(
                x0=t[start], x1=t[end], fillcolor=theme.muted(dark), opacity=0.10, line_width=0, layer="below"
            )
        if start:
            figure.add_vline(x=t[start], line=dict(color=theme.muted(dark), width=1, dash="dot"))
        # The name of a narrow phase at the end (mostly the optimizer's) would leave the figure if centred.
        wide = (t[end] - t[start]) > 0.12 * (t[-1] - t[0])
        figure.add_annotation(
            x=(t[start] + t[end]) / 2 if wide else t[end],
            y=1,
            yref="paper",
            yanchor="bottom",
            text=phases[start],
            xanchor="center" if wide else "right",
        )


def memory_over_steps(
    steps: pd.DataFrame, total_steps: int | None = None, *, dark: bool = False, height: int = 300
) -> go.Figure:
    """What each step's peak consists of, over the run, stacked by component.

    Args:
        steps: column `step`, and a column `memory` (dict component -> bytes, or None) or one per component.
    """
    if steps is not None and len(steps) and "memory" in steps:
        steps = steps[steps["memory"].map(bool)]
    step, parts = floats(steps, "step"), _component_frame(steps if steps is not None else [])
    total = parts.sum(axis=1).to_numpy()
    largest = float(total.max()) if len(total) else 0.0
    divisor, unit = words.byte_unit(largest)
    last = total_steps or (step[-1] if len(step) else 1)
    figure = go.Figure()
    _stack_components(figure, step, parts, divisor, unit, bar=max(1, last / 40))
    title = "No memory measured yet"
    if largest:
        peak = parts.iloc[int(total.argmax())]
        share = words.percent(peak.max() / largest)
        title = f"Peak {words.si_bytes(largest)}, {share} of it {component_title(peak.idxmax())}"
    figure.update_xaxes(title_text="step", range=[0, max(1, last)])
    figure.update_yaxes(title_text=f"memory ({unit})", range=[0, words.ceiling(largest * 1.05 / divisor)])
    figure.update_layout(hovermode="x unified", showlegend=True)
    return theme.finish(figure, title, name=f"memory-{last}", dark=dark, height=height)


def _component_frame(rows: pd.DataFrame | Iterable[Mapping]) -> pd.DataFrame:
    """Columns by memory component in the fixed order, bytes, zeros where a row lacks one.

    Takes a frame or dicts with one column per component, or with a column `memory` of dicts.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    if "memory" in frame:
        kept = frame["memory"].map(lambda memory: memory if isinstance(memory, Mapping) else {})
        frame = pd.DataFrame(list(kept), index=frame.index)
    return pd.DataFrame(
        {name: frame[name].fillna(0).astype(float) if name in frame else 0.0 for name in COMPONENTS},
        index=frame.index,
    )


def _stack_components(
    figure: go.Figure, x: np.ndarray, parts: pd.DataFrame, divisor: float, unit: str, *, shape: str = "linear",
    bar: float = 1.0,
) -> None:  # fmt: skip
    """Add one filled area per component that ever holds a byte, stacked in the fixed order; at a single x a piece of a
    bar of this width."""
    figure.update_layout(barmode="stack")
    for name in COMPONENTS:
        values = parts[name].to_numpy()
        if not values.any():
            continue
        colour = component_colour(name)
        pattern = PATTERN | dict(shape=COMPONENT_PATTERNS[name], size=7, solidity=0.15, bgcolor=colour)
        drawn = dict(
            x=x, y=values / divisor, name=component_title(name), hovertemplate=f"%{{y:.3~f}} {unit}"
        )  # fmt: skip
        if len(x) == 1:
            figure.add_bar(**drawn, width=bar, marker=dict(color=colour, pattern=pattern))
        else:
            line = dict(width=0.8, color=colour, shape=shape)
            figure.add_scatter(
                **drawn, mode="lines", stackgroup="bytes", line=line, fillcolor=colour, fillpattern=pattern
            )
