"""The cookie that says who somebody is: a person's id, signed with the room's key, out of reach of scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

from itsdangerous import BadSignature, URLSafeSerializer
from starlette.responses import Response

from peftcore.engine.room import Person, Room

DAYS = 30


def name(room: Room) -> str:
    """Of the cookie: a browser that knows two rooms on one machine keeps both."""
    return _name(room.key)


@lru_cache(maxsize=8)
def _name(key: str) -> str:
    return f"headroom_{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def person(room: Room, cookies: Mapping[str, str]) -> Person | None:
    """Whom a browser's cookies name; None for nobody, and for who was removed."""
    id = _id(room.key, cookies.get(name(room), ""))
    return None if id is None else room.person(id)


def was_here(room: Room, cookies: Mapping[str, str]) -> bool:
    """Whether a browser's cookie is one of this room, if of somebody who was removed meanwhile."""
    return _id(room.key, cookies.get(name(room), "")) is not None


@lru_cache(maxsize=4096)  # a page asks many times
def _id(key: str, value: str) -> str | None:
    try:
        id = _signer(key).loads(value)
    except BadSignature:
        return None
    return id if isinstance(id, str) else None


def keep(response: Response, room: Room, who: Person, secure: bool) -> None:
    """Gives a browser the cookie. `secure`: the page came over TLS, and so must the cookie."""
    value = _signer(room.key).dumps(who.id)
    response.set_cookie(
        name(room), str(value), max_age=DAYS * 86400, httponly=True, samesite="lax", secure=secure, path="/"
    )


def forget(response: Response, room: Room) -> None:
    """Takes it away."""
    response.delete_cookie(name(room), path="/", httponly=True, samesite="lax")


def _signer(key: str) -> URLSafeSerializer:
    return URLSafeSerializer(key, salt="headroom person")
