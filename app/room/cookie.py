"""The cookie that says who somebody is: a person's id, signed with the room's key, out of reach of scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from itsdangerous import BadSignature, URLSafeSerializer
from starlette.responses import Response

from peftcore.room import Person, Room

DAYS = 30


def name(room: Room) -> str:
    """Of the cookie: a browser that knows two rooms on one machine keeps both."""
    return f"headroom_{hashlib.sha256(room.key.encode()).hexdigest()[:8]}"


def person(room: Room, cookies: Mapping[str, str]) -> Person | None:
    """Whom a browser's cookies name; None for nobody, and for who was removed."""
    try:
        id = _signer(room).loads(cookies.get(name(room), ""))
    except BadSignature:
        return None
    return room.person(id) if isinstance(id, str) else None


def keep(response: Response, room: Room, who: Person, secure: bool) -> None:
    """Gives a browser the cookie. `secure`: the page came over TLS, and so must the cookie."""
    value = _signer(room).dumps(who.id)
    response.set_cookie(
        name(room), str(value), max_age=DAYS * 86400, httponly=True, samesite="lax", secure=secure, path="/"
    )


def forget(response: Response, room: Room) -> None:
    """Takes it away."""
    response.delete_cookie(name(room), path="/", httponly=True, samesite="lax")


def _signer(room: Room) -> URLSafeSerializer:
    return URLSafeSerializer(room.key, salt="headroom person")
