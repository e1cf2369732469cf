"""Which classes a run takes for which, from plain arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.figures import lettering, theme, words
from peftcore.figures.squares import cell_side, ticks

WRITTEN = 26  # pixels: in a cell at least this wide its count is written
SIDES = dict(l=60, r=84, t=66, b=60)
LONG = dict(SIDES, l=104, b=104)  # where class names are words
MOST = 60  # classes in a picture: more are a page of squares that nobody reads
SHORT = 14  # characters of a class name beside the squares


def confusion(
    counts: np.ndarray,
    classes: Sequence[str],
    *,
    selected: tuple[int, int] | None = None,
    width: int = 560,
    height: int = 560,
    dark: bool = False,
) -> go.Figure:
    """Counts as a heatmap, labels down and predictions across; a click's `customdata` is [label, predicted].

    Args:
        counts: (classes, classes). Colour is the share of the label's images, so that rare classes are seen too.
    """
    whole, counts = len(classes), np.asarray(counts)
    title = _confused(counts, [words.plain(name) for name in classes])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    at = _most_confused(counts, selected)
    counts, shares, classes = counts[np.ix_(at, at)], shares[np.ix_(at, at)], [classes[n] for n in at]
    names = [words.plain(name) for name in classes]
    note = f"of {whole} classes the {len(at)} that are confused most" if len(at) < whole else ""
    many, margins = len(names), LONG if max(map(len, map(str, classes))) > 2 else SIDES
    side = cell_side(many, many, width, height, margins)
    rows, columns = np.indices(counts.shape)
    pairs = [
        [f"<b>{label}</b> taken for <b>{other}</b>" if i != j else f"<b>{label}</b>, correctly"
         for j, other in enumerate(names)]
        for i, label in enumerate(names)
    ]  # fmt: skip
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            text=pairs,
            customdata=np.stack([at[rows], at[columns], counts, 100 * shares], -1).tolist(),
            hovertemplate="%{text}<br>%{customdata[2]} images, %{customdata[3]:.0f} % of the label<extra></extra>",
            colorscale=theme.SEQUENTIAL,
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            name="cells",
            colorbar=dict(
                thickness=12, outlinewidth=0, tickformat=".0%", title=dict(text="of the label", font=dict(size=11.5))
            ),
        )
    )
    if side >= WRITTEN:
        down, across = np.nonzero(counts)
        said = [str(count) for count in counts[down, across]]
        lettering.write(figure, (across, down), said, shares[down, across], size=11)
    if selected is not None:
        row, column = (int(np.flatnonzero(at == n)[0]) for n in selected)
        box = dict(type="rect", x0=column - 0.5, x1=column + 0.5, y0=row - 0.5, y1=row + 0.5)
        figure.add_shape(**box, line=dict(color="#FFFFFF", width=5))
        figure.add_shape(**box, line=dict(color="#D55E00", width=2.5))
    shown = ticks(many, 25)
    bare = dict(showgrid=False, fixedrange=True, showline=False, ticks="", automargin=False)
    short = [words.plain(words.shortened(str(classes[i]), SHORT)) for i in shown]
    figure.update_xaxes(range=[-0.5, many - 0.5], tickvals=shown, ticktext=short, title_text="predicted", **bare)
    figure.update_xaxes(tickangle=-40 if max(map(len, short)) > 2 else 0, title_standoff=4)
    figure.update_yaxes(range=[many - 0.5, -0.5], tickvals=shown, ticktext=short, title_text="label", **bare)
    size = dict(width=side * many + margins["l"] + margins["r"], height=side * many + margins["t"] + margins["b"])
    figure.update_layout(autosize=False, dragmode=False, hovermode="closest", **size)
    theme.numbered(
        figure,
        {
            "label": [str(classes[i]) for i in rows.ravel().tolist()],
            "predicted": [str(classes[j]) for j in columns.ravel().tolist()],
            "images": counts.ravel().tolist(),
        },
    )
    return theme.finish(
        figure, title, name="confusion", note=note, dark=dark, margin=margins,
        line=max(24, size["width"] // 8), width=size["width"], height=size["height"],
    )  # fmt: skip


def _most_confused(counts: np.ndarray, selected: tuple[int, int] | None) -> np.ndarray:
    """Indices of the classes with the most mistakes, MOST of them, the pair that is confused most and those that are
    selected, in their own order."""
    wrong = counts - np.diag(np.diag(counts))
    first = np.argsort(-wrong.sum(0) - wrong.sum(1), kind="stable")[:MOST].tolist()
    return np.array(sorted({*first, *divmod(int(wrong.argmax()), len(counts)), *(selected or ())}))


def _confused(counts: np.ndarray, names: Sequence[str]) -> str:
    """The finding: which two classes are confused most."""
    wrong = counts - np.diag(np.diag(counts))
    if not wrong.sum():
        return "Every test image is classified correctly"
    label, predicted = divmod(int(wrong.argmax()), len(names))
    times = "once" if wrong.max() == 1 else f"{wrong.max()} times"
    return f"Most often wrong: {names[label]} taken for {names[predicted]}, {times}"


EXAMPLES = {
    "confusion": dict(counts=np.array([[8, 1], [3, 5]]), classes=["cat", "dog"], selected=(1, 0)),
}
