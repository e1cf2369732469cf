"""A picture on its way through vit_micro: how alike its tokens become, and where each head looks. All of it recorded.

`part` of the settings: "tokens", the maps of likeness after each layer; "heads", the attention of one layer's heads;
"looked", what the class token of the last layer looks at, the reader's guess marked. `guess`: the prediction's key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import streamlit as st

from app import captions, links, repeated, screen, theme
from app.drawn import plan
from app.learn.live._maps import maps
from app.learn.live._recorded import choose, part, slider, unpacked
from peftcore.figures.attention import attention_overlay, patch_picker
from peftcore.figures.words import percent

Patch = tuple[int, int]
SIDE, WIDE = 262, 640  # pixels of the picture, and of the maps beside it
GUESSED_ON = 0  # the picture on which the reader guesses


def draw(settings: Mapping[str, Any]) -> None:
    if settings["part"] == "looked":
        return _looked(settings["guess"])
    pictures = part("walk")["pictures"]
    grid, layer, is_heads = _grid(), 0, settings["part"] == "heads"
    middle = grid[0] // 2 - 1, grid[1] // 2
    asks = links.patch("walk_patch", grid, middle)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = choose("walk_picture", "picture", range(len(pictures)), 0, show=lambda nth: pictures[nth]["title"])
        if is_heads:
            layer = slider("walk_layer", "layer", range(1, part("walk")["depth"] + 1), 1, width=300)
            if asks is not None:
                st.button(
                    "Let the class token ask", key=repeated.key_of("walk_class"), icon=":material/label:",
                    on_click=links.write, kwargs={"walk_patch": "class"},
                )  # fmt: skip
    if is_heads:
        _heads(shown, asks, layer)
    else:
        _tokens(shown, asks or middle)


def _tokens(shown: int, asks: Patch) -> None:
    alike = likeness(shown)
    names = ["before layer 1", *(f"after layer {layer + 1}" for layer in range(len(alike) - 1))]
    rows, columns = _grid()
    prefix, number = part("walk")["prefix"], asks[0] * columns + asks[1]
    grids = alike[:, prefix + number, prefix:].reshape(-1, rows, columns)
    more = float(np.delete(grids.reshape(len(grids), -1), number, 1)[-1].mean())
    figure = plan(
        maps, _pixels(shown), grids, names, words="cosine {:.2f}", low=0.0, high=1.0, marked=asks,
        columns=3 if screen.is_phone() else 5,
        title=f"After the last layer the other tokens have a mean cosine of {more:.2f} with this one",
        note="bright: it points the same way (cosine 1), dark: cosine 0",
        name="walk-tokens", dark=theme.is_dark(), **screen.fit(WIDE),
    )  # fmt: skip
    _beside(shown, asks, "Click a patch", "walk_tokens", figure)
    captions.caption(
        f"{part('walk')['pictures'][shown]['title']}, {_place(asks)}, through the frozen vit_micro. Each map is the "
        "cosine of the angle between this patch's token and every other one.",
        part("walk")["command"],
    )


def _heads(shown: int, asks: Patch | None, layer: int) -> None:
    attention = attended(shown)
    grids = attention[layer - 1][:, _token(asks)][:, part("walk")["prefix"] :].reshape(-1, *_grid())
    names = [f"head {head + 1}: most {percent(grid.max())}" for head, grid in enumerate(grids)]
    top = np.sort(grids.reshape(len(grids), -1), 1)[:, -6:].sum(1) / grids.sum((1, 2))
    figure = plan(
        maps, _pixels(shown), grids, names, words="{:.1%} of the attention", marked=asks,
        columns=3 if screen.is_phone() else 4,
        high=[float(grid.max()) for grid in grids],
        title=f"Layer {layer}: six patches get {percent(top.min())} to {percent(top.max())} of a head's attention",
        note="bright: where this head looks most; each head has its own scale",
        name="walk-heads", dark=theme.is_dark(), **screen.fit(WIDE),
    )  # fmt: skip
    _beside(shown, asks, "Click the patch that asks", "walk_heads", figure)
    captions.caption(
        f"{part('walk')['pictures'][shown]['title']}, {_place(asks)} asks, in layer {layer} of the frozen vit_micro: "
        "how much of each head's attention goes to each patch.",
        part("walk")["command"],
    )


def _beside(shown: int, asks: Patch | None, title: str, key: str, figure: Any) -> None:
    """The picture to click into, and the maps; a click into these picks a patch as well."""
    with st.container(key=repeated.key_of(f"wrap_{key}")):
        left, right = st.columns([2, 5], gap="small")
    with left:
        picker = plan(patch_picker, _pixels(shown), _grid(), asks, title=title, note=_place(asks),
                      dark=theme.is_dark(), **screen.fit(SIDE))  # fmt: skip
        theme.show(picker, f"{key}_picker", on_click=lambda: _pick(f"{key}_picker"))
    with right:
        theme.show(figure, key, on_click=lambda: _pick(key))


def _pick(key: str) -> None:
    if said := links.clicked(key):
        links.write(walk_patch=f"{said[0] + 1}-{said[1] + 1}")


def marks(_settings: Mapping[str, Any]) -> dict[str, list[int]]:
    """The patches: what each is called, and its row and column from 0."""
    rows, columns = _grid()
    return {_place((row, column)): [row, column] for row in range(rows) for column in range(columns)}


def pick(settings: Mapping[str, Any], key: str, chosen: str | None, on_click: Callable[[], None] | None) -> None:
    """The picture on which the reader guesses."""
    asked, note = _patch(chosen), chosen or ("click a patch" if on_click else "")
    picker = plan(patch_picker, _pixels(GUESSED_ON), _grid(), asked, title="Your guess", note=note,
                  dark=theme.is_dark(), **screen.fit(SIDE))  # fmt: skip
    theme.show(picker, key, on_click=on_click)


def _looked(guess: str) -> None:
    weights = attended(GUESSED_ON)[-1].mean(0)[0, part("walk")["prefix"] :]  # mean over heads, of the class token
    own = _patch(links.read(guess))
    figure = plan(
        attention_overlay, _pixels(GUESSED_ON), weights.reshape(_grid()), own,
        note="your guess is outlined" if own else "", dark=theme.is_dark(), **screen.fit(340),
    )  # fmt: skip
    theme.show(figure, "walk_looked", alt="Where the class token of the last layer looks, over the picture")
    if own:
        value = float(weights[own[0] * _grid()[1] + own[1]])
        rank = int((weights > value).sum()) + 1
        st.markdown(f"Your patch gets {percent(value)} of the attention: number {rank} of {len(weights)}.")
    captions.caption(
        "Attention of the class token in the last layer of the frozen vit_micro, mean over heads.",
        part("walk")["command"],
    )


# Recorded arrays


def _patch(text: str | None) -> Patch | None:
    """The patch that a text names as `_place` does; None where it names none."""
    rows, columns = _grid()
    return next(((r, c) for r in range(rows) for c in range(columns) if _place((r, c)) == text), None)


def _grid() -> Patch:
    rows, columns = part("walk")["grid"]
    return rows, columns


def _place(patch: Patch | None) -> str:
    return "the class token" if patch is None else f"row {patch[0] + 1}, column {patch[1] + 1}"


def _token(patch: Patch | None) -> int:
    return 0 if patch is None else part("walk")["prefix"] + patch[0] * _grid()[1] + patch[1]


def _pixels(shown: int) -> np.ndarray:
    return unpacked(part("walk")["pictures"][shown]["picture"])


@lru_cache(maxsize=8)
def attended(shown: int) -> np.ndarray:
    """Attention of a picture's tokens, (layers, heads, N, N), rows sum to 1."""
    known = part("walk")
    count = known["prefix"] + known["grid"][0] * known["grid"][1]
    tiles = unpacked(known["pictures"][shown]["attention"]).astype(float) / known["levels"]
    squares = tiles.reshape(known["depth"], count, known["heads"], count).swapaxes(1, 2) ** 2
    return squares / squares.sum(-1, keepdims=True)


@lru_cache(maxsize=8)
def likeness(shown: int) -> np.ndarray:
    """Cosines of a picture's tokens before the first layer and after each, (layers + 1, N, N)."""
    known = part("walk")
    bytes_ = unpacked(known["pictures"][shown]["alike"]).astype(float)
    return (bytes_ / 127.5 - 1).reshape(known["depth"] + 1, -1, bytes_.shape[1])
