"""How a backbone reads images, by the names and choices that a run's settings have, so that a link carries them on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import streamlit as st

from app import glossary, links
from peftcore.spec import RunSpec

SHOWN = {
    "normalisation": {"backbone": "the backbone's", "imagenet": "ImageNet's", "half": "0.5 and 0.5", "none": "none"},
    "resize": {"stretch": "stretch", "crop": "crop to middle"},
    "augmentation": {"none": "none", "light": "light", "randaugment": "RandAugment"},
}
HELP = {
    "normalisation": "Mean and deviation by which pixels are shifted and scaled. A backbone was trained with its own: "
    "choose another and see what it then reads.",
    "resize": "How images of another size come to the backbone's.",
    "augmentation": "What training would do to its images in one epoch. What would change a label is left out.",
}


def choose(name: str, *, disabled: bool = False) -> str:
    """A widget for one of the settings; its own name in the address."""
    field = RunSpec.model_fields[name]
    said = links.choice(
        st.selectbox,
        "tasks",
        name,
        name.capitalize(),
        list(get_args(field.annotation)),
        default=field.default,
        show=lambda value: SHOWN[name].get(value, value),
        width=160,
        disabled=disabled,
        help=glossary.linked(HELP[name]),
    )
    return field.default if disabled else said


def others_than_default(said: Mapping[str, str | None]) -> dict[str, str]:
    """What a link to the launch page must carry."""
    return {name: value for name, value in said.items() if value and value != RunSpec.model_fields[name].default}


def in_address() -> dict[str, str]:
    """The settings that the address says and that are no defaults."""
    return others_than_default({name: links.read(name) for name in SHOWN})
