"""What `scripts/record_lessons.py` measured, as arrays, and a slider that is bound to the address."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import streamlit as st
from PIL import Image

from app import links
from app.learn import facts

PAGE = "learn"
T = TypeVar("T")


def part(name: str) -> dict[str, Any]:
    """The contents of one file of assets/lessons/measured."""
    return facts.TABLES["measured"][name]


@lru_cache(maxsize=64)
def unpacked(picture: str) -> np.ndarray:
    """The bytes (H, W) or (H, W, 3) of a PNG that stands in the text of an address. Read only."""
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))))
    pixels.flags.writeable = False
    return pixels


def slider(
    name: str, label: str, options: Sequence[T], default: T, *, show: Callable[[T], str] = str, **settings: Any
) -> T:
    """A slider over a few values, which the address names as they are shown."""
    return links.choice(st.select_slider, PAGE, name, label, options, default=default, show=show, code=show, **settings)


def choose(
    name: str, label: str, options: Sequence[T], default: T, *, show: Callable[[T], str] = str, **settings: Any
) -> T:
    """A row of buttons of which one is chosen."""
    return links.choice(
        st.segmented_control, PAGE, name, label, options, default=default, show=show, code=show, required=True,
        **settings,
    )  # fmt: skip
