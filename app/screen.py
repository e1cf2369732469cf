"""How wide the reader's window is: pictures of fixed size (grids of heads, maps over an image) are drawn for it.

A small component tells the width of a window that is not a laptop's, once; a window that is keeps the default, and its
page is drawn once.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

LAPTOP = 1280  # pixels: what pages are laid out for
PHONE, PROJECTOR = 640, 1800  # below the first a phone, from the second on a projector
GROWN = 1.2  # of a figure's type and height on a projector
PADDING = 32  # of the page on a phone, both sides together
_WIDTH = "screen_width"  # in the session
_PAPER = "screen_paper"  # in the session: what is drawn now is to be printed

_JS = """
export default function ({ data, setStateValue }) {
  window.headroomWidth = data.width;  // as the server knows it: a listener of an earlier run asks for this one's
  const tell = () => {
    const width = window.innerWidth, like = width >= 1000 && width < 1500 ? data.laptop : Math.floor(width / 10) * 10;
    if (like !== window.headroomWidth) setStateValue("width", window.headroomWidth = like);
  };
  let timer;
  const later = () => { clearTimeout(timer); timer = setTimeout(tell, 400); };
  tell();
  window.addEventListener("resize", later);
  return () => { clearTimeout(timer); window.removeEventListener("resize", later); };
}
"""
_component = st.components.v2.component("screen_width", js=_JS)


def watch() -> None:
    """At the beginning of each run of the script: takes in the width that the browser reported."""
    st.session_state[_PAPER] = False
    with st.container(key="screen"):
        data = {"width": width(), "laptop": LAPTOP}
        said = _component(key=_WIDTH + "_told", data=data, default={"width": LAPTOP}, on_width_change=lambda: None)
    st.session_state[_WIDTH] = int(said.width or LAPTOP)


def put_on_paper() -> None:
    """What is drawn from here on in this run of the script is for paper: light, and as in a laptop's window."""
    st.session_state[_PAPER] = True


def is_paper() -> bool:
    return bool(st.session_state.get(_PAPER))


def width() -> int:
    """Pixels of the window, for all windows of laptops the same."""
    if is_paper():
        return LAPTOP
    return int(st.session_state.get(_WIDTH, LAPTOP))


def is_phone() -> bool:
    """Whether columns stand one below the other."""
    return width() < PHONE


def is_projector() -> bool:
    """Whether type grows."""
    return width() >= PROJECTOR


def scale() -> float:
    """How much larger than in a laptop's window a picture may be."""
    return min(1.5, max(1.0, width() / LAPTOP))


def tall(pixels: int) -> int:
    """The height of a place for figures, from what it is in a laptop's window: it grows with their type."""
    return round(pixels * GROWN) if is_projector() else pixels


def fit(across: int, down: int | None = None) -> dict[str, Any]:
    """`width` and `height` of a figure of fixed size, from what they are in a laptop's window: as wide as a phone,
    larger where there is room."""
    if is_phone():
        return {"width": width() - PADDING} | ({"height": down} if down else {})
    return {"width": round(across * scale())} | ({"height": round(down * scale())} if down else {})
