"""Which adapters the Atlas shows, in which order, and by which score: one row of controls, all in the address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import streamlit as st

from app import glossary, links, navigation, screen
from app.atlas.contents import TOGETHER, Entry
from peftcore.figures.atlas import Range, multiples
from peftcore.figures.method_style import method_title
from peftcore.task import GROUPS

ANY = "any"
SCORES = {
    "energy": "energy, from the weights",
    "taylor": "taylor, in training",
    "taylor_signed": "taylor with its sign, in training",
    "taylor_abs": "taylor, absolute, in training",
    "taylor_squared": "taylor, squared, in training",
}
SORTS = {
    "group": "as VTAB lists them",
    "title": "by name",
    "accuracy": "by test accuracy",
    "peak": "by how far one head stands out",
}
HELP = (
    "**Energy**: the size of a head's update, ‖ΔW‖ over its rows; it needs no image. **Taylor**: how much the "
    "loss would change, to first order, if that update were taken away."
)


class Card(NamedTuple):
    """An entry and what its small grid shows: values (layers, heads), and which heads are on (None: all)."""

    entry: Entry
    values: np.ndarray
    mask: np.ndarray | None

    @property
    def peak(self) -> tuple[float, int, int]:
        """The head that stands out most: its multiple of the median, its layer and its place, from 0."""
        sizes = np.abs(multiples(self.values))
        layer, head = np.unravel_index(int(np.nanargmax(sizes)), sizes.shape)
        return float(sizes[layer, head]), int(layer), int(head)


@dataclass(frozen=True)
class Chosen:
    """`cards` in the order shown; `projections`: of these adapters, of which `projection` is one, or TOGETHER."""

    cards: tuple[Card, ...]
    backbone: str
    score: str
    projection: str
    projections: tuple[str, ...]

    @property
    def colours(self) -> Range:
        return Range.over([card.values for card in self.cards])

    @property
    def of(self) -> str:
        """The projection as captions name it: 'q', or 'q and v together'."""
        return f"{' and '.join(self.projections)} together" if self.projection == TOGETHER else self.projection

    @property
    def short(self) -> str:
        """The same in a figure: 'q', or 'q+v'."""
        return "+".join(self.projections) if self.projection == TOGETHER else self.projection

    def by_group(self) -> dict[str, list[Card]]:
        return {
            group: members
            for group in GROUPS
            if (members := [card for card in self.cards if card.entry.group == group])
        }


def choose(entries: Sequence[Entry]) -> Chosen:
    """The controls, and what they leave; where that is nothing, a sentence, a way on, and the page ends."""
    if not entries:
        st.info("The atlas is empty: no recorded run and none of your own has head scores.", icon=":material/grid_off:")
        navigation.link("launch", "Launch LoRA", method="lora")
        st.stop()
    with st.container(horizontal=True, gap="small"):
        backbones = _by_tasks([entry.backbone for entry in entries], entries)
        backbone = _pick("backbone", [*backbones, ANY], backbones[0], lambda name: _or_any(name, "all backbones"), 270)
        of_backbone = [entry for entry in entries if backbone in (ANY, entry.backbone)]
        methods = list(dict.fromkeys(entry.method for entry in of_backbone))
        method = _pick(
            "method", [ANY, *methods], ANY, lambda name: _or_any(name, "all methods", method_title(name)), 150
        )
        left = [entry for entry in of_backbone if method in (ANY, entry.method)]
        scores = [name for name in SCORES if any(name in entry.scores for entry in left)]
        common = max(scores, key=lambda name: sum(name in entry.scores for entry in left))
        score = _pick("score", scores, common, SCORES.__getitem__, 210, help=glossary.linked(HELP))
        left = [entry for entry in left if score in entry.scores]
        projections = [p for p in "qkv" if any(p in entry.scores[score].projections for entry in left)]
        together = "+".join(projections)
        projection = _pick(
            "projection", [TOGETHER, *projections], TOGETHER, lambda name: _or_any(name, together, of=TOGETHER), 130
        )
        orders = [name for name in SORTS if name != "accuracy" or any(entry.reached is not None for entry in left)]
        order = _pick("sort", orders, "group", SORTS.__getitem__, 265)
    shown = ((entry, entry.grid(score, projection)) for entry in left)
    cards = [Card(entry, *grid) for entry, grid in shown if grid is not None]
    return Chosen(tuple(_sorted(cards, order)), backbone, score, projection, tuple(projections))


def _pick(name: str, options: list[str], default: str, show: Callable[[str], str], width: int, **settings: Any) -> str:
    wide = width if screen.is_phone() else round(width * screen.scale())
    return links.choice(st.selectbox, "atlas", name, name, options, default=default, show=show, width=wide, **settings)


def _or_any(name: str, words: str, otherwise: str | None = None, of: str = ANY) -> str:
    return words if name == of else otherwise or name


def _by_tasks(backbones: Sequence[str], entries: Sequence[Entry]) -> list[str]:
    """The backbone with most tasks first."""
    tasks = {name: {entry.task for entry in entries if entry.backbone == name} for name in backbones}
    return sorted(tasks, key=lambda name: (-len(tasks[name]), name))


def _sorted(cards: list[Card], order: str) -> list[Card]:
    if order == "title":
        return sorted(cards, key=lambda card: card.entry.title.casefold())
    if order == "accuracy":
        return sorted(cards, key=lambda card: -(card.entry.reached or 0.0))
    return sorted(cards, key=lambda card: -card.peak[0]) if order == "peak" else cards
