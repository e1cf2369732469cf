"""Whether others than the person at the machine can open the app, and what holds then."""

from __future__ import annotations

import ipaddress
import os

import streamlit as st

from peftcore.fetch.confined import NONE, VARIABLE

OPEN = "HEADROOM_ROOM"  # set where the app has a door, whichever address it listens on: behind a proxy it is its own


def is_room() -> bool:
    """Whether the app has a door, or listens on another address than this machine's own."""
    if os.environ.get(OPEN):
        return True
    address = st.get_option("server.address")
    if not address:
        return True  # Streamlit then listens on all
    if address == "localhost":
        return False
    try:
        return not ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return True


def confine() -> None:
    """Where others can open the app and nobody named a folder for them, no link and no form may name one.

    Runs and worker processes inherit it.
    """
    if is_room() and not os.environ.get(VARIABLE):
        os.environ[VARIABLE] = NONE
