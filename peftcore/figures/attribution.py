"""Why this class: what speaks for it and against it in an image, and what the classifier would say by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import hex_to_rgb

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.overlay import canvas, finished, heat_colours, heat_layer, map_columns
from peftcore.figures.squares import ticks

MOST_LINES = 6  # classes of a lens


def reach_of(*maps: np.ndarray) -> float:
    """The value of the strongest colour that maps share: all but one in two hundred of their cells lie within."""
    return float(np.quantile(np.abs(np.concatenate([one.ravel() for one in maps])), 0.995)) or 1.0


def attribution_map(
    image: np.ndarray,
    values: np.ndarray,
    *,
    title: str,
    note: str = "",
    reach: float | None = None,
    signed: bool = True,
    width: int = 320,
    dark: bool = False,
) -> go.Figure:
    """An attribution over its image, in grey under it: orange speaks for the class, blue against it.

    Args:
        image: uint8 (H, W, 3). values: (rows, columns), any number of cells.
        reach: the value of the strongest colour. signed: False for weights that are never negative.
    """
    values = np.asarray(values, float)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise BadData(f"An attribution must be finite numbers (rows, columns), but got shape {values.shape}.")
    reach = reach or reach_of(values)
    figure, size = canvas(_grey(image), width)
    rows, columns = values.shape
    scale = [[stop, _clear(colour, abs(2 * stop - 1))] for stop, colour in _stops()]
    heat_layer(figure, values, scale if signed else heat_colours(0.85), -reach if signed else 0.0, reach, smooth=False)
    figure.update_traces(
        hoverinfo=None, hovertemplate="%{z:+.3g}<extra></extra>" if signed else "%{z:.3g}<extra></extra>"
    )
    theme.numbered(figure, map_columns((rows, columns), attribution=values))
    return finished(figure, size, width, title, note, "attribution", dark)


def explained_image(
    image: np.ndarray, *, title: str, note: str = "", width: int = 320, dark: bool = False
) -> go.Figure:
    """The image alone, as large and as high as the maps beside it."""
    figure, size = canvas(np.asarray(image), width)
    return finished(theme.numbered(figure, {}), size, width, title, note, "explained-image", dark)


def overlaid(image: np.ndarray, values: np.ndarray, reach: float, signed: bool = True, side: int = 512) -> np.ndarray:
    """The same picture as pixels (rows, columns, 3), uint8, to be kept as a file; its longer side is `side`."""
    factor = side / max(image.shape[:2])
    shape = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    under = np.asarray(Image.fromarray(_grey(image)).resize(shape, Image.Resampling.BICUBIC), float)
    cells = np.asarray(values, np.float32)
    at = np.asarray(Image.fromarray(cells).resize(shape, Image.Resampling.NEAREST), float) / reach
    at = np.clip((at + 1) / 2 if signed else (1 + np.abs(at)) / 2, 0, 1)
    stops, colours = zip(*_stops(), strict=True)
    table = np.array([hex_to_rgb(colour) for colour in colours], float)
    heat = np.stack([np.interp(at, stops, table[:, channel]) for channel in range(3)], -1)
    opacity = _opacity(np.abs(2 * at - 1))[..., None]
    return (opacity * heat + (1 - opacity) * under).round().astype(np.uint8)


def _stops() -> list[tuple[float, str]]:
    return [(stop, colour) for stop, colour in theme.DIVERGING]


def _opacity(strength: np.ndarray | float) -> np.ndarray:
    return 0.05 + 0.85 * np.asarray(strength)


def _clear(colour: str, strength: float) -> str:
    r, g, b = hex_to_rgb(colour)
    return f"rgba({r},{g},{b},{float(_opacity(strength)):.3f})"


def _grey(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise BadData(f"An image must be uint8 (height, width, 3), but got {image.dtype} of shape {image.shape}.")
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def layer_lens(
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    true: int | None = None,
    height: int = 400,
    width: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """What the classifier would say if the backbone ended after each layer.

    Args:
        probabilities: (depth + 1, classes), of the tokens that enter the first block and that leave each one.
        true: the number of the true class, which is always drawn.
    """
    values = np.asarray(probabilities, float)
    if values.ndim != 2 or values.shape[1] != len(classes):
        raise BadData(f"Probabilities must be (layers + 1, {len(classes)} classes), but got shape {values.shape}.")
    last = values[-1]
    shown = np.argsort(-last, kind="stable")[:MOST_LINES].tolist()
    if true is not None and true not in shown:
        shown[-1] = true
    figure, layers = go.Figure(), np.arange(len(values))
    for i, number in enumerate(shown):
        name = words.plain(classes[number]) + (" (true)" if number == true else "")
        figure.add_scatter(
            x=layers, y=values[:, number], mode="lines+markers", name=name,
            line=dict(color=theme.CATEGORIES[i], width=3 if number == true else 1.8),
            marker=dict(symbol=theme.SYMBOLS[i], size=9 if number == true else 7),
            hovertemplate="after layer %{x}: %{y:.1%}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    figure.add_hline(
        y=1 / len(classes), line=dict(color=theme.muted(dark), width=1, dash="dot"), annotation_text="chance",
        annotation_position="bottom right",
    )  # fmt: skip
    at = [0, *(i + 1 for i in ticks(len(values) - 1))]
    figure.update_xaxes(title_text="after layer", tickvals=at, ticktext=["input", *map(str, at[1:])])
    figure.update_yaxes(title_text="probability", range=[0, 1.03], tickformat=".0%")
    figure.update_layout(hovermode="closest", margin=dict(b=96))
    theme.numbered(
        figure,
        {
            "after layer": np.repeat(layers, len(classes)).tolist(),
            "class": [str(one) for one in classes] * len(values),
            "probability": values.ravel().tolist(),
        },
    )
    return theme.finish(
        figure, _settled(values, classes), name="layer-lens", dark=dark, height=height, width=width,
        margin=dict(l=64, r=16, b=96), line=words.TITLE_WIDTH if width is None else max(24, width // 8),
    )  # fmt: skip


def _settled(values: np.ndarray, classes: Sequence[str]) -> str:
    """From which layer on the classifier says what it says at the end."""
    said, name = values.argmax(1), words.plain(classes[int(values[-1].argmax())])
    others = np.nonzero(said != said[-1])[0]
    if not len(others):
        return f"It would say {name} from the start"
    after = int(others[-1]) + 1
    is_last = after == len(values) - 1
    where = "the last layer" if is_last else f"layer {after}"
    if (said[:after] == said[-1]).any():  # between which it said something else
        return f"It says {name} early on, then another class, and {name} again after {where}"
    if is_last:
        return f"Only {where} makes it {name}"
    return f"It would say {name} after {where} already, and from there on"


_IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
EXAMPLES = {
    "attribution_map": dict(image=_IMAGE, values=np.random.default_rng(1).normal(size=(8, 8)), title="After tuning"),
    "explained_image": dict(image=_IMAGE, title="Test image 3", note="class 9"),
    "layer_lens": dict(
        probabilities=np.random.default_rng(2).dirichlet(np.ones(8), 9), classes=list("abcdefgh"), true=3
    ),
}
