"""The choices of the Memory page: which step of which methods is accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import streamlit as st

from app import forms, glossary, links
from app.memory.cases import DEVICES, FEATURES, OWN, TASK, Case
from peftcore.backbone import embedded
from peftcore.figures.method_style import method_title
from peftcore.registry import METHODS

# Any other architecture that timm has can be typed.
COMMON = (
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "vit_large_patch16_224",
    "vit_giant_patch14_dinov2",
    "deit3_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swin_base_patch4_window7_224",
)
BATCHES = ("1", "2", "4", "8", "16", "32", "64", "128", "256")
SIZES = (OWN, "64", "96", "128", "160", "192", "224", "256", "320", "384", "448", "512")


def choose() -> list[Case]:
    """Two rows of widgets, all of them in the address; one case per method."""
    row = st.columns([5, 2, 3, 2, 3, 4], vertical_alignment="bottom")
    with row[0]:
        backbone = _typed(
            "backbone",
            "backbone",
            [*embedded.names(), *COMMON],
            "vit_micro",
            help="Any ViT or Swin that timm has can be typed.",
        )
    with row[1]:
        batch = _typed(
            "batch",
            "batch",
            BATCHES,
            "32",
            help=glossary.linked("Images per step: more of them keep more activations."),
        )
    with row[2]:
        size = _typed(
            "size",
            "image size",
            SIZES,
            OWN,
            show=lambda size: "the backbone's" if size == OWN else size,
            help=glossary.linked(
                "Pixels on a side: a multiple of the backbone's patch. The backbone's is what it was trained on."
            ),
        )
    with row[3]:
        precision = _choice("precision", "precision", ["fp32", "bf16"], "fp32")
    with row[4]:
        device = _choice("device", "on", list(DEVICES), "auto", show=DEVICES.get)
    with row[5]:
        features = _choice(
            "features",
            "side methods' features",
            list(FEATURES),
            "cached",
            show=FEATURES.get,
            help=glossary.linked(
                "Side methods such as LAST only read frozen features: these are computed once and kept, or computed "
                "again in every step."
            ),
        )
    left, right = st.columns([12, 3], vertical_alignment="bottom")
    with left:
        default = [METHODS.baseline("upper"), "lora", "last"]
        methods = links.several("memory", "methods", "methods", METHODS.names(), default=default, show=method_title)
    with right:
        options = _options(methods)
    task, epochs = links.read("task") or TASK, links.read("epochs") or "10"
    return [
        Case(method, backbone, batch, precision, device, features, size, options[method], task, epochs)
        for method in methods
    ]


def _choice(name: str, label: str, options: Sequence[str], default: str, **settings: Any) -> str:
    return links.choice(st.selectbox, "memory", name, label, options, default=default, **settings)


def _typed(name: str, label: str, options: Iterable[str], default: str, **settings: Any) -> str:
    """A choice where something else can be typed; what the address asks for is offered too."""
    asked = links.read(name)
    known = list(dict.fromkeys([*options, *([asked] if asked else [])]))
    return _choice(name, label, known, default, accept_new_options=True, **settings)


def _options(methods: Iterable[str]) -> dict[str, str]:
    """A form for the settings of the methods that have any; by method, as JSON, what differs from the default."""
    said = {}
    with st.popover("Settings", icon=":material/tune:", help="The methods' own settings; they stand in the address."):
        for name in methods:
            cls = METHODS.load(name).METHOD
            if cls.model_fields:
                st.markdown(f"**{method_title(name)}**")
            values = forms.fields(cls, prefix=f"{name}.", columns=3)
            plain = {field: info.get_default(call_default_factory=True) for field, info in cls.model_fields.items()}
            changed = {field: value for field, value in values.items() if value != plain[field]}
            said[name] = json.dumps(changed, sort_keys=True)
    return said
