"""Why memory did or didn't drop: what autograd keeps, part by part, under two methods or more."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme


def kept_activations(
    kept: Mapping[str, Mapping[str, float]],
    *,
    kinds: Mapping[str, str] | None = None,
    by: str = "block",
    dark: bool = False,
    height: int | None = None,
) -> go.Figure:
    """Bytes kept for backward by part of the model, one bar per method beside each other.

    Args:
        kept: method -> {part -> bytes}, parts in forward order; the first method is the one compared with.
        kinds: method -> "in-backbone" | "side", where the name alone does not tell.
        by: what the parts are, for the axis: "block" or "kind of layer".
    """
    if not kept or not any(kept.values()):
        raise BadData("Kept activations need at least one method with its bytes by part of the model.")
    parts = list(dict.fromkeys(part for row in kept.values() for part in row))
    largest = max(size for row in kept.values() for size in row.values())
    divisor, unit = theme.byte_unit(largest)
    figure = go.Figure()
    for (method, row), pattern in zip(kept.items(), ("", "/", ".", "x", "\\", "-", "+", "|") * 4, strict=False):
        colour = theme.method_colour(method, (kinds or {}).get(method), dark)
        figure.add_bar(
            orientation="h",
            name=theme.plain(theme.method_title(method)),
            y=[theme.plain(p) for p in parts],
            x=[row.get(part, 0) / divisor for part in parts],
            marker=dict(color=colour, pattern=theme.PATTERN | dict(shape=pattern, size=6, bgcolor=colour)),
            customdata=[theme.si_bytes(row.get(part, 0)) for part in parts],
            hovertemplate=f"%{{y}}<br>{theme.plain(theme.method_title(method))} keeps "
            "<b>%{customdata}</b><extra></extra>",
        )
    figure.update_xaxes(title_text=f"kept for backward ({unit})", range=[0, theme.ceiling(largest * 1.03 / divisor)])
    figure.update_yaxes(type="category", autorange="reversed", title_text=by, showgrid=False, ticks="")
    figure.update_layout(barmode="group", bargap=0.25, bargroupgap=0.05, showlegend=True)
    height = height or 140 + (10 + 13 * len(kept)) * min(len(parts), 40)
    return theme.finish(figure, _title(kept), name=f"kept-{by}", dark=dark, height=height)


def _title(kept: Mapping[str, Mapping[str, float]]) -> str:
    """What the last method keeps of what the first one keeps."""
    (first, before), (last, after) = list(kept.items())[0], list(kept.items())[-1]
    total = sum(before.values())
    if len(kept) == 1 or not total:
        return f"{theme.method_title(last)} keeps {theme.si_bytes(sum(after.values()))} for backward"
    share = theme.percent(sum(after.values()) / total)
    name = "full fine-tuning" if first == "full" else theme.method_title(first)
    return f"{theme.method_title(last)} keeps {share} of the activations that {name} keeps"
