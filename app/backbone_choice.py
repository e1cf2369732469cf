"""Which backbone, and whether its weights are here: the curated ones first, then any name of timm or of the hub."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import streamlit as st

from app import errors, glossary, links
from peftcore.backbone import embedded, weights
from peftcore.errors import HeadroomError
from peftcore.fetch import places
from peftcore.fetch.curated import CURATED
from peftcore.figures.words import human_count, si_bytes
from peftcore.spec import RunSpec

DEFAULT = RunSpec.model_fields["backbone"].default


def choose(page: str = "launch", label: str = "Backbone") -> str:
    """The picker; any name may be typed. `backbone` in the address."""
    known, asked, own = _names(), links.read("backbone"), embedded.names()
    return links.choice(
        st.selectbox,
        page,
        "backbone",
        label,
        known if asked is None or asked in known else [*known, asked],
        default=DEFAULT,
        show=lambda name: _label(name, own),
        accept_new_options=True,
        help=glossary.linked(
            "A backbone that comes with Headroom, any ViT or Swin of timm, or hf-hub:OWNER/NAME. Type to search. "
            "The most used come first, with their number of weights: ✓ they are here, ↓ they can be downloaded."
        ),
    )


@st.cache_data(show_spinner=False)
def _names() -> list[str]:
    from peftcore.backbone.load import backbones

    return backbones()


def _label(name: str, own: Collection[str]) -> str:
    """'↓ ViT-B/16, 85.8 M: vit_base_patch16_224.orig_in21k'; a name alone of what is not curated. `own`: the embedded
    backbones, looked up once for all names."""
    if name in own:
        return f"✓ {name}, {human_count(embedded.card(name)['training']['parameters'])}"
    if one := CURATED.get(name):
        return f"{'✓' if places.here(name) else '↓'} {one.title}, {human_count(one.parameters)}: {name}"
    return name


def _anatomy(embed_dim: int, num_heads: int | list[int], depth: int = 0, depths: Sequence[int] = (), **_: Any) -> str:
    """'8 layers of 8 heads, width 128'; of a Swin '8 layers in 3 stages of 3, 6 and 12 heads, widths 48 to 192'."""
    if isinstance(num_heads, int):
        return f"{depth} layers of {num_heads} heads, width {embed_dim}"
    *first, last = map(str, num_heads)
    return (
        f"{sum(depths)} layers in {len(depths)} stages of {', '.join(first)} and {last} heads, "
        f"widths {embed_dim} to {embed_dim * 2 ** (len(depths) - 1)}"
    )


def about(name: str) -> str:
    """A line on a backbone."""
    if name in embedded.names():
        card = embedded.card(name)
        pixels = card["input_size"][-1]
        return f"Comes with Headroom: {_anatomy(**card['arguments'])}, {pixels} x {pixels} pixels."
    try:
        here = "Its weights are here." if places.here(name) else "Its weights are not here yet."
    except HeadroomError:
        return "Any name of timm, with or without the tag of its weights, or hf-hub:OWNER/NAME."
    if one := CURATED.get(name):
        about = f"{si_bytes(one.bytes)} in fp32, licence {one.licence}. Trained on {one.trained_on}."
        return f"{errors.code(name)}: {about} {here}"
    return f"{errors.code(name)}. {here}"


def download_note(spec: RunSpec) -> None:
    """Before the launch: what will be downloaded and from where, or that the weights will be random."""
    name = spec.backbone
    if spec.weights:
        return
    if not spec.pretrained:
        st.caption(":material/casino: **Random weights**, chosen on purpose: every figure of the run will say so.")
        return
    try:
        if places.here(name):
            return
        size, repo = _download_bytes(name), places.repository(name) if not name.startswith(weights.REMOTE) else None
    except HeadroomError as error:
        st.warning(errors.plain(str(error)), icon=":material/cloud_off:")
        return
    much = f"About {si_bytes(size)}" if size else "Its weights"
    where = f"{places.hub()}/{repo}" if repo else "the hub" if size is None else "the address that timm knows"
    text = f":material/download: **{much} will be downloaded** from {where} when the run begins."
    if repo:
        text += (
            f" Without a network here: {errors.code(f'python -m peftcore fetch {name}')} on a machine that has one, "
            "and name the folder in `HEADROOM_WEIGHTS`."
        )
    st.caption(text)


@st.cache_data(show_spinner=False)
def _download_bytes(name: str) -> int | None:
    """None where only the hub knows."""
    from peftcore.fetch.backbones import size

    return None if name.startswith(weights.REMOTE) else size(name)
