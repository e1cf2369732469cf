"""A room in a real browser: in by the code, where one wanted to go, and still the same person after a reload."""

from __future__ import annotations

import re
import socket

import own_app
import pytest
from playwright.sync_api import expect, sync_playwright
from websockets import InvalidStatus, Origin
from websockets.sync.client import connect

GREETING = r"code=(\S+)\n.*(/teacher\S+)"  # in the terminal
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """The address, code and teacher's link of a room, started by its command and printed by it."""
    home = tmp_path_factory.mktemp("room")
    with own_app.started(home, "NAMES=room.example", says=GREETING) as port:
        yield f"http://127.0.0.1:{port}", *re.search(GREETING, own_app.said(home)).groups()


def _only_from_here(address: str, cookie: str) -> None:
    """The command leaves hosts and origins checked: with the right cookie, a page of another site gets nothing."""
    here = address.removeprefix("http://")
    for origin, host, opens in (
        (address, here, True), ("http://evil.example", here, False), ("http://evil.example", "evil.example", False),
        ("http://room.example", "room.example", True),
    ):  # fmt: skip
        line = socket.create_connection(("127.0.0.1", int(here.rpartition(":")[2])))
        how = {"origin": Origin(origin), "additional_headers": {"Cookie": cookie}, "subprotocols": ["streamlit"]}
        try:
            connect(f"ws://{host}/_stcore/stream", sock=line, **how).close()
        except InvalidStatus as refused:
            assert not opens and refused.response.status_code == 403, (origin, host)
        else:
            assert opens, (origin, host)


def test_a_name_is_kept_over_a_reload(room):
    from find_browser import find

    address, code, teacher = room
    expect.set_options(timeout=120_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"{address}/room?part=people")
        page.fill("#code", "AAA-111" if code != "AAA-111" else "BBB-222")
        page.fill("#name", "Ana")
        page.click("button")
        expect(page.get_by_role("alert")).to_have_text("That is not the code of this room. The teacher shows it.")
        page.fill("#code", code.lower())
        page.click("button")
        expect(page.get_by_text("You are Ana.")).to_be_visible()
        assert page.url.endswith("/room?part=people")
        page.reload()
        expect(page.get_by_text("You are Ana.")).to_be_visible()
        other = browser.new_page()
        other.goto(f"{address}/enter?code={code}&next=/room")
        other.fill("#name", "ana")
        other.click("button")
        expect(other.get_by_text("You are ana (2).")).to_be_visible()
        assert page.evaluate("document.cookie").find("headroom_") < 0  # no script reads it
        cookie = next(one for one in page.context.cookies() if one["name"].startswith("headroom_"))
        _only_from_here(address, f"{cookie['name']}={cookie['value']}")
        last = browser.new_page()
        last.goto(address + teacher)
        expect(last.get_by_role("heading", name="Who is doing what in this room?")).to_be_visible()
        browser.close()
