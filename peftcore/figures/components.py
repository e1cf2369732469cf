"""The components of memory, drawn alike everywhere: their titles, colours and patterns."""

from __future__ import annotations

COMPONENT_TITLES = {
    "frozen_weights": "frozen weights",
    "trainable_weights": "trainable weights",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "cached_features": "cached features",
    "features": "frozen features",
    "activations": "kept activations",
    "workspace": "workspace",
}
COMPONENT_COLOURS = {
    "frozen_weights": "#8DA0B3",
    "trainable_weights": "#0072B2",
    "gradients": "#56B4E9",
    "optimizer": "#CC79A7",
    "cached_features": "#009E73",
    "features": "#7CCBB0",
    "activations": "#E69F00",
    "workspace": "#BBBBBB",
}
# A pattern each, so that the components can be told apart in grey and by the colour-blind.
COMPONENT_PATTERNS = {
    "frozen_weights": "|",
    "trainable_weights": "x",
    "gradients": "/",
    "optimizer": "\\",
    "cached_features": ".",
    "features": "+",
    "activations": "",
    "workspace": "-",
}
PATTERN = dict(fgcolor="#FFFFFF", fgopacity=0.55, fillmode="replace")


def component_colour(name: str) -> str:
    """The fixed colour of a memory component."""
    return COMPONENT_COLOURS[name]


def component_title(name: str) -> str:
    """The memory component in words."""
    return COMPONENT_TITLES[name]
