"""The wall of small head grids: one component, so that a hundred of them are there at once and each one is a link."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from app import links
from app.atlas.choice import Card, Chosen
from app.drawn import once
from app.tasks.task_cards import GROUPS
from peftcore.figures.atlas import Labelled, Range, multiples, sheet, small_grid
from peftcore.figures.method_style import method_title
from peftcore.figures.squares import Scale
from peftcore.store import spreadsheet

_CSS = """
section {margin: 0 0 1.1rem; color: var(--st-text-color); font-family: var(--st-font); font-size: 0.93rem}
h3 {font-size: 1rem; font-weight: 600; margin: 0 0 0.4rem}
h3 small {font-weight: 400; opacity: 0.7}
.cards {display: grid; gap: 0.5rem; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr))}
@media (min-width: 1800px) {.cards {grid-template-columns: repeat(auto-fill, minmax(190px, 1fr))}}
a {display: block; padding: 0.45rem; border: 1px solid var(--st-border-color); border-radius: 6px; color: inherit;
   text-decoration: none; min-width: 0}
a:hover, a:focus-visible, a[aria-current] {
   border-color: var(--st-primary-color); outline: 1px solid var(--st-primary-color)}
img {display: block; width: 100%; aspect-ratio: var(--shape)}
b, span {display: block; overflow-wrap: anywhere}
b {font-weight: 600; margin-top: 0.3rem; line-height: 1.25}
span {font-size: 0.8rem; opacity: 0.75}
.bar {display: flex; align-items: center; gap: 0.5rem; font-size: 0.85rem; margin: 0 0 0.8rem; flex-wrap: wrap}
.bar i {display: block; width: 140px; height: 10px; border-radius: 2px}
"""
_JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const make = (tag, text, more) =>
    Object.assign(document.createElement(tag), text === null ? {} : {textContent: text}, more);
  const all = make("div", null, {});
  const bar = make("div", null, {className: "bar"}), ramp = make("i", null, {});
  ramp.style.background = data.ramp;
  bar.append(make("div", data.low, {}), ramp, make("div", data.high, {}));
  all.append(bar);
  for (const group of data.groups) {
    const section = make("section", null, {}), heading = make("h3", group.title + " ", {});
    heading.append(make("small", group.note, {}));
    const cards = make("div", null, {className: "cards"});
    for (const card of group.cards) {
      const link = make("a", null, {href: card.href, title: card.says});
      if (card.open) link.setAttribute("aria-current", "true");
      const image = make("img", null, {src: card.image, alt: card.says});
      image.style.setProperty("--shape", card.shape);
      link.append(image, make("b", card.title, {}), make("span", card.note, {}));
      link.addEventListener("click", event => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        setTriggerValue("open", card.id);
      });
      cards.append(link);
    }
    section.append(heading, cards);
    all.append(section);
  }
  const old = [...parentElement.children].find(each => each.className === "wall");  // a shadow root has no :scope
  all.className = "wall";
  old ? old.replaceWith(all) : parentElement.append(all);
}
"""
_component = st.components.v2.component("atlas_wall", css=_CSS, js=_JS)


def draw(chosen: Chosen, opened: str | None) -> str | None:
    """All grids in their groups, and the colours' meaning. Returns the id of the one that was clicked just now."""
    colours = chosen.colours
    groups = []
    for group, cards in chosen.by_group().items():
        title, note = GROUPS[group]
        groups.append({"title": title, "note": note, "cards": [_card(card, colours, chosen, opened) for card in cards]})
    data = {"groups": groups, **_legend(chosen.cards, colours)}
    return _component(key="atlas_wall", data=data, on_open_change=lambda: None).open


def _legend(cards: Sequence[Card], colours: Range) -> dict[str, str]:
    stops = ", ".join(f"{colour} {100 * share:.1f}%" for share, colour in colours.stops)
    names = {Scale.of(card.values).name for card in cards}
    return {
        "low": f"{colours.low:.2g}" + ("" if colours.low < 0.05 else " or less"),
        "high": f"{colours.high:.2g} times the {' or '.join(sorted(names))} head of its adapter, or more",
        "ramp": f"linear-gradient(90deg, {stops})",
    }


def _card(card: Card, colours: Range, chosen: Chosen, opened: str | None) -> dict[str, Any]:
    entry = card.entry
    return {
        "id": entry.id,
        "title": entry.title,
        "note": _note(card, chosen),
        "says": says(card),
        "href": href(card, chosen),
        "image": once(_grid, card.values, colours, card.mask),
        "shape": f"{card.values.shape[1]} / {card.values.shape[0]}",
        "open": entry.id == opened,
    }


def _note(card: Card, chosen: Chosen) -> str:
    """What tells cards of one task apart: method and seed, the backbone where several are shown; then the accuracy."""
    entry, parts = card.entry, []
    if len({other.entry.method for other in chosen.cards}) > 1:
        parts.append(method_title(entry.method))
    if len({other.entry.backbone for other in chosen.cards}) > 1:
        parts.append(entry.backbone)
    if sum(other.entry.task == entry.task for other in chosen.cards) > 1:
        parts.append(f"run {entry.id}" if entry.id.isdigit() else f"seed {entry.seed}")
    if entry.reached is not None:
        parts.append(f"{entry.reached:.2f}")
    return ", ".join(parts) or f"{card.peak[0]:.1f} \N{MULTIPLICATION SIGN} at most"


def says(card: Card) -> str:
    """'EuroSAT: head 3 of layer 7 moved most, 1.4 times the median head'."""
    peak, layer, head = card.peak
    name = Scale.of(card.values).name
    return f"{card.entry.title}: head {head + 1} of layer {layer + 1} moved most, {peak:.1f} times the {name} head"


def href(card: Card, chosen: Chosen) -> str:
    """Where a click leads, as an address: Heads for a run that it can open, this page for all others."""
    page, query = place(card, chosen)
    return f"{page}?{urlencode(query, doseq=True)}"


def place(card: Card, chosen: Chosen) -> tuple[str, dict[str, Any]]:
    """The page that opens an entry, and its query."""
    if card.entry.subject is None:
        return "atlas", links.shown() | {"open": card.entry.id}
    query: dict[str, Any] = {"run": card.entry.subject.id}
    if chosen.projection in "qkv":
        query["projection"] = chosen.projection
    if chosen.score == "energy":
        query["score"] = chosen.score
    return "heads", query


def _grid(*of: Any) -> str:
    return _image(small_grid(*of))


def _image(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    _picture(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _picture(pixels: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def offer(chosen: Chosen) -> None:
    """The numbers of all grids and their picture, to take away."""
    with st.popover(":small[:gray[numbers and picture]]", type="tertiary", icon=":material/download:"):
        for name, kind, made in (
            ("numbers (CSV)", "text/csv", lambda: spreadsheet.file(table(chosen))),
            ("picture (SVG)", "image/svg+xml", lambda: _sheet(chosen).encode()),
            ("picture (PNG)", "image/png", lambda: _png(chosen)),
        ):
            ending = name[-4:-1].lower()
            st.download_button(
                name, made, file_name=f"atlas.{ending}", mime=kind, key=f"atlas_{ending}", on_click="ignore"
            )


def table(chosen: Chosen) -> pd.DataFrame:
    """A row for each head of each adapter; layers and heads count from 1."""
    rows = []
    for card in chosen.cards:
        relative = multiples(card.values)
        for layer, head in np.argwhere(np.isfinite(card.values)):
            on = card.mask is None or bool(card.mask[layer, head])
            own = (card.values[layer, head], relative[layer, head])
            rows.append((card.entry.id, card.entry.title, card.entry.group, layer + 1, head + 1, *own, on))
    score = f"{chosen.score} in {chosen.of}"
    names = ["adapter", "task", "group", "layer", "head", score, "times the median head", "on"]
    return pd.DataFrame(rows, columns=names)


def _sheet(chosen: Chosen) -> str:
    cards = {
        GROUPS[group][0]: [Labelled(card.entry.title, card.values, card.mask, _note(card, chosen)) for card in cards]
        for group, cards in chosen.by_group().items()
    }
    return sheet(cards, chosen.colours)


def _cut(text: str, font: Any, width: int) -> str:
    """As much of a text as there is room for, in pixels."""
    return next(short for end in range(len(text), -1, -1) if font.getlength(short := text[:end]) <= width)


def _png(chosen: Chosen) -> bytes:
    """The same as one picture in pixels: its squares are whole ones."""
    from PIL import Image, ImageDraw, ImageFont

    across, lines = 6, ((ImageFont.load_default(20), 0), (ImageFont.load_default(15), 25))
    grids = [(card, small_grid(card.values, chosen.colours, card.mask)) for card in chosen.cards]
    side = max(max(pixels.shape[:2]) for _, pixels in grids) + 24
    whole = Image.new("RGB", (across * side + 24, -(-len(grids) // across) * (side + 56) + 12), "white")
    pen = ImageDraw.Draw(whole)
    for place_, (card, pixels) in enumerate(grids):
        left, top = 24 + place_ % across * side, 12 + place_ // across * (side + 56)
        for text, (font, below) in zip((card.entry.title, _note(card, chosen)), lines, strict=True):
            pen.text((left, top + below), _cut(text, font, side - 12), fill="black", font=font)
        picture = _picture(pixels)
        whole.paste(picture, (left, top + 50), picture)
    buffer = io.BytesIO()
    whole.save(buffer, "PNG")
    return buffer.getvalue()
