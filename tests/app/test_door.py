"""The door of a room: who may come in, what the cookie keeps, and what a stranger does not get."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.room import accounts, cookie, door, uploading
from app.room.guesses import FREE, Guesses
from peftcore.engine.room import Room

HTML = {"accept": "text/html", "host": "localhost"}
OWN = HTML | {"origin": "http://localhost"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def browser(room, clock):
    """browser(): one that has never been here, before a door with a small app behind it."""

    async def page(asked):
        return PlainTextResponse(f"page {asked.url.path}")

    async def stream(socket: WebSocket):
        await socket.accept()
        await socket.send_text("session")
        await socket.close()

    behind = [Route("/{path:path}", page, methods=["GET", "POST", "PUT"]), WebSocketRoute("/_stcore/stream", stream)]
    routes = [*door.routes(lambda: room, Guesses(clock)), *behind]
    app = Starlette(routes=routes, middleware=door.middleware(lambda: room))
    return lambda: TestClient(app, base_url="http://localhost", follow_redirects=False)


def enter(client: TestClient, code: str, name: str = "Ana", **more: str):
    return client.post("/enter", data={"code": code, "name": name, **more}, headers=OWN)


def session(client: TestClient) -> str:
    with client.websocket_connect("ws://localhost/_stcore/stream") as socket:
        return socket.receive_text()


def test_a_stranger_gets_no_page_no_session_and_no_file(browser):
    stranger = browser()
    sent = stranger.get("/runs?run=3", headers=HTML)
    assert (sent.status_code, sent.headers["location"]) == (303, "/enter?next=%2Fruns%3Frun%3D3")
    for path in (
        "/enterprise",
        "/teacher/media/abc.csv",
        "/_stcore/healthy",
        "/media/abc.csv",
        "/_stcore/upload_file/a/b",
        "/static/index.js",
        "/room",
    ):
        assert stranger.get(path).status_code == 403 and stranger.put(path).status_code == 403
    with pytest.raises(WebSocketDisconnect):
        session(stranger)
    assert stranger.get("/_stcore/health").status_code == 200
    shown = stranger.get("/enter", headers=HTML)
    assert shown.headers["content-security-policy"] == "frame-ancestors 'self'"
    assert shown.headers["x-frame-options"] == "SAMEORIGIN"
    assert stranger.get("/enter", headers=HTML | {"host": "evil.example"}).status_code == 400


def test_entering_leads_where_one_wanted_and_a_cookie_keeps_the_name(browser, room):
    ana, other = browser(), browser()
    form = ana.get("/enter", params={"next": '/runs?run=3&x="><b>', "code": room.code}, headers=HTML).text
    assert 'value="/runs?run=3&amp;x=&#34;&gt;&lt;b&gt;"' in form and room.code in form
    came = enter(ana, room.code.lower(), next="/runs?run=3")
    assert (came.status_code, came.headers["location"]) == (303, "/runs?run=3")
    said = came.headers["set-cookie"]
    assert "HttpOnly" in said and "SameSite=lax" in said and "Path=/" in said and "Secure" not in said
    assert ana.get("/runs", headers=HTML).text == "page /runs" and session(ana) == "session"
    assert ana.get("/enter?next=/heads", headers=HTML).headers["location"] == "/heads"  # who is in need not enter
    enter(other, room.code)
    names = [cookie.person(room, client.cookies).name for client in (ana, other)]
    assert names == ["Ana", "Ana (2)"]
    for bad in (
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "",
        "http://[",
        "/\t/evil.example",
    ):
        assert enter(browser(), room.code, next=bad).headers["location"] == "/"


def test_the_cookie_cannot_be_made_up_and_ends_with_the_person(browser, room, tmp_path):
    ana = browser()
    enter(ana, room.code)
    kept = ana.cookies[cookie.name(room)]
    assert cookie.person(room, {cookie.name(room): kept}).name == "Ana"
    again = Room(tmp_path)  # the app was started again
    assert cookie.person(again, {cookie.name(room): kept}).name == "Ana"
    again.close()
    words, signature = kept.rsplit(".", 1)  # not its last letter: two of its six bits say nothing
    forged_one = f"{words}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    for forged in (forged_one, room.teacher.id, "", "x.y", words):
        assert cookie.person(room, {cookie.name(room): forged}) is None
    room.remove(cookie.person(room, ana.cookies).id)
    assert ana.get("/runs", headers=HTML).status_code == 303 and ana.get("/media/x.csv").status_code == 403
    assert ana.get("/static/js/LinkButton.js").status_code == 200  # or the page that tells them goes blank
    with pytest.raises(WebSocketDisconnect):
        session(ana)


def test_a_wrong_code_is_a_sentence_and_guessing_gets_slow(browser, room, clock):
    guesser, friend = browser(), browser()
    for _ in range(FREE):
        answer = enter(guesser, "AAA-111", "<b>Eve</b>")
        assert answer.status_code == 403 and "That is not the code of this room." in answer.text
    assert "&lt;b&gt;Eve" in answer.text and "<b>Eve" not in answer.text
    slow = enter(guesser, room.code)
    assert slow.status_code == 429 and "Try again in 1 seconds" in slow.text
    clock.now += 1.1
    enter(guesser, "AAA-111")
    clock.now += 1.1
    assert enter(friend, room.code).status_code == 429  # of the same address; twice as long now
    clock.now += 1.1
    assert enter(friend, room.code).status_code == 303
    assert enter(guesser, "AAA-111").status_code == 403  # a right code cleared it
    assert enter(guesser, room.code, name=" ").status_code == 400
    other_site = guesser.post("/enter", data={"code": room.code, "name": "A"}, headers=HTML | {"origin": "http://evil"})
    assert other_site.status_code == 403 and "another site" in other_site.text


def test_nobody_is_sent_out_and_nothing_is_filled_by_a_stranger(browser, room):
    ana = browser()
    enter(ana, room.code)
    sent = ana.post("/leave", headers=HTML | {"origin": "http://evil.example"})
    assert sent.status_code == 403 and "set-cookie" not in sent.headers
    assert "set-cookie" in ana.post("/leave", headers=OWN).headers
    stranger = browser()
    for large in ({"data": {"code": "x" * 20_000}}, {"content": iter([b"code=" + b"x" * 9000] * 3)},
                  {"files": {"code": b"x" * 20_000}}):  # fmt: skip
        assert stranger.post("/enter", headers=OWN, **large).status_code == 413
    assert stranger.post("/enter", headers=OWN, content=b"code=%ff\xff&name=%00").status_code == 403
    assert stranger.post("/enter", data={"code": room.code}, headers=HTML | {"origin": "http://["}).status_code == 403


def test_what_one_persons_pages_hold_is_counted(browser, room, monkeypatch):
    """Other people, and the same person's other sessions."""
    held, largest = {"s1": 0, "s2": 0, "s3": 0}, uploading.st.get_option("server.maxUploadSize") * 2**20
    monkeypatch.setattr(uploading, "stored", lambda: held)
    ana, bo = browser(), browser()
    for one in (ana, bo):
        enter(one, room.code)

    def put(client: TestClient, session: str) -> int:
        return client.put(f"/_stcore/upload_file/{session}/f", content=b"x" * 10, headers=OWN).status_code

    assert put(ana, "s1") == put(ana, "s2") == put(bo, "s3") == 200
    held |= {"s1": 2 * largest, "s2": largest - 5}
    assert put(ana, "s1") == put(ana, "s9") == 413 and put(bo, "s3") == 200
    del held["s2"]  # that page was closed
    assert put(ana, "s1") == 200
    assert ana.put("/_stcore/upload_file/s1/f", content=iter([b"x"]), headers=OWN).status_code == 411


def test_the_teachers_link_makes_the_teacher(browser, room):
    teacher, stranger = browser(), browser()
    for _ in range(FREE + 2):
        enter(stranger, "AAA-111")  # of the teacher's own address: a class behind one router
    answer = teacher.get("/teacher", params={"key": room.teacher_secret}, headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "/room")
    assert cookie.person(room, teacher.cookies).is_teacher
    for key in ("", room.code, room.teacher_secret[:-1]):
        said = stranger.get("/teacher", params={"key": key}, headers=HTML)
        assert said.status_code == 403 and "<h1>This is not the teacher&#39;s link" in said.text
        assert "the terminal" in said.text and room.teacher_secret not in said.text
    assert cookie.person(room, stranger.cookies) is None


def test_an_account_gives_the_name(browser, room, monkeypatch):
    monkeypatch.setattr(accounts, "account", lambda *_: accounts.Account("issuer 7", "Ana Lima"))
    first, second = browser(), browser()
    assert "You are signed in as <strong>Ana Lima</strong>" in first.get("/enter", headers=HTML).text
    enter(first, room.code, "Somebody else")
    enter(second, room.code)
    assert [cookie.person(room, one.cookies).name for one in (first, second)] == ["Ana Lima"] * 2  # on two machines
    monkeypatch.setattr(accounts, "account", lambda *_: None)
    monkeypatch.setattr(accounts, "providers", lambda: [accounts.Provider("Campus", "/auth/login?provider=x")])
    third = browser()
    link = {"code": room.code, "next": "/heads?run=3&score=taylor"}
    assert "Sign in with Campus" in third.get("/enter", params=link, headers=HTML).text
    monkeypatch.setattr(accounts, "account", lambda *_: accounts.Account("issuer 8", "Bo"))
    back = third.get(
        third.get("/", headers=HTML).headers["location"], headers=HTML
    ).text  # the service leads to the front
    assert f'value="{room.code}"' in back and 'value="/heads?run=3&amp;score=taylor"' in back, "the link is not lost"
    assert enter(third, room.code, next=link["next"]).headers["location"] == link["next"]


def test_an_account_is_read_from_streamlits_own_cookie(monkeypatch):
    """As Streamlit's sign-in routes write it; of this origin, signed, and only where the secrets name a service."""
    import json

    from streamlit.web.server.server_util import get_cookie_secret
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value
    from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

    said = {"origin": "http://localhost", "is_logged_in": True, "iss": "https://id.example", "sub": "7", "name": "Ana"}
    signed = create_signed_value(get_cookie_secret(), USER_COOKIE_NAME, json.dumps(said)).decode("latin-1")
    cookies = {USER_COOKIE_NAME: signed}
    assert accounts.account(cookies, "http://localhost/") is None and accounts.providers() == []  # no [auth] section
    monkeypatch.setattr(accounts.auth_util, "get_secrets_auth_section", lambda: {"client_id": "x"})
    assert accounts.account(cookies, "http://localhost/") == accounts.Account("https://id.example 7", "Ana")
    forged = {USER_COOKIE_NAME: signed[:-3] + "aaa"}
    for wrong, origin in ((cookies, "http://other/"), (forged, "http://localhost/"), ({}, "http://localhost/")):
        assert accounts.account(wrong, origin) is None
    monkeypatch.setattr(accounts.auth_util, "is_authlib_installed", lambda: True)
    monkeypatch.setattr(accounts.auth_util, "encode_provider_token", lambda name: f"token-{name}")
    both = {"client_id": "x", "campus": {"client_id": "y"}}
    monkeypatch.setattr(accounts.auth_util, "get_secrets_auth_section", lambda: both)
    assert accounts.providers() == [accounts.Provider("Campus", "/auth/login?provider=token-campus")]
