"""What the terminal says when a room opens: its code, and the links of the participants and of the teacher."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import psutil
import streamlit as st

from app.room import OPEN
from peftcore.engine.room import Room
from peftcore.home import home


@cache
def _room(folder: str) -> Room:
    return Room(folder)


def room() -> Room:
    """The room of HEADROOM_HOME; of this process one."""
    return _room(str(home()))


def has_door() -> bool:
    """Whether the app was started by room_app.py."""
    return bool(os.environ.get(OPEN))


def address() -> str:
    """Where others reach the app, 'http://192.168.1.20:8501', as far as this machine can know: the address that it
    listens on, else its first one that is not its own loopback."""
    given = st.get_option("server.address") or "0.0.0.0"
    host = _outward() if given in ("0.0.0.0", "::") else given.strip("[]")
    return f"{_scheme()}://{f'[{host}]' if ':' in host else host}:{st.get_option('server.port')}"


def _outward() -> str:
    for cards in psutil.net_if_addrs().values():
        for one in cards:
            if one.family == socket.AF_INET and not ipaddress.ip_address(one.address).is_loopback:
                return one.address
    return socket.gethostname()


def link(host: str = "", scheme: str = "") -> str:
    """The link of the participants, with the code in it, as the browser that asks reaches the app at `host`, unless
    that is this machine's own address. `scheme`: the browser's, which behind a proxy is not the server's own."""
    name = urlsplit(f"//{host}").hostname or ""
    own = name in ("", "localhost", "::1") or name.startswith("127.")
    return f"{address() if own else f'{scheme or _scheme()}://{host}'}/enter?code={room().code}"


def _scheme() -> str:
    return "https" if st.get_option("server.sslCertFile") else "http"


def text(here: Room, where: str) -> str:
    """For the terminal."""
    return (
        f"\n  This Headroom is a room. Code: {here.code}\n"
        f"  For all:          {where}/enter?code={here.code}\n"
        f"  For the teacher:  {where}/teacher?key={here.teacher_secret}\n"
        "  Whoever has the teacher's link is the teacher: keep it to yourself. Both stay the same after a restart.\n"
    )


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[None]:
    """Greets when the server begins."""
    print(text(room(), address()), flush=True)
    yield
