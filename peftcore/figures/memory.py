"""Where the bytes of a training step go, as bars: by method, and of a run about to be launched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.events import COMPONENTS
from peftcore.figures import theme, words
from peftcore.figures.components import COMPONENT_PATTERNS, PATTERN, component_colour, component_title
from peftcore.figures.method_style import method_in_text, method_title
from peftcore.registry import METHODS

CARDS = (8, 12, 16, 24, 48, 80)  # GB, the memory of common cards
# Where a method has two bars, the measured one stands above the predicted one.
APART = 0.12  # of the axis, between two names of cards
OFFSETS = {"measured": -0.12, "predicted": 0.24}
WIDTH = {True: 0.34, False: 0.5}  # of a bar, where a method has two and where it has one
NAME = {True: 0.3, False: 0.25}  # how far above a method's place its name begins


def total_bytes(row: Mapping) -> float:
    """The sum of a row's components, bytes."""
    return float(sum(row.get(name) or 0 for name in COMPONENTS))


def beyond_weights(row: Mapping) -> float:
    """What training keeps beside the model's own weights, bytes."""
    return total_bytes(row) - float(row.get("frozen_weights") or 0) - float(row.get("trainable_weights") or 0)


def _title(row: Mapping) -> str:
    return words.plain(row.get("title") or method_title(row["method"]))


def _source(row: Mapping) -> str:
    return row.get("source", "measured")


def memory_bars(
    rows: Sequence[Mapping],
    *,
    cards: Sequence[float] | None = None,
    baseline: str | None = None,
    dark: bool = False,
    height: int | None = None,
    line: int = words.NARROW,
) -> go.Figure:
    """One stacked bar per method, and two where a method has both a prediction and a measurement.

    Args:
        rows: dicts of `method`, `source` ("predicted" | "measured"), bytes per component; optionally `title`.
            Beside measured bars, predicted ones are hatched and paler.
        cards: sizes in GB to mark with a line, unless they are far beyond the longest bar.
        baseline: the method that the title compares with; by default the one that trains everything.
        line: the title's characters per line.
    """
    if not rows:
        raise BadData("A memory chart needs at least one row: a method with its bytes by component.")
    names = list(dict.fromkeys(map(_title, rows)))
    largest = max(map(total_bytes, rows))
    divisor, unit = words.byte_unit(largest)
    sources = [source for source in OFFSETS if any(_source(row) == source for row in rows)]
    both = len(sources) == 2
    figure = go.Figure()
    for name in COMPONENTS:
        for source in sources:
            chosen = [row for row in rows if _source(row) == source]
            if any(row.get(name) for row in chosen):
                figure.add_bar(**_bars(chosen, name, source, divisor, names, both))
    _totals(figure, rows, names, divisor, both, dark)
    pieces = [(row, name) for row in rows for name in COMPONENTS if row.get(name)]
    table = {
        "method": [row.get("title") or method_title(row["method"]) for row, _ in pieces],
        "source": [_source(row) for row, _ in pieces],
        "component": [component_title(name) for _, name in pieces],
        "bytes": [row[name] for row, name in pieces],
    }
    theme.numbered(figure, table)
    reach = words.ceiling(largest * 1.24 / divisor)
    shown = [card for card in cards or () if card * 1e9 / divisor <= reach]
    named = -reach
    for card in sorted(shown):
        at = card * 1e9 / divisor
        figure.add_vline(x=at, line=dict(color=theme.muted(dark), width=1.2, dash="dot"))
        if at - named < APART * reach:  # its name would lie on the one before
            continue
        named = at
        figure.add_annotation(x=at, y=1, yref="paper", yanchor="bottom", text=f"{card:g} GB", font_size=11)
    figure.update_xaxes(title_text=f"memory at the peak of a step ({unit})", range=[0, reach])
    for place, name in enumerate(names):  # above the bars, which have the whole width then, on a phone too
        figure.add_annotation(
            x=0,
            xanchor="left",
            y=place - NAME[both],
            yanchor="bottom",
            text=name,
            font=dict(size=13, color=theme.ink(dark)),
        )
    figure.update_yaxes(visible=False, range=[len(names) - 0.5, -0.75])
    figure.update_layout(barmode="overlay", showlegend=True)
    note = "upper bar measured, lower bar predicted (hatched)" if both else sources[0]
    height = height or 190 + (68 if both else 50) * len(names)
    return theme.finish(
        figure,
        _bars_title(rows, baseline or METHODS.baseline("upper")),
        name="memory-bars",
        dark=dark,
        note=note,
        height=height,
        margin=dict(t=76 if shown else 0, l=16, b=90),
        line=line,
    )


def _bars(rows: list[Mapping], component: str, source: str, divisor: float, names: list[str], both: bool) -> dict:
    """One component of all bars from one source; each piece starts where the components before it end."""
    before = COMPONENTS[: COMPONENTS.index(component)]
    colour, hatched, title = component_colour(component), both and source == "predicted", _title
    pattern = dict(shape="/" if hatched else COMPONENT_PATTERNS[component], solidity=0.3 if hatched else 0.15)
    return dict(
        orientation="h",
        name=component_title(component),
        legendgroup=component,
        showlegend=not hatched,
        x=[(row.get(component) or 0) / divisor for row in rows],
        base=[sum(row.get(name) or 0 for name in before) / divisor for row in rows],
        y=[names.index(title(row)) + OFFSETS[source] * both for row in rows],
        width=WIDTH[both],
        marker=dict(
            color=colour,
            opacity=0.75 if hatched else 1.0,
            line=dict(width=0.5, color="rgba(255,255,255,0.6)"),
            pattern=PATTERN | dict(size=6, bgcolor=colour) | pattern,
        ),
        customdata=[[title(row), words.si_bytes(row.get(component) or 0)] for row in rows],
        hovertemplate=f"%{{customdata[0]}}, {source}<br>{component_title(component)} "
        "<b>%{customdata[1]}</b><extra></extra>",
    )


def _totals(
    figure: go.Figure, rows: Sequence[Mapping], names: list[str], divisor: float, both: bool, dark: bool
) -> None:
    """Write each bar's sum at its end, and how far a prediction is from its measurement."""
    measured = {_title(row): total_bytes(row) for row in rows if _source(row) == "measured"}
    for row in rows:
        title, total = _title(row), total_bytes(row)
        text = words.si_bytes(total)
        if both and _source(row) == "predicted" and measured.get(title):
            text += f" ({100 * (total / measured[title] - 1):+.1f} %)"
        elif not both or _source(row) == "measured":
            text = f"<b>{text}</b>"
        figure.add_annotation(
            x=total / divisor,
            y=names.index(title) + OFFSETS[_source(row)] * both,
            text=text,
            xanchor="left",
            xshift=5,
            font=dict(size=12, color=theme.ink(dark)),
        )


def _bars_title(rows: Sequence[Mapping], baseline: str) -> str:
    """The finding: what the leanest method keeps of the baseline's; measurements before predictions."""
    best = {_title(row): row for row in sorted(rows, key=lambda row: _source(row) == "measured")}
    whole = next((row for row in best.values() if row["method"] == baseline), None)
    others = [row for row in best.values() if row["method"] not in (baseline, METHODS.baseline("lower"))]
    if whole and others and beyond_weights(whole) > 0:
        lean = min(others, key=beyond_weights)
        share = words.percent(beyond_weights(lean) / beyond_weights(whole))
        name = words.plain(method_in_text(baseline))
        return f"{_title(lean)} keeps {share} of what {name} keeps above its weights"
    most = max(best.values(), key=total_bytes)
    if len(best) > 1 and len({row["method"] for row in best.values()}) == 1:
        least = min(best.values(), key=total_bytes)
        more = words.percent(total_bytes(most) / max(total_bytes(least), 1) - 1)
        return f"{_title(most)} takes {more} more than {_title(least)}"
    part = max(COMPONENTS, key=lambda name: most.get(name) or 0)
    share = words.percent((most.get(part) or 0) / max(total_bytes(most), 1))
    peak = words.si_bytes(total_bytes(most))
    return f"{_title(most)} peaks at {peak}, {share} of it {component_title(part)}"


def memory_bar(
    components: Mapping[str, float],
    *,
    ghost: float | None = None,
    ghost_title: str | None = None,
    dark: bool = False,
    height: int = 150,
) -> go.Figure:
    """One bar for a run about to be launched; `ghost`, the bytes of training everything, is outlined behind it."""
    ghost_title = ghost_title or method_in_text(METHODS.baseline("upper"))
    total = total_bytes(components)
    divisor, unit = words.byte_unit(max(total, ghost or 0))
    figure, title = go.Figure(), f"Peak {words.si_bytes(total)}"
    if ghost:
        title += f", {words.percent(total / ghost)} of what {ghost_title} takes"
        figure.add_bar(
            orientation="h",
            x=[ghost / divisor],
            y=[0],
            width=0.9,
            showlegend=False,
            marker=dict(color="rgba(0,0,0,0)", line=dict(color=theme.muted(dark), width=1.2)),
            hovertemplate=f"{ghost_title} {words.si_bytes(ghost)}<extra></extra>",
        )
        # Inside the outline where the bar leaves room for it, else above.
        at = dict(y=0, yanchor="middle") if total < 0.55 * ghost else dict(y=0.45, yanchor="bottom")
        figure.add_annotation(
            x=ghost / divisor, xanchor="right", xshift=-6, **at, text=f"{ghost_title} {words.si_bytes(ghost)}"
        )
    for name in COMPONENTS:
        if components.get(name):
            row = {**components, "title": "this run", "source": "predicted"}
            figure.add_bar(**_bars([row], name, "predicted", divisor, ["this run"], both=False))
    pieces = {component_title(name): components[name] for name in COMPONENTS if components.get(name)}
    pieces |= {f"{ghost_title}, in all": ghost} if ghost else {}
    theme.numbered(figure, {"component": list(pieces), "bytes": list(pieces.values())})
    reach = words.ceiling(max(total, ghost or 0) * 1.03 / divisor)
    figure.update_xaxes(title_text=unit, range=[0, reach], nticks=5)
    figure.update_yaxes(visible=False, range=[-0.6, 0.75], fixedrange=True)
    figure.update_layout(barmode="overlay", showlegend=False)
    return theme.finish(figure, title, name="memory-bar", dark=dark, height=height, margin=dict(l=16, b=40))
