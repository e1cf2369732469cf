"""Waits for torch and timm in sight of the reader: pages that need the methods' schemas begin with `ready()`."""

from __future__ import annotations

import importlib
import sys

import streamlit as st

from app import background
from peftcore.registry import METHODS

MODULES = ("peftcore.backbone.load", "peftcore.model", *(f"peftcore.methods.{name}" for name in METHODS.names()))


def loaded() -> bool:
    return all(module in sys.modules for module in MODULES)


def load() -> None:
    """Imports all that forms and predictions need."""
    for module in MODULES:
        importlib.import_module(module)


def ready() -> None:
    """Goes on at once where everything is loaded; else says what is happening until it is."""
    place = st.empty()  # always: or what follows moves up, and stands twice until the page has run again
    if loaded():
        return
    background.apart("libraries", load)  # a process that predicts loads them as well, at the same time
    job = background.later("libraries", load)
    said = "Loading PyTorch and timm: about 5 seconds, once after each start of the app."
    background.wait(job, lambda: place.info(said, icon=":material/hourglass_top:"), place)
    place.empty()
    job.result()
