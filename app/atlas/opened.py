"""One adapter of the atlas, large: what others trained and released. Runs open in Heads."""

from __future__ import annotations

import streamlit as st

from app import captions, errors, links, screen, theme
from app.atlas.choice import SCORES, Card, Chosen
from app.drawn import plan
from peftcore.figures import heads
from peftcore.figures.method_style import method_title


def draw(card: Card, chosen: Chosen) -> None:
    """Over the wall: its grid and its profile by layer."""
    title = f"{errors.plain(card.entry.title)}: {method_title(card.entry.method)}, {card.entry.backbone}"
    st.dialog(title, width="large", on_dismiss=_close)(_inside)(card, chosen)


def _close() -> None:
    links.write(open=None)


def _fit() -> dict[str, int]:
    """As `screen.fit`, within the dialog's own margins."""
    return {"width": screen.width() - 76} if screen.is_phone() else screen.fit(545, 530)


def _inside(card: Card, chosen: Chosen) -> None:
    entry, scores = card.entry, card.entry.scores[chosen.score]
    left, right = st.columns(2, gap="medium")
    with left:
        grid = plan(heads.head_grid,
            card.values, scores.layers, score=chosen.score, projection=chosen.short, mask=card.mask, note="",
            **_fit(), dark=theme.is_dark(),
        )  # fmt: skip
        theme.show(grid, "atlas_grid")
    with right:
        profile = plan(heads.layer_profile, card.values, score=chosen.score, height=480, dark=theme.is_dark())
        theme.show(profile, "atlas_profile")
    settings = ", ".join(f"{name} {value}" for name, value in entry.settings.items())
    captions.caption(
        f"{entry.title}: {SCORES[chosen.score]}, {chosen.of}. {entry.source}. "
        f"{f'Trained with {settings}. ' if settings else ''}Layers count from 1 at the bottom, heads from the left.",
        entry.command,
    )
