"""How others come in: the code, the link and its picture."""

from __future__ import annotations

import html
import io
from urllib.parse import urlsplit

import segno
import streamlit as st

from app import errors
from app.room import greeting, who


def link() -> str:
    """The participants' link, as this browser reaches the app."""
    return greeting.link(st.context.headers.get("Host", ""), urlsplit(st.context.url or "").scheme)


def readable(address: str) -> str:
    """An address as HTML that breaks between its parts alone: scheme and host, path, query."""
    parts = urlsplit(address)
    pieces = [f"{parts.scheme}://{parts.netloc}", parts.path, f"?{parts.query}" if parts.query else ""]
    return "<wbr>".join(f'<span style="white-space: nowrap">{html.escape(piece)}</span>' for piece in pieces if piece)


@st.cache_data(max_entries=8, show_spinner=False)
def picture(text: str, scale: int) -> bytes:
    """A QR code as PNG, dark on white whatever the theme, as cameras want it."""
    file = io.BytesIO()
    segno.make(text, error="m").save(file, kind="png", scale=scale, border=3, light="#ffffff", dark="#11151a")
    return file.getvalue()


def draw() -> None:
    """Code, link and picture, and the button that draws another code."""
    st.header(f"Code {greeting.room().code}", anchor=False)
    st.image(picture(link(), 5), width=200)
    st.html(f'<div style="font-family: var(--st-code-font, monospace); font-size: 0.9rem">{readable(link())}</div>')
    with st.popover("Copy link", icon=":material/content_copy:", type="tertiary"):
        st.code(link(), language=None)
    with st.popover("New code", icon=":material/refresh:", type="tertiary"):
        st.markdown("The old code lets nobody in any more; who is in stays.")
        st.button("Draw a new code", key="room_new_code", type="primary", on_click=_renew)


def _renew() -> None:
    with errors.sentences(stop=False):
        who.room().renew_code()
