"""The door of a room: a page that asks for the code and a name, and nothing else is served to who has not passed it.

It stands before Streamlit, so that a stranger gets no session, no file and no event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import jinja2
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from app.room import accounts, archives, cookie, uploading
from app.room.guesses import Guesses
from peftcore.engine.room import Person, Room, names
from peftcore.errors import HeadroomError

ENTER, LEAVE, TEACHER = "/enter", "/leave", "/teacher"
OPEN = (ENTER, TEACHER, "/_stcore/health", "/favicon.png")  # served to strangers
BUNDLE = "/static/"  # Streamlit's own scripts, the same for everybody
FORM_BYTES = 16_384  # of what somebody sends to enter
ASKED = "headroom_asked"  # a cookie: the code of a link and where it leads, while a service signs somebody in
PAGES = Path(__file__).resolve().parents[1] / "assets"
_FRAMES = (("content-security-policy", "frame-ancestors 'self'"), ("x-frame-options", "SAMEORIGIN"))


class Door:
    """Middleware that lets in who has the room's cookie, sends others to the entering page, and keeps other sites from
    showing the app in a frame."""

    def __init__(self, app: ASGIApp, room: Callable[[], Room]):
        self.app, self.room, self.held = app, room, uploading.Held()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        asked = HTTPConnection(scope)
        if scope["type"] == "websocket":
            # Streamlit looks at host and origin itself.
            if cookie.person(self.room(), asked.cookies) is None:
                return await send({"type": "websocket.close", "code": 1008})
            return await self.app(scope, receive, send)

        async def framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _FRAMES:
                    headers[name] = value
            await send(message)

        if answer := self._answer(asked):
            return await answer(scope, receive, framed)
        who = cookie.person(self.room(), asked.cookies)
        if scope["method"] != "PUT" or who is None or not asked.url.path.startswith(uploading.ROUTE):
            return await self.app(scope, receive, framed)
        session = asked.url.path.removeprefix(uploading.ROUTE).partition("/")[0]
        try:
            with self.held.coming(who.id, session, asked.headers.get("content-length")):
                await self.app(scope, receive, framed)
        except uploading.TooMuch as error:
            await PlainTextResponse(str(error), error.status)(scope, receive, framed)

    def _answer(self, asked: HTTPConnection) -> Response | None:
        """What a stranger gets; None lets the request through."""
        path = asked.url.path
        if not is_host_allowed(asked.headers.get("host")):
            return PlainTextResponse("This app does not answer to that name.", 400)
        if path in OPEN or path.startswith(accounts.ROUTES) or cookie.person(self.room(), asked.cookies):
            return None
        if path.startswith(BUNDLE) and cookie.was_here(self.room(), asked.cookies):
            return None  # the page that says so to somebody who was removed asks for parts that it had not yet
        if asked.scope["method"] not in ("GET", "HEAD") or "text/html" not in asked.headers.get("accept", ""):
            return PlainTextResponse("Enter the room first.", 403)
        wanted = path + (f"?{asked.url.query}" if asked.url.query else "")
        return RedirectResponse(f"{ENTER}?{urlencode({'next': wanted})}", 303)


def middleware(room: Callable[[], Room]) -> list[Middleware]:
    """What `st.App` takes."""
    return [Middleware(Door, room=room)]


def routes(room: Callable[[], Room], guesses: Guesses | None = None) -> list[BaseRoute]:
    """The entering page, the teacher's link and the way out."""
    guesses = guesses or Guesses()

    async def enter(asked: Request) -> Response:
        form = await _sent(asked) if asked.method == "POST" else asked.query_params
        if form is None:
            return PlainTextResponse("That is more than a code and a name.", 413)
        said = {name: str(form.get(name, ""))[:2000] for name in ("code", "name", "next")}
        here = room()
        account = accounts.account(asked.cookies, str(asked.base_url))
        if account and asked.method == "GET":  # they come back from the service, to the front page
            before = dict(parse_qsl(asked.cookies.get(ASKED, "")))
            said["code"] = said["code"] or before.get("code", "")
            said["next"] = before.get("next", "") if said["next"] in ("", "/") else said["next"]
        if who := cookie.person(here, asked.cookies):
            return _go(said["next"])
        if asked.method != "POST":
            return _page(said, account, "", 200)
        if not _own(asked):
            return _page(said, account, "This form was sent from another site. Try again here.", 403)
        address = asked.client.host if asked.client else ""
        if pause := guesses.wait(address):
            text = f"Too many wrong codes came from here. Try again in {pause:.0f} seconds."
            return _page(said, account, text, 429)
        if not names.same_code(said["code"], here.code):
            guesses.wrong(address)
            return _page(said, account, "That is not the code of this room. The teacher shows it.", 403)
        guesses.right(address)
        try:
            who = here.enter(account.name[: names.LONGEST], account.id) if account else here.enter(said["name"])
        except HeadroomError as error:
            return _page(said, account, str(error), 400)
        return _greeted(_go(said["next"]), here, who, asked)

    async def teach(asked: Request) -> Response:
        here = room()
        given = hashlib.sha256(asked.query_params.get("key", "").encode()).digest()
        if given != hashlib.sha256(here.teacher_secret.encode()).digest():  # too long to be guessed
            return _refused(
                "This is not the teacher's link of this room",
                "The key in it is wrong or cut off, or belongs to another room.",
                "The right link stands in the terminal where Headroom was started, behind \u201cFor the teacher\u201d: "
                "copy it from there to its end. It stays the same after a restart.",
            )
        return _greeted(_go("/room"), here, here.teacher, asked)

    async def take(asked: Request) -> Response:
        here, whose = room(), asked.path_params["whose"]
        who = cookie.person(here, asked.cookies)
        if who is None or whose not in (archives.WHOLE, archives.OWN) or (whose == archives.WHOLE) > who.is_teacher:
            return _refused(
                "Only the teacher takes everybody's runs home",
                "Your own are packed on the page Room.", link="/room", label="To the room",
            )  # fmt: skip
        path = archives.file(archives.WHOLE if whose == archives.WHOLE else who.id)
        if not path.exists():
            return _refused(
                "This is not packed yet", "The page Room packs it.", status=404, link="/room", label="To the room"
            )
        return FileResponse(path, media_type="application/zip", filename=f"headroom-{whose}.zip")

    async def leave(asked: Request) -> Response:
        if not _own(asked):
            return PlainTextResponse("This was sent from another site.", 403)
        answer = RedirectResponse(ENTER, 303)
        cookie.forget(answer, room())
        return answer

    return [
        Route(ENTER, enter, methods=["GET", "POST"]),
        Route(TEACHER, teach),
        Route(f"{archives.ROUTE}/{{whose}}", take),
        Route(LEAVE, leave, methods=["POST"]),
    ]


def _page(said: dict[str, str], account: accounts.Account | None, fault: str, status: int) -> Response:
    offered = [] if account else accounts.providers()
    text = _template("enter.html").render(
        **said, action=ENTER, fault=fault, account=account.name if account else "", providers=offered
    )
    answer = HTMLResponse(text, status, headers={"cache-control": "no-store"})
    if offered:
        link = urlencode({name: said[name] for name in ("code", "next")})
        answer.set_cookie(ASKED, link, max_age=600, httponly=True, samesite="lax")
    return answer


def _refused(
    title: str, *lines: str, status: int = 403, link: str = ENTER, label: str = "Enter as a participant"
) -> Response:
    """What happened and what to do, as a page like the one that lets people in."""
    text = _template("refused.html").render(title=title, lines=lines, link=link, label=label)
    return HTMLResponse(text, status, headers={"cache-control": "no-store"})


def _greeted(answer: Response, room: Room, who: Person, asked: Request) -> Response:
    cookie.keep(answer, room, who, secure=asked.url.scheme == "https")
    answer.delete_cookie(ASKED)
    return answer


def _go(wanted: str) -> Response:
    """To a page of this app and of no other site."""
    try:
        parts = urlsplit(wanted)
    except ValueError:  # 'http://['
        return RedirectResponse("/", 303)
    is_here = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return RedirectResponse(wanted if is_here else "/", 303)


def _own(asked: Request) -> bool:
    """Whether a form comes from a page of this app: browsers say from where."""
    origin = asked.headers.get("origin")
    return origin is None or origin.partition("://")[2] == asked.headers.get("host")


async def _sent(asked: Request) -> Mapping[str, str] | None:
    """A form's fields; None where it is larger than anybody's. Whoever sends it has not entered yet."""
    body = b""
    async for part in asked.stream():
        body += part
        if len(body) > FORM_BYTES:
            return None
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace"))


@cache
def _template(name: str) -> jinja2.Template:
    return jinja2.Environment(autoescape=True, loader=jinja2.FileSystemLoader(PAGES)).get_template(name)
