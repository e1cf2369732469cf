"""What the classifier would say of every patch after every layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from peftcore.errors import BadData
from peftcore.figures import theme, words

GAP, UNDER = 8, 24  # pixels between maps, and for the words under each
MARGINS = dict(l=8, r=8, b=8)


def patch_lens(
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    target: int,
    width: int = 1200,
    dark: bool = False,
) -> go.Figure:
    """One map for each layer: how probable a class is to the classifier at each patch, if the backbone ended there.

    Args:
        probabilities: (depth + 1, rows, columns, classes), of the tokens that enter the first block and leave each.
        target: the class that is drawn. Patches of which it is the likeliest class are marked.
    """
    values = np.asarray(probabilities, float)
    if values.ndim != 4 or values.shape[-1] != len(classes) or not 0 <= target < len(classes):
        raise BadData(f"Probabilities must be (layers + 1, rows, columns, {len(classes)}), but got {values.shape}.")
    count, rows, columns = values.shape[:3]
    across = max(1, min(count, (width - MARGINS["l"] - MARGINS["r"] + GAP) // (120 + GAP)))
    down = -(-count // across)
    cell = min(170, (width - MARGINS["l"] - MARGINS["r"] - GAP * (across - 1)) // across)
    high = round(cell * rows / columns)
    plot = (cell * across + GAP * (across - 1), (high + UNDER) * down)
    figure = make_subplots(
        down, across, horizontal_spacing=GAP / plot[0], vertical_spacing=UNDER / plot[1] if down > 1 else 0
    )
    said, names = values.argmax(-1), np.array([words.plain(str(name)) for name in classes])
    likely = values.max(-1)
    for layer in range(count):
        where = dict(row=layer // across + 1, col=layer % across + 1)
        figure.add_heatmap(
            z=values[layer, ..., target], zmin=0, zmax=1, colorscale=theme.SEQUENTIAL, showscale=False, x0=1, y0=1,
            dx=1, dy=1, customdata=np.stack([names[said[layer]], np.round(100 * likely[layer], 1)], -1),
            hovertemplate=f"row %{{y}}, column %{{x}}: {names[target]} %{{z:.1%}}<br>it would say %{{customdata[0]}} "
            "(%{customdata[1]} %)<extra></extra>", **where,
        )  # fmt: skip
        own = np.argwhere(said[layer] == target)
        figure.add_scatter(
            x=own[:, 1] + 1, y=own[:, 0] + 1, mode="markers", hoverinfo="skip", showlegend=False,
            marker=dict(symbol="circle", size=max(3, min(7, cell // columns // 3)), color="#D55E00",
                        line=dict(width=1, color="#FFFFFF")), **where,
        )  # fmt: skip
        name = "input" if layer == 0 else f"layer {layer}"
        figure.update_xaxes(title_text=f"{name}: {words.percent(len(own) / (rows * columns))}", **where)
    bare = dict(showticklabels=False, ticks="", showgrid=False, showline=False, fixedrange=True, automargin=False)
    figure.update_xaxes(**bare, title_standoff=0, title_font_size=11, range=[0.5, columns + 0.5])
    figure.update_yaxes(**bare, range=[rows + 0.5, 0.5])
    at = np.indices((count, rows, columns)).reshape(3, -1)
    theme.numbered(
        figure,
        {
            "after layer": at[0].tolist(),
            "row": (at[1] + 1).tolist(),
            "column": (at[2] + 1).tolist(),
            f"probability of {classes[target]}": values[..., target].ravel().tolist(),
            "likeliest class": [str(classes[number]) for number in said.ravel()],
        },
    )
    share = (said == target).mean((1, 2))
    title = (
        f"{words.percent(float(share[-1]))} of the patches say {names[target]} at the end, "
        f"{words.percent(float(share[0]))} before the first layer"
    )
    size = plot[0] + MARGINS["l"] + MARGINS["r"]
    line = max(24, size // 8)
    top = theme.title_height(title, line, "note")
    figure.update_layout(autosize=False, dragmode=False, hovermode="closest")
    return theme.finish(
        figure, title, name="patch-lens", dark=dark, width=size, height=plot[1] + top + MARGINS["b"] + UNDER, line=line,
        note=f"bright: {names[target]} is likely, 0 to 100 %; marked: it is the likeliest class there",
        margin=MARGINS | dict(t=top, b=MARGINS["b"] + UNDER),
    )  # fmt: skip


EXAMPLES = {
    "patch_lens": dict(
        probabilities=np.random.default_rng(0).dirichlet(np.ones(3), size=(5, 4, 4)), classes=["cat", "<b>", "owl"],
        target=1,
    )
}  # fmt: skip
