"""A side network module by module: where each looks beside its layer of the backbone, and how much it adds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.squares import ticks

GAP = 6  # pixels between maps
LEAST, BETWEEN = 64, 34  # pixels of a map's side, as wide as its name; between two bands of maps
MARGINS = dict(l=74, r=8, b=26)


def beside_layers(
    backbone: Sequence[np.ndarray],
    side: Sequence[np.ndarray],
    layers: Sequence[int],
    *,
    query: tuple[int, int] | None = None,
    width: int = 1200,
    dark: bool = False,
) -> go.Figure:
    """Where one patch, or the class token, looks: above in a layer of the backbone, below in the side module that reads
    it. Each map has its own scale.

    Args:
        backbone, side: (rows, columns) for each module, weights over patches. layers: from 0, that each module reads.
        query: (row, column) of the patch that asks, where all grids are alike; marked.
    """
    if not side or not len(backbone) == len(side) == len(layers):
        raise BadData(f"Each module needs a map, its layer's map and its layer: {len(side)}, {len(backbone)}.")
    count = len(side)
    room = width - MARGINS["l"] - MARGINS["r"] + GAP
    bands = math.ceil(count / max(1, room // (LEAST + GAP)))  # one below another where the window is narrow
    across = math.ceil(count / bands)
    cell = min(150, room // across - GAP)
    tall, wide = bands * (2 * cell + GAP) + (bands - 1) * BETWEEN, cell * across + GAP * (across - 1)
    figure = make_subplots(2 * bands, across)
    for band, row, column in itertools.product(range(bands), range(2), range(across)):
        top, left = band * (2 * cell + GAP + BETWEEN) + row * (cell + GAP), column * (cell + GAP)
        at = dict(row=2 * band + row + 1, col=column + 1)
        figure.update_xaxes(domain=[left / wide, (left + cell) / wide], **at)
        figure.update_yaxes(domain=[1 - (top + cell) / tall, 1 - top / tall], **at)
    table: dict[str, list] = {"module": [], "layer": [], "row": [], "column": [], "layer's weight": []}
    table["module's weight"] = []
    differ = []
    for i, (above, below, layer) in enumerate(zip(backbone, side, layers, strict=True)):
        band, column = divmod(i, across)
        for row, grid, whose in ((1, above, f"layer {layer + 1}"), (2, below, f"module {i + 1}")):
            figure.add_heatmap(
                z=grid, zmin=0, zmax=float(np.max(grid)) or 1.0, colorscale=theme.SEQUENTIAL, showscale=False,
                hovertemplate=f"<b>{whose}</b>, row %{{y}}, column %{{x}}: %{{z:.1%}}<extra></extra>",
                row=2 * band + row, col=column + 1, x0=1, y0=1, dx=1, dy=1,
            )  # fmt: skip
            if query is not None:
                box = dict(x0=query[1] + 0.5, x1=query[1] + 1.5, y0=query[0] + 0.5, y1=query[0] + 1.5)
                figure.add_shape(**box, type="rect", line=dict(color="#D55E00", width=2),
                                 row=2 * band + row, col=column + 1)  # fmt: skip
        figure.update_xaxes(title_text=f"module {i + 1}", row=2 * band + 2, col=column + 1)
        if above.shape == below.shape:
            a, b = (grid / (grid.sum() or 1.0) for grid in (above, below))
            differ.append(0.5 * float(np.abs(a - b).sum()))
            for (r, c), weight in np.ndenumerate(above):
                for name, value in zip(table, (i + 1, layer + 1, r + 1, c + 1, weight, below[r, c]), strict=True):
                    table[name].append(float(value) if "weight" in name else value)
    bare = dict(showticklabels=False, ticks="", showgrid=False, showline=False, fixedrange=True)
    figure.update_xaxes(**bare, title_standoff=2)
    figure.update_yaxes(**bare, autorange="reversed")
    for band in range(bands):
        figure.update_yaxes(title_text="backbone", row=2 * band + 1, col=1)
        figure.update_yaxes(title_text="side", row=2 * band + 2, col=1)
    theme.numbered(figure, table)
    title = "Each side module beside the layer it reads"
    if differ:
        most = int(np.argmax(differ))
        title = (
            f"Side modules look elsewhere than their layers: {words.percent(float(np.mean(differ)))} of the attention "
            f"differs on average, most in module {most + 1} ({words.percent(differ[most])})"
        )
    line = max(24, (wide + MARGINS["l"] + MARGINS["r"]) // 8)
    top = theme.title_height(title, line)
    figure.update_layout(autosize=False, dragmode=False)
    return theme.finish(
        figure, title, name="beside-layers", dark=dark, width=wide + MARGINS["l"] + MARGINS["r"], line=line,
        margin=MARGINS | dict(t=top), height=tall + top + MARGINS["b"],
    )  # fmt: skip


def added(
    names: Sequence[str],
    sizes: Sequence[float],
    shares: Sequence[float],
    *,
    height: int = 360,
    width: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """How much each module added to the token that the classifier reads.

    Args:
        sizes: each one's length as a multiple of the frozen token's.
        shares: of all that was added, along its direction; they sum to 1.
    """
    if not names or not len(names) == len(sizes) == len(shares):
        raise BadData(f"Each module needs a name, a size and a share: {len(names)}, {len(sizes)}, {len(shares)}.")
    at = list(range(len(names)))
    figure = go.Figure(
        go.Bar(
            x=at, y=list(sizes), marker=dict(color=theme.CATEGORIES[3]), textposition="outside", cliponaxis=False,
            text=[words.percent(share) for share in shares],
            customdata=[[words.plain(name), share] for name, share in zip(names, shares, strict=True)],
            hovertemplate="<b>%{customdata[0]}</b><br>%{y:.1%} of the frozen token's length<br>%{customdata[1]:.1%} of "
            "all that was added<extra></extra>",
        )
    )  # fmt: skip
    shown = ticks(len(names)) if len(names) > 12 else at
    word = names[0].split(" ")[0] if len({name.split(" ")[0] for name in names}) == 1 else ""
    short = [words.plain(names[i].removeprefix(word).strip() or names[i]) for i in shown]
    figure.update_xaxes(tickvals=list(shown), ticktext=short, title_text=words.plain(word))
    figure.update_yaxes(title_text="length, of the frozen token's", tickformat=".1%", range=[0, 1.2 * max(sizes) or 1])
    theme.numbered(figure, {"module": names, "size": sizes, "share": shares})
    most = int(np.argmax(shares))
    title = "The side network adds nothing"
    if max(sizes) > 0:
        name = names[most][:1].upper() + names[most][1:]
        title = f"{name} adds more than any other: {words.percent(shares[most])}"
    return theme.finish(
        figure, title, name="added", dark=dark, height=height, width=width,
        note="numbers: each one's share of the sum; below zero, it takes away from what the others add",
        line=words.TITLE_WIDTH if width is None else max(24, width // 8),
    )  # fmt: skip


_MAPS = np.random.default_rng(0).dirichlet(np.ones(16), size=8).reshape(8, 4, 4)
EXAMPLES = {
    "beside_layers": dict(backbone=list(_MAPS[:4]), side=list(_MAPS[4:]), layers=[1, 1, 3, 3], query=(1, 2)),
    "added": dict(names=["module 1", "module 2", "module 3"], sizes=[0.02, 0.1, 0.2], shares=[-0.05, 0.35, 0.7]),
}
