"""Why memory did or didn't drop: what autograd keeps of one block under two methods, tensor beside tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.components import PATTERN
from peftcore.figures.method_style import method_colour, method_in_text, method_title
from peftcore.figures.words import places

SMALL = 0.02  # of the largest tensor; smaller ones share one row
BAR, LINE, GAP = 9, 17, 8  # pixels: a bar, a line of text, between rows
WIDE = 60  # characters in a line of text on a phone
NEEDS = {
    "activations": "activations kept for backward",
    "gradients": "gradients and optimizer state",
    "cached_features": "cached features of all images",
    "features": "frozen features of the batch",
}


def kept_activations(
    rows: Sequence[Mapping],
    block: str,
    *,
    called: str | None = None,
    kinds: Mapping[str, str] | None = None,
    dark: bool = False,
    height: int | None = None,
    line: int = words.NARROW,
) -> go.Figure:
    """One tensor a row, one bar per method, and beside each bar why the tensor is kept, or why it need not be.

    Args:
        rows: dicts of `what`, `size` where it is kept, `bytes` {method: int} and `reason` {method: sentence}, in
            forward order, as `kept_rows.compare_block` gives them; the first method is the one compared with.
        block: its path. called: how the title names it, where the path alone does not say which layer it is.
        kinds: method -> "in-backbone" | "side", where the name alone does not tell.
    """
    if not rows or not any(size for row in rows for size in row["bytes"].values()):
        raise BadData("Kept activations need at least one tensor that a method keeps.")
    methods = list(rows[0]["bytes"])
    total = {name: sum(row["bytes"][name] for row in rows) for name in methods}
    rows = _gathered(rows, methods)
    axis = "kept for backward"
    return _pairs(
        rows,
        methods,
        _title(total, called or places([block])[block]),
        f"kept-{block}",
        axis,
        "not kept:",
        kinds,
        dark,
        height,
        line,
    )


def training_needs(
    needs: Mapping[str, Mapping[str, float]],
    *,
    kinds: Mapping[str, str] | None = None,
    dark: bool = False,
    height: int | None = None,
    line: int = words.NARROW,
) -> go.Figure:
    """What training needs beside the weights under each method: activations, gradients with optimizer state, features.

    Args:
        needs: method -> bytes of NEEDS and of `inside` and `trained`, as `kept_rows.totals` gives them.
    """
    if not needs:
        raise BadData("A comparison needs at least one method with its bytes.")
    rows = [
        {
            "what": what,
            "bytes": {name: row[part] for name, row in needs.items()},
            "reason": {name: _cause(part, row) for name, row in needs.items()},
        }
        for part, what in NEEDS.items()
        if any(row[part] for row in needs.values())
    ]
    axis = "memory at the peak"
    return _pairs(rows, list(needs), conclusion(needs), "training-needs", axis, "<b>0</b>", kinds, dark, height, line)


def conclusion(needs: Mapping[str, Mapping[str, float]]) -> str:
    """What going from the first method to the last did to gradients with optimizer state and to activations."""
    (first, before), (last, after) = list(needs.items())[0], list(needs.items())[-1]
    name, other = method_title(last), method_in_text(first)
    if first == last:
        return f"{name} keeps {words.si_bytes(after['activations'])} of activations for backward"
    saved, kept = _share(after, before, "gradients"), _share(after, before, "activations")
    if saved is None or kept is None:
        here, there = words.si_bytes(after["activations"]), words.si_bytes(before["activations"])
        return f"{name} keeps {here} of activations, {other} {there}"
    parts = f"{words.percent(saved)} of the gradients and optimizer state of {other}"
    word = "but still" if kept > 2 * saved and kept > 0.2 else "and"
    return f"{name} keeps {parts}, {word} {words.percent(kept)} of the activations"


def _share(after: Mapping[str, float], before: Mapping[str, float], part: str) -> float | None:
    return after[part] / before[part] if before[part] else None


def _cause(part: str, row: Mapping[str, float]) -> str:
    if part == "gradients":
        return f"for {words.si_bytes(row['trained'])} of weights that train"
    if part == "activations":
        inside = row["inside"] > row["activations"] / 2
        return "backward passes through the backbone" if inside else "the backbone keeps nothing"
    return "computed once, without gradient" if row[part] else "it reads none"


def _gathered(rows: Sequence[Mapping], methods: Sequence[str]) -> list[Mapping]:
    """The rows as they are, tiny ones summed in a last row."""
    least = SMALL * max(row["size"] for row in rows)
    large = [row for row in rows if row["size"] >= least]
    small = [row for row in rows if row["size"] < least]
    if len(small) < 2:
        return list(rows)
    sums = {name: sum(row["bytes"][name] for row in small) for name in methods}
    count = {name: sum(bool(row["bytes"][name]) for row in small) for name in methods}
    why = {name: f"{count[name]} of them, listed below" if sums[name] else "none of them" for name in methods}
    return [*large, {"what": f"{len(small)} small ones", "bytes": sums, "reason": why}]


def _pairs(
    rows: Sequence[Mapping],
    methods: Sequence[str],
    title: str,
    name: str,
    axis: str,
    absent: str,
    kinds: Mapping[str, str] | None,
    dark: bool,
    height: int | None,
    line: int,
) -> go.Figure:
    """Rows of bars with their words, one below the other as in a text, so that a phone shows all of them: what the row
    is, then each method's bar with its size and reason below. The y axis counts pixels from the top."""
    largest = max(size for row in rows for size in row["bytes"].values())
    divisor, unit = words.byte_unit(largest)
    figure, at = go.Figure(), 0.0
    places: dict[str, list[float]] = {method: [] for method in methods}

    def write(text: str, colour: str, size: float) -> None:
        nonlocal at
        line = dict(x=0, xanchor="left", y=at, yanchor="top", align="left", font=dict(size=size, color=colour))
        figure.add_annotation(text=text, showarrow=False, borderpad=0, **line)
        at += LINE * (1 + text.count("<br>"))

    for row in rows:
        write(words.wrap(words.plain(row["what"]), WIDE), theme.ink(dark), 13)
        for method in methods:
            size = row["bytes"][method]
            places[method].append(at + BAR / 2 + 3)
            at += BAR + 4 if size else 0
            text = words.wrap(f"{f'{words.si_bytes(size)}:' if size else absent} {_short(row['reason'][method])}", WIDE)
            write(text, theme.ink(dark) if size else theme.muted(dark), 11.5)
        at += GAP
    for place, method in enumerate(methods):
        colour = method_colour(method, (kinds or {}).get(method), dark)
        pattern = PATTERN | dict(shape=("", "/", ".")[place % 3], size=6, bgcolor=colour)
        figure.add_bar(
            orientation="h",
            name=words.plain(method_title(method)),
            x=[row["bytes"][method] / divisor for row in rows],
            y=places[method],
            width=BAR,
            marker=dict(color=colour, pattern=pattern),
            customdata=[
                [words.plain(row["what"]), words.si_bytes(row["bytes"][method]), words.wrap(row["reason"][method], 60)]
                for row in rows
            ],
            hovertemplate=f"%{{customdata[0]}}<br>{words.plain(method_title(method))} "
            "<b>%{customdata[1]}</b><br>%{customdata[2]}<extra></extra>",
        )
    each = [(row, method) for row in rows for method in methods]
    table = {
        "what": [row["what"] for row, _ in each],
        "method": [method_title(method) for _, method in each],
        "bytes": [row["bytes"][method] for row, method in each],
        "reason": [row["reason"][method] for row, method in each],
    }
    theme.numbered(figure, table)
    figure.update_xaxes(title_text=f"{axis} ({unit})", range=[0, words.ceiling(largest * 1.02 / divisor)], nticks=5)
    figure.update_yaxes(visible=False, range=[at, 0], fixedrange=True)
    figure.update_layout(barmode="overlay", showlegend=True)
    height = height or round(at) + 96 + theme.title_height(title, line)
    margin = dict(l=16, b=96)
    return theme.finish(figure, title, name=name, dark=dark, height=height, line=line, margin=margin)


def _short(reason: str) -> str:
    """The first reason without its subject, which the row names: 'input of GELU: its derivative ...'."""
    first = reason.partition("; ")[0]
    return words.plain(first.partition(": ")[2] or first)


def _title(total: Mapping[str, float], layer: str) -> str:
    """What the last method keeps of this layer, of what the first one keeps."""
    (first, before), (last, after) = list(total.items())[0], list(total.items())[-1]
    name = method_title(last)
    if first == last or not before:
        return f"{name} keeps {words.si_bytes(after)} of {words.plain(layer)} for backward"
    if not after:
        return f"{name} keeps nothing of {words.plain(layer)}, {method_in_text(first)} {words.si_bytes(before)}"
    share, other = words.percent(after / before), method_in_text(first)
    return f"{name} keeps {share} of what {other} keeps of {words.plain(layer)}"
