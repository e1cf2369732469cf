"""Where the bytes of a training step go: within one step, and by method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme
from peftcore.figures.curves import component_frame, stack_components

PHASES = ("forward", "backward", "optimizer")
CARDS = (8, 12, 16, 24, 48, 80)  # GB, the memory of common cards
MOST_MOMENTS = 1200


def step_memory(curve: pd.DataFrame | Iterable[Mapping], *, x_title: str = "moment of the step",
                dark: bool = False,
                height: int = 380) -> go.Figure:
    """One training step, moment by moment, stacked by component, the three phases marked.

    Args:
        curve: rows of `t` (any unit that grows), `phase` ("forward" | "backward" | "optimizer"), `where` (the
            block under way) and bytes per component.
        x_title: what `t` counts.
    """
    frame = curve if isinstance(curve, pd.DataFrame) else pd.DataFrame(list(curve))
    missing = {"t", "phase", "where"} - set(frame.columns)
    if missing or not len(frame):
        raise BadData(f"A step's memory curve needs rows with t, phase and where; missing: {', '.join(sorted(missing)) or 'rows'}.")
    frame = _thin(frame.reset_index(drop=True))
    parts = component_frame(frame)
    t, total = frame["t"].to_numpy(float), parts.sum(axis=1).to_numpy()
    divisor, unit = theme.byte_unit(total.max())
    figure = go.Figure()
    stack_components(figure, t, parts, divisor, unit, shape="hv")
    # The last trace of the unified hover: which block is under way, and the sum.
    figure.add_scatter(x=t, y=total / divisor, mode="lines", line=dict(color=theme.ink(dark), width=1.2,
                                                                       shape="hv"),
                       name="total", showlegend=False,
                       customdata=list(zip(frame["phase"], frame["where"].map(theme.plain), strict=True)),
                       hovertemplate=f"%{{y:.4~f}} {unit}<br><b>%{{customdata[0]}}: %{{customdata[1]}}</b>")
    top = theme.ceiling(total.max() * 1.12 / divisor)
    _phase_bands(figure, frame, top, dark)
    peak = int(total.argmax())
    largest = parts.iloc[peak].idxmax()
    where = frame["where"][peak]
    figure.add_annotation(x=t[peak], y=total[peak] / divisor, text=f"peak {theme.si_bytes(total[peak])}",
                          showarrow=True,
                          arrowhead=2, arrowcolor=theme.ink(dark), ax=0, ay=-22,
                          font=dict(color=theme.ink(dark)))
    figure.update_xaxes(title_text=x_title, range=[t[0], t[-1]])
    figure.update_yaxes(title_text=f"memory ({unit})", range=[0, top])
    figure.update_layout(hovermode="x unified")
    title = f"Peak in {frame['phase'][peak]} at {theme.plain(where)}, " \
            f"{theme.percent(parts[largest][peak] / total[peak])} of it {theme.component_title(largest)}"
    return theme.finish(figure, title, name="step-memory", dark=dark, height=height)


def _thin(frame: pd.DataFrame) -> pd.DataFrame:
    """At most about MOST_MOMENTS rows; of each group the fullest stays, so that no peak is lost."""
    if len(frame) <= MOST_MOMENTS:
        return frame
    total = component_frame(frame).sum(axis=1).to_numpy()
    edges = np.linspace(0, len(frame), MOST_MOMENTS + 1).astype(int)
    keep = {0, len(frame) - 1} | {int(a + total[a:b].argmax()) for a, b in zip(edges[:-1], edges[1:],
                                                                               strict=True)}
    changes = np.flatnonzero(frame["phase"].to_numpy()[1:] != frame["phase"].to_numpy()[:-1]) + 1
    return frame.iloc[sorted(keep | set(changes.tolist()))].reset_index(drop=True)


def _phase_bands(figure: go.Figure, frame: pd.DataFrame, top: float, dark: bool) -> None:
    """Shade every second phase, draw a line where one ends, and write its name at the top."""
    t = frame["t"].to_numpy(float)
    starts = [0, *(np.flatnonzero(frame["phase"].to_numpy()[1:] != frame["phase"].to_numpy()[:-1]) + 1)]
    for index, start in enumerate(starts):
        end = starts[index + 1] if index + 1 < len(starts) else len(t) - 1
        if index % 2:
            figure.add_vrect(x0=t[start], x1=t[end], fillcolor=theme.muted(dark), opacity=0.10, line_width=0,
                             layer="below")
        if start:
            figure.add_vline(x=t[start], line=dict(color=theme.muted(dark), width=1, dash="dot"))
        wide = (t[end] - t[start]) > 0.12 * (t[-1] - t[0])
        # A narrow phase at the end (the optimizer's, mostly) has its name set to the left of its line.
        figure.add_annotation(x=(t[start] + t[end]) / 2 if wide else t[end], y=top, yanchor="top",
                              text=frame["phase"][start],
                              xanchor="center" if wide else "right", font=dict(color=theme.muted(dark),
                                                                               size=12))


def total_bytes(row: Mapping) -> float:
    """The sum of a row's components, bytes."""
    return float(sum(row.get(name) or 0 for name in theme.COMPONENTS))


def beyond_weights(row: Mapping) -> float:
    """What training keeps beside the model's own weights, bytes."""
    return total_bytes(row) - float(row.get("frozen_weights") or 0) - float(row.get("trainable_weights") or 0)


def memory_bars(rows: Sequence[Mapping], *, cards: Sequence[float] | None = None, baseline: str = "full",
                dark: bool = False,
                height: int | None = None) -> go.Figure:
    """One stacked bar per method, and two where a method has both a prediction and a measurement.

    Args:
        rows: dicts of `method`, `source` ("predicted" | "measured"), bytes per component; optionally `title`.
            Predicted bars are hatched and paler, measured ones solid.
        cards: sizes in GB to mark with a line; those far beyond the longest bar are left out.
    """
    if not rows:
        raise BadData("A memory chart needs at least one row: a method with its bytes by component.")
    names = list(dict.fromkeys(row.get("title") or theme.method_title(row["method"]) for row in rows))
    largest = max(map(total_bytes, rows))
    divisor, unit = theme.byte_unit(largest)
    sources = [name for name in ("measured", "predicted") if any(row.get("source", "measured") == name
                                                                 for row in rows)]
    both, thick = len(sources) == 2, 0.38 if len(sources) == 2 else 0.66
    figure = go.Figure()
    for name in theme.COMPONENTS:
        for source in sources:
            chosen = [row for row in rows if row.get("source", "measured") == source]
            if any(row.get(name) for row in chosen):
                figure.add_bar(**_bars(chosen, name, source, divisor, names, thick, both))
    _totals(figure, rows, names, divisor, both, dark)
    reach = theme.ceiling(largest * 1.24 / divisor)
    for card in cards or ():
        if card * 1e9 / divisor <= reach:
            figure.add_vline(x=card * 1e9 / divisor, line=dict(color=theme.muted(dark), width=1.2,
                                                               dash="dot"))
            figure.add_annotation(x=card * 1e9 / divisor, y=1, yref="paper", yanchor="bottom",
                                  text=f"{card:g} GB", font_size=11)
    figure.update_xaxes(title_text=f"memory at the peak of a step ({unit})", range=[0, reach])
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5],
                        showgrid=False,
                        tickfont=dict(size=13, color=theme.ink(dark)), ticks="")
    figure.update_layout(barmode="overlay", showlegend=True)
    note = "upper bar measured, lower bar predicted (hatched)" if both else sources[0]
    return theme.finish(figure, _bars_title(rows, baseline), name="memory-bars", dark=dark, note=note,
                        height=height or 175 + (56 if both else 42) * len(names),
                        margin=dict(t=76 if cards else 0),
                        line=90)


def _bars(rows: list[Mapping], component: str, source: str, divisor: float, names: list[str], thick: float,
          both: bool) -> dict:
    """One trace: a component of all methods, from one source; each bar starts where the components before it end."""
    before = theme.COMPONENTS[:theme.COMPONENTS.index(component)]
    titles = [row.get("title") or theme.method_title(row["method"]) for row in rows]
    offset = {"measured": -0.21, "predicted": 0.21}[source] if both else 0.0
    colour, predicted = theme.component_colour(component), source == "predicted" and both
    return dict(
        orientation="h", x=[(row.get(component) or 0) / divisor for row in rows],
        base=[sum(row.get(name) or 0 for name in before) / divisor for row in rows],
        y=[names.index(title) + offset for title in titles], width=thick,
        name=theme.component_title(component),
        legendgroup=component, showlegend=not predicted,
        marker=dict(color=colour, opacity=0.75 if predicted else 1.0, line=dict(width=0.5,
                                                                                color="rgba(255,255,255,0.6)"),
                    pattern=dict(shape="/" if predicted else theme.COMPONENT_PATTERNS[component], size=6,
                                 solidity=0.3 if predicted else 0.15, fgcolor="#FFFFFF", bgcolor=colour,
                                 fillmode="replace")),
        customdata=[[title, theme.si_bytes(row.get(component) or 0)] for title, row in zip(titles, rows,
                                                                                           strict=True)],
        hovertemplate=f"%{{customdata[0]}}, {source}<br>{theme.component_title(component)} <b>%{{customdata[1]}}</b><extra></extra>")


def _totals(figure: go.Figure, rows: Sequence[Mapping], names: list[str], divisor: float, both: bool,
            dark: bool) -> None:
    """Write each bar's sum at its end, and how far a prediction lies from its measurement."""
    measured = {(row.get("title") or theme.method_title(row["method"])): total_bytes(row) for row in rows
                if row.get("source", "measured") == "measured"}
    for row in rows:
        title, source, total = row.get("title") or theme.method_title(row["method"]), row.get("source",
                                                                                              "measured"), total_bytes(row)
        text = f"<b>{theme.si_bytes(total)}</b>"
        if both and source == "predicted":
            text = theme.si_bytes(total)
            if measured.get(title):
                text += f" ({100 * (total / measured[title] - 1):+.1f} %)"
        offset = ({"measured": -0.21, "predicted": 0.21}[source]) if both else 0
        figure.add_annotation(x=total / divisor, y=names.index(title) + offset, xanchor="left", xshift=5,
                              text=text,
                              font=dict(size=12, color=theme.ink(dark)))


def _bars_title(rows: Sequence[Mapping], baseline: str) -> str:
    """The finding: what the leanest method keeps of what the baseline keeps; measured numbers before predicted."""
    best: dict[str, Mapping] = {}
    for row in rows:
        if row["method"] not in best or row.get("source", "measured") == "measured":
            best[row["method"]] = row
    others = {name: beyond_weights(row) for name, row in best.items() if name not in (baseline, "linear")}
    if baseline in best and others and beyond_weights(best[baseline]) > 0:
        lean = min(others, key=others.get)
        share = theme.percent(others[lean] / beyond_weights(best[baseline]))
        whole = "full fine-tuning" if baseline == "full" else theme.method_title(baseline)
        return f"{theme.method_title(lean)} keeps {share} of what {whole} keeps beside the weights"
    most = max(best.values(), key=total_bytes)
    part = max(theme.COMPONENTS, key=lambda name: most.get(name) or 0)
    return f"{theme.method_title(most['method'])} peaks at {theme.si_bytes(total_bytes(most))}, " \
           f"{theme.percent((most.get(part) or 0) / max(total_bytes(most), 1))} of it {theme.component_title(part)}"


def memory_bar(components: Mapping[str, float], *, ghost: float | None = None,
               ghost_title: str = "full fine-tuning",
               dark: bool = False, height: int = 150) -> go.Figure:
    """One bar for a run about to be launched; `ghost`, the baseline's total in bytes, is outlined behind it."""
    total = total_bytes(components)
    divisor, unit = theme.byte_unit(max(total, ghost or 0))
    figure = go.Figure()
    if ghost:
        figure.add_bar(orientation="h", x=[ghost / divisor], y=[0], width=0.9, showlegend=False,
                       marker=dict(color="rgba(0,0,0,0)", line=dict(color=theme.muted(dark), width=1.2)),
                       hovertemplate=f"{ghost_title} {theme.si_bytes(ghost)}<extra></extra>")
        # Inside the ghost's right end, where the bar itself leaves room; above it otherwise.
        inside = total < 0.55 * ghost
        figure.add_annotation(x=ghost / divisor, y=0 if inside else 0.45, xanchor="right", yanchor="middle"
                              if inside else "bottom",
                              xshift=-6, text=f"{ghost_title} {theme.si_bytes(ghost)}")
    for name in theme.COMPONENTS:
        if components.get(name):
            row = [{"method": "", "title": "this run", **components}]
            bar = _bars(row, name, "predicted", divisor, ["this run"], 0.62, False)
            figure.add_bar(**bar)
    figure.update_xaxes(title_text=unit, range=[0, theme.ceiling(max(total, ghost or 0) * 1.03 / divisor)],
                        nticks=5)
    figure.update_yaxes(visible=False, range=[-0.6, 0.75], fixedrange=True)
    figure.update_layout(barmode="overlay", showlegend=False)
    title = f"Peak {theme.si_bytes(total)}"
    if ghost:
        title += f", {theme.percent(total / ghost)} of what {ghost_title} takes"
    return theme.finish(figure, title, name="memory-bar", dark=dark, height=height, margin=dict(l=16, b=40))
