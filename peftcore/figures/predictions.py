"""Predicted bytes against measured ones, run by run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.method_style import kind_symbol, method_colour, method_kind, method_title


def predicted_against_measured(
    rows: Sequence[Mapping], *, dark: bool = False, height: int = 360, kinds: Mapping[str, str] | None = None
) -> go.Figure:
    """One mark per run on two logarithmic axes; the line is where both are equal.

    Args:
        rows: dicts of `run`, `title`, `method`, `predicted` and `measured` bytes.
    """
    if not rows:
        raise BadData("A figure of predictions needs at least one run with its predicted and measured bytes.")
    sizes = [row[name] for row in rows for name in ("predicted", "measured")]
    divisor, unit = words.byte_unit(min(sizes))
    low, high = min(sizes) / divisor * 0.8, max(sizes) / divisor * 1.25
    figure = go.Figure()
    figure.add_scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        line=dict(color=theme.muted(dark), width=1, dash="dot"),
        hoverinfo="skip",
        showlegend=False,
    )
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        kind = method_kind(method, (kinds or {}).get(method))
        figure.add_scatter(
            x=[row["measured"] / divisor for row in mine],
            y=[row["predicted"] / divisor for row in mine],
            mode="markers",
            name=words.plain(method_title(method)),
            marker=dict(
                color=method_colour(method, kind, dark), symbol=kind_symbol(kind), size=10, opacity=0.85
            ),
            customdata=[
                [row["run"], words.plain(row["title"]), words.si_bytes(row["predicted"]),
                 words.si_bytes(row["measured"]), f"{100 * error(row):+.2f} %"]
                for row in mine
            ],
            hovertemplate="run %{customdata[0]}: %{customdata[1]}<br>predicted %{customdata[2]}, measured "
            "%{customdata[3]}<br><b>%{customdata[4]}</b><extra></extra>",
        )  # fmt: skip
    for update, what in ((figure.update_xaxes, "measured"), (figure.update_yaxes, "predicted")):
        update(title_text=f"{what} ({unit})", type="log", range=[math.log10(low), math.log10(high)], nticks=6)
    figure.update_layout(showlegend=True)
    return theme.finish(figure, _title(rows), name="predictions", dark=dark, height=height)


def error(row: Mapping) -> float:
    """How far the prediction is above the measurement, as a share of it."""
    return row["predicted"] / row["measured"] - 1


def _title(rows: Sequence[Mapping]) -> str:
    off = [abs(error(row)) for row in rows]
    if len(off) == 1:
        return f"The prediction of 1 run was off by {_percent(off[0])}"
    median, most = _percent(statistics.median(off)), _percent(max(off))
    return f"The predictions of {len(off)} runs were off by {median} (median), at most {most}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
