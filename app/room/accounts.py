"""Accounts of a sign-in service (OpenID Connect), where `.streamlit/secrets.toml` has an `[auth]` section.

Streamlit's own routes do the signing in, as for `st.login`; here its cookie is read. The account gives the name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import URL
from streamlit import auth_util
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

ROUTES = ("/auth/", "/oauth2callback")  # Streamlit's, which somebody passes before entering


@dataclass(frozen=True)
class Provider:
    """A service to sign in with, and the link that leads there."""

    title: str
    link: str


@dataclass(frozen=True)
class Account:
    """Somebody who signed in: `id` is theirs for ever, `name` is what others call them."""

    id: str
    name: str


def providers() -> list[Provider]:
    """Those that the secrets name; none where there are none."""
    section: Mapping[str, Any] = auth_util.get_secrets_auth_section()
    if not section or not auth_util.is_authlib_installed():
        return []
    named = [name for name, value in section.items() if isinstance(value, Mapping) and name != "client_kwargs"]
    found = named or (["default"] if "client_id" in section else [])
    return [Provider("your account" if name == "default" else name.capitalize(), _link(name)) for name in found]


def _link(provider: str) -> str:
    return str(URL("/auth/login").include_query_params(provider=auth_util.encode_provider_token(provider)))


def account(cookies: Mapping[str, str], origin: str) -> Account | None:
    """Who signed in in this browser, by Streamlit's signed cookie; None for nobody. `origin`: that of the page."""

    def signed(name: str) -> bytes | None:
        value = cookies.get(name)
        return None if value is None else decode_signed_value(get_cookie_secret(), name, value.encode("latin-1"))

    if not auth_util.get_secrets_auth_section():
        return None
    found = auth_util.get_cookie_with_chunks(signed, USER_COOKIE_NAME)
    if not found:
        return None
    said = json.loads(found)
    if said.get("origin") != "{0.scheme}://{0.netloc}".format(urlsplit(origin)) or not said.get("is_logged_in"):
        return None
    id = said.get("sub") or said.get("email")
    return Account(f"{said.get('iss', '')} {id}", said.get("name") or said.get("email") or "Guest") if id else None
