"""Methods on one task from the best down by validation: the test accuracy of each, and what was published beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.accuracy import level, share
from peftcore.figures.method_style import kind_symbol, method_colour, method_kind, method_title

MOST = 20  # rows that are drawn; a table has them all
LETTERS = 24  # of a label's line


def standings(
    rows: Sequence[Mapping[str, Any]],
    published: Sequence[Mapping[str, Any]] = (),
    *,
    chance: float | None = None,
    validated: bool = True,
    dark: bool = False,
    line: int = words.TITLE_WIDTH,
) -> go.Figure:
    """A row for each, in the order given: a filled mark is the test accuracy with its 95 % interval, a stroke the
    validation accuracy. Published ones stand below, hollow and grey.

    Args:
        rows: `title` (unique), `method` and `test`; where they are known `kind`, `val`, `low` and `high` (the interval)
            and `about`, words for the hover. Accuracies are 0 to 1.
        published: `title`, `method`, `test` and `about`.
        validated: whether the order is by validation and means something.
    """
    if not rows:
        raise BadData("A leaderboard needs at least one row with title, method and test.")
    rows = rows[:MOST]
    figure = go.Figure()
    for row in rows:
        _ours(figure, row, dark)
    named = [row for row in rows if row.get("val") is not None]
    figure.add_scatter(
        x=[row["val"] for row in named],
        y=[_label(row["title"]) for row in named],
        mode="markers",
        name="validation, which ranks" if validated else "validation (trained on)",
        marker=dict(symbol="line-ns-open", size=15, line=dict(width=2), color=theme.muted(dark)),
        hovertemplate="validation %{x:.3f}<extra></extra>",
    )
    if published:
        figure.add_scatter(
            x=[row["test"] for row in published],
            y=[_label(_published(row)) for row in published],
            mode="markers",
            name="published: another backbone, another protocol",
            marker=dict(symbol="square-open", size=10, line=dict(width=1.6), color=theme.muted(dark)),
            customdata=[words.plain(row.get("about", "")) for row in published],
            hovertemplate="<b>%{y}</b><br>%{x:.3f}<br>%{customdata}<extra></extra>",
        )
        figure.add_hline(y=len(rows) - 0.5, line=dict(color=theme.muted(dark), width=1))
    tests = [row["test"] for row in (*rows, *published)]
    ends = [row[name] for row in rows for name in ("val", "low", "high") if row.get(name) is not None]
    low, high = min(tests + ends), max(tests + ends)
    drawn, titled = level(chance, tests, low, high)
    if drawn is not None:
        low, high = min(low, drawn), max(high, drawn)
        figure.add_vline(x=drawn, line=dict(color=theme.muted(dark), width=1, dash="dot"))
        figure.add_annotation(
            x=drawn, y=0, yref="paper", yanchor="bottom", xanchor="left", text=f"chance {share(drawn)}",
            showarrow=False, font=dict(color=theme.muted(dark), size=11),
        )  # fmt: skip
    room = max(0.05 * (high - low), 0.002)
    labels = [_label(row["title"]) for row in rows] + [_label(_published(row)) for row in published]
    figure.update_xaxes(title_text=titled, range=[max(-0.01, low - room), min(1.02, high + room)])
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=labels, range=[len(labels) - 0.5, -0.6], ticks="",
    )  # fmt: skip
    figure.update_layout(showlegend=True)
    _numbers(figure, rows, published)
    height = 160 + len(labels) * (40 if any("<br>" in label for label in labels) else 30)
    return theme.finish(figure, _finding(rows, validated), name="leaderboard", dark=dark, height=height, line=line)


def _ours(figure: go.Figure, row: Mapping[str, Any], dark: bool) -> None:
    kind = method_kind(row["method"], row.get("kind"))
    low, high = row.get("low"), row.get("high")
    bar = None
    if low is not None and high is not None:
        bar = dict(type="data", symmetric=False, array=[high - row["test"]], arrayminus=[row["test"] - low],
                   color=theme.muted(dark), thickness=1.2, width=3)  # fmt: skip
    figure.add_scatter(
        x=[row["test"]],
        y=[_label(row["title"])],
        mode="markers",
        error_x=bar,
        showlegend=False,
        marker=dict(
            color=method_colour(row["method"], kind, dark), symbol=kind_symbol(kind), size=12,
            line=dict(width=1, color=theme.ink(dark)),
        ),
        customdata=[words.plain(row.get("about", ""))],
        hovertemplate="<b>%{y}</b><br>test %{x:.3f}<br>%{customdata}<extra></extra>",
    )  # fmt: skip


def _label(title: str) -> str:
    return words.wrap(words.plain(title), LETTERS)


def _published(row: Mapping[str, Any]) -> str:
    return f"{row['title']} (published)"


def _finding(rows: Sequence[Mapping[str, Any]], validated: bool) -> str:
    first = rows[0]
    test = f"{first['test']:.3f} on test images"
    if not validated or first.get("val") is None:
        return f"{method_title(first['method'])}: {test}"
    verb = "reaches" if len(rows) == 1 else "leads with"
    return f"{method_title(first['method'])} {verb} {first['val']:.3f} in validation, {test}"


def _numbers(figure: go.Figure, rows: Sequence[Mapping[str, Any]], published: Sequence[Mapping[str, Any]]) -> None:
    every = [*rows, *published]
    theme.numbered(
        figure,
        {"name": [row["title"] for row in every], "published": [False] * len(rows) + [True] * len(published)}
        | {name: [row.get(name) for row in every] for name in ("val", "test", "low", "high")},
    )


EXAMPLES = {
    "standings": dict(
        rows=[
            {"title": "LAST, rank 8", "method": "last", "test": 0.94, "val": 0.95, "low": 0.92, "high": 0.96},
            {"title": "LoRA", "method": "lora", "test": 0.95, "val": 0.93},
        ],
        published=[{"title": "LAST", "method": "last", "test": 0.76, "about": "ViT-B/16"}],
        chance=0.1,
    )
}
