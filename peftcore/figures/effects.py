"""Does a head's score foretell what happens when the head is switched off? Its score against the change of the loss,
and the loss while more and more heads go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.squares import Scale
from peftcore.figures.words import correlation

RARE = 0.05  # a rank correlation that chance reaches more often says nothing
ORDERS = {  # colour, dash, words
    "least": ("#0072B2", "solid", "least responsive first"),
    "most": ("#D55E00", "dash", "most responsive first"),
    "random": ("#7F8C9A", "dot", "random order"),
}


def rank_correlation(scores: np.ndarray, changes: np.ndarray) -> tuple[float, float]:
    """Spearman's rho and its two-sided p value over the entries that both have; NaN where one of them is constant.

    Raises BadData: fewer than three heads have both.
    """
    from scipy.stats import spearmanr

    both = np.isfinite(scores) & np.isfinite(changes)
    if both.sum() < 3:
        raise BadData(f"A rank correlation needs three heads with a score and a change; there are {both.sum()}.")
    if np.ptp(scores[both]) == 0 or np.ptp(changes[both]) == 0:
        return float("nan"), float("nan")
    rho, p = spearmanr(scores[both], changes[both])
    return float(rho), float(p)


def verdict(rho: float, p: float) -> str:
    """What a rank correlation of scores with changes of the loss says."""
    if np.isnan(rho):
        return "Nothing to rank: all heads are alike"
    measured = f"(\N{GREEK SMALL LETTER RHO} = {correlation(rho)})"
    if p > RARE:
        return f"The score does not tell which heads matter {measured}"
    if rho < 0:
        return f"The score is upside down: the loss rises most without low heads {measured}"
    how = "well" if rho >= 0.7 else "roughly" if rho >= 0.4 else "only faintly"
    return f"The score tells {how} which heads matter {measured}"


def score_against_change(
    scores: np.ndarray,
    changes: np.ndarray,
    projections: Sequence[str],
    *,
    score: str,
    selected: tuple[int, int] | None = None,
    height: int = 460,
    width: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """Each head's score against the change of the loss without it, a symbol for each projection.

    Args:
        scores, changes: (layers, projections, heads), NaN where there is no such head; changes in nats.
        selected: (layer, head), both from 0, outlined.

    A click's `customdata` is [layer, head, ...], both from 0.
    """
    if np.shape(scores) != np.shape(changes) or np.ndim(scores) != 3 or np.shape(scores)[1] != len(projections):
        raise BadData(
            f"Scores {np.shape(scores)} and changes {np.shape(changes)} must both have the shape (layers, "
            f"{len(projections)} projections, heads)."
        )
    rho, p = rank_correlation(scores, changes)
    sizes = rank_correlation(scores, np.abs(changes))[0]
    scale, figure = Scale.of(scores), go.Figure()
    figure.add_hline(y=0, line=dict(color=theme.muted(dark), width=1))
    columns: dict[str, list] = {"layer": [], "head": [], "projection": [], score: [], "change of the loss": []}
    for j, projection in enumerate(projections):
        where = np.argwhere(np.isfinite(scores[:, j]) & np.isfinite(changes[:, j]))
        x, y = scores[where[:, 0], j, where[:, 1]], changes[where[:, 0], j, where[:, 1]]
        chosen = [selected is not None and tuple(at) == tuple(selected) for at in where]
        edge = dict(width=[3.0 if one else 0.5 for one in chosen], color=[theme.ink(dark)] * len(where))
        figure.add_scatter(
            x=x / scale.unit, y=y, mode="markers", name=words.plain(projection),
            customdata=[[int(layer), int(head), scale.text(v)] for (layer, head), v in zip(where, x, strict=True)],
            marker=dict(
                symbol=theme.SYMBOLS[j], color=theme.CATEGORIES[j], line=edge, opacity=0.85,
                size=[15 if one else 9 for one in chosen],
            ),
            hovertemplate=f"<b>layer %{{text}}</b>, {words.plain(projection)}<br>"
            f"{words.plain(score)} %{{customdata[2]}}<br>loss %{{y:+.4f}} nats without it<extra></extra>",
            text=[f"{layer + 1}, head {head + 1}" for layer, head in where],
        )  # fmt: skip
        columns["layer"] += (where[:, 0] + 1).tolist()
        columns["head"] += (where[:, 1] + 1).tolist()
        columns["projection"] += [projection] * len(where)
        columns[score] += x.tolist()
        columns["change of the loss"] += y.tolist()
    theme.numbered(figure, columns)
    figure.update_xaxes(title_text=f"{words.plain(score)} (multiples of the {scale.name})", rangemode="tozero")
    figure.update_yaxes(title_text="change of the loss (nats)")
    figure.update_layout(
        dragmode=False, hovermode="closest", showlegend=len(projections) > 1,
        margin=dict(b=78),
    )  # fmt: skip
    count, rare = len(columns["head"]), "" if np.isnan(p) else f", p {'< 0.001' if p < 0.001 else f'= {p:.2g}'}"
    size = "" if np.isnan(sizes) else f"; for sizes: {correlation(sizes)}"
    return theme.finish(
        figure, verdict(rho, p), name="score-against-change", dark=dark, height=height, width=width,
        margin=dict(l=64, r=16, b=78),
        note=f"Spearman's \N{GREEK SMALL LETTER RHO}, {count} points{rare}{size}",
        line=words.TITLE_WIDTH if width is None else max(24, width // 8),
    )  # fmt: skip


def deletion(
    orders: Sequence[str],
    draws: Sequence[int],
    off: Sequence[int],
    loss: Sequence[float],
    accuracy: Sequence[float],
    *,
    score: str,
    metric: str = "loss",
    cut: int | None = None,
    cut_name: str = "the cut",
    height: int = 460,
    width: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """The loss, or the accuracy, while heads go: the least responsive first, the most responsive first, and the mean
    and the range of random orders.

    Args:
        orders: "least", "most" or "random" of each row. draws: which of several random orders.
        off: heads that are off. loss: in nats. accuracy: 0 to 1.
        cut: how many heads a method switched off, marked.
    """
    order, number = np.asarray(orders), np.asarray(off)
    values = np.asarray(loss if metric == "loss" else accuracy, float)
    random = order == "random"
    counts = np.unique(number[random])
    if not all((order == name).any() for name in ORDERS):
        raise BadData(f"A deletion curve needs rows of each order: {', '.join(ORDERS)}.")
    several = [values[random & (number == count)] for count in counts]
    mean = np.array([one.mean() for one in several])
    figure = go.Figure()
    figure.add_scatter(
        x=[*counts, *counts[::-1]], y=[*(one.max() for one in several), *(one.min() for one in several[::-1])],
        mode="lines", fill="toself", fillcolor="rgba(127,140,154,0.25)", line=dict(width=0), hoverinfo="skip",
        name="random, range", showlegend=False,
    )  # fmt: skip
    unit = "loss %{y:.4f} nats" if metric == "loss" else "accuracy %{y:.1%}"
    hover = f"%{{x}} heads off<br>{unit}<extra>%{{fullData.name}}</extra>"
    curves = {"random": (counts, mean)} | {
        name: (number[order == name], values[order == name]) for name in ORDERS if name != "random"
    }
    for name, (x, y) in curves.items():
        colour, dash, said = ORDERS[name]
        said += f", mean of {len(set(np.asarray(draws)[random]))}" if name == "random" else ""
        figure.add_scatter(
            x=x, y=y, mode="lines+markers", name=said, line=dict(color=colour, dash=dash, width=2.2),
            marker=dict(size=6, symbol={"least": "circle", "most": "diamond"}.get(name, "square")), hovertemplate=hover,
        )  # fmt: skip
    if cut is not None:
        figure.add_vline(
            x=cut, line=dict(color=theme.ink(dark), width=1.5, dash="dashdot"), annotation_text=words.plain(cut_name),
            annotation_position="top right" if cut < 0.6 * counts.max() else "top left",
        )  # fmt: skip
    figure.update_xaxes(title_text=f"heads that are switched off, in the order of {words.plain(score)}")
    figure.update_yaxes(title_text="loss (nats)" if metric == "loss" else "accuracy")
    if metric != "loss":
        figure.update_yaxes(tickformat=".0%")
    figure.update_layout(hovermode="closest", legend=dict(traceorder="reversed"), margin=dict(b=96))
    theme.numbered(
        figure, dict(order=orders, draw=draws, **{"heads off": off, "loss (nats)": loss, "accuracy": accuracy})
    )
    sign = 1 if metric == "loss" else -1
    least = np.interp(counts, *curves["least"])
    inner = range(1, len(counts) - 1)  # with no head off, or every head, all orders are one
    wins = sum(sign * least[i] < (sign * several[i]).min() for i in inner)
    note = f"on average, against random; beats all of it at {wins} of {len(inner)} points"
    return theme.finish(
        figure, _finding(sign * gain(counts, least, mean), metric), name="deletion", dark=dark, height=height,
        width=width, note=note, margin=dict(l=64, r=16, b=96),
        line=words.TITLE_WIDTH if width is None else max(24, width // 8),
    )  # fmt: skip


def gain(counts: np.ndarray, least: np.ndarray, random: np.ndarray) -> float:
    """The mean distance, over the number of heads, by which the first curve (counts,) lies below the second."""
    return float(np.trapezoid(random - least, counts) / (np.ptp(counts) or 1.0))


def _finding(better: float, metric: str) -> str:
    """Whether the score's order beats random order, by the area between their curves."""
    if not round(better, 3):  # of both metrics, what is said
        return "Least responsive first is level with random order"
    amount = f"{abs(better):.3f} nats" if metric == "loss" else f"{100 * abs(better):.1f} points of accuracy"
    if better <= 0:
        return f"Least responsive first costs {amount} more"
    return f"Least responsive first saves {amount}"


_RANDOM = np.random.default_rng(0)
_SCORES = _RANDOM.gamma(2.0, size=(6, 2, 4))
_OFF = [0, 8, 16, 24]
EXAMPLES = {
    "score_against_change": dict(
        scores=_SCORES, changes=0.01 * _SCORES + _RANDOM.normal(0, 0.01, _SCORES.shape), projections=("q", "v"),
        score="taylor", selected=(2, 3),
    ),
    "deletion": dict(
        orders=["least"] * 4 + ["most"] * 4 + ["random"] * 8, draws=[0] * 12 + [1] * 4, off=_OFF * 4,
        loss=[0.2, 0.21, 0.3, 0.9, 0.2, 0.6, 0.8, 0.9, 0.2, 0.4, 0.6, 0.9, 0.2, 0.3, 0.7, 0.9],
        accuracy=[0.9, 0.9, 0.8, 0.4, 0.9, 0.6, 0.5, 0.4, 0.9, 0.8, 0.6, 0.4, 0.9, 0.7, 0.7, 0.4],
        score="taylor", cut=12, cut_name="Heart-LoRA's cut",
    ),
}  # fmt: skip
