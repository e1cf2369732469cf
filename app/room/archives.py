"""Where archives to take home are kept, and the addresses that fetch them."""

from __future__ import annotations

from pathlib import Path

from peftcore.home import home

ROUTE = "/archive"
WHOLE, OWN = "room", "mine"  # in the address, whose


def file(person: str) -> Path:
    """Where a person's archive is kept, by their id; WHOLE for that of the room."""
    return home() / "archives" / f"{person}.zip"
