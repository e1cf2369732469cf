"""A person in a room, as their browser speaks to Streamlit: opens pages, launches runs, keeps a page's timers."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.typing import Subprotocol

PATIENCE = 120.0  # seconds after which a page counts as an error
OPENED = {"home": 3, "launch": 4, "runs": 5, "compare": 1, "atlas": 2, "heads": 2, "memory": 1, "tasks": 1, "learn": 1}
METHODS = ("lora", "last", "linear", "vpt")  # whose presets are looked at
SMALL = {"method": "linear", "epochs": "2", "batch_size": "64"}  # what people launch


@dataclass
class Tally:
    """What happened: seconds by page, errors by kind, and frames that timers asked for."""

    pages: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    ticks: list[float] = field(default_factory=list)
    launched: int = 0
    received: int = 0  # bytes

    @property
    def seconds(self) -> list[float]:
        return [one for some in self.pages.values() for one in some]


class Person:
    """One browser: a websocket, the page that it shows, and the timers that this page asked for."""

    def __init__(self, address: str, tally: Tally, seed: int, runs: list[int], launches: float = 0.0):
        self.address, self.tally, self.rng, self.runs = address, tally, random.Random(seed), runs
        self.launches = launches
        self.first: dict[str, str] | None = None  # what to launch on the round
        self.page, self.query = "", ""
        self.ended: asyncio.Future[str] | None = None
        self.timers: dict[str, asyncio.Task] = {}
        self.hashes: set[str] = set()
        self.buttons: dict[str, str] = {}  # widget ids by key
        self.ticking: dict[str, float] = {}
        self.to_page = ""  # where a script sent the browser

    async def live(self, until: float, every: float) -> None:
        """Comes at any moment of the first interval, acts on and on, leaves."""
        await asyncio.sleep(self.rng.uniform(0, every))
        try:
            async with self.joined() as self.socket:
                reader = asyncio.create_task(self.read())
                while time.monotonic() < until:
                    began = time.monotonic()
                    await self.act()
                    await asyncio.sleep(max(0.0, every * self.rng.uniform(0.7, 1.3) - (time.monotonic() - began)))
                self.stop()
                reader.cancel()
        except (OSError, websockets.WebSocketException) as error:
            self.tally.errors[f"connection: {type(error).__name__}"] += 1

    async def watch(self, run: int, until: float) -> None:
        """Opens the page of a run, and looks on while it changes."""
        async with self.joined() as self.socket:
            reader = asyncio.create_task(self.read())
            await self.open("runs", {"run": run})
            await asyncio.sleep(max(0.0, until - time.monotonic()))
            self.stop()
            reader.cancel()

    async def go_round(self) -> None:
        """Looks at everything once, and leaves."""
        async with self.joined() as self.socket:
            reader = asyncio.create_task(self.read())
            for page in OPENED:
                for method in METHODS if page == "launch" else ("",):
                    await self.open(page, {"method": method} if method else {})
            for run in self.runs:
                await self.open("runs", {"run": run})
            if self.first:
                await self.launch(self.first)
            self.stop()
            reader.cancel()

    def joined(self) -> websockets.connect:
        return websockets.connect(
            f"{self.address}/_stcore/stream", subprotocols=[Subprotocol("streamlit")],
            max_size=None, ping_interval=None,
            additional_headers={"Origin": self.address.replace("ws", "http", 1)}, open_timeout=PATIENCE,
        )  # fmt: skip

    async def act(self) -> None:
        if self.rng.random() < self.launches:
            await self.launch(SMALL | {"seed": str(self.rng.randrange(10**6))})
            return
        [page] = self.rng.choices(list(OPENED), list(OPENED.values()))
        query: dict[str, Any] = {}
        if page in ("runs", "heads") and self.runs and self.rng.random() < 0.7:
            query = {"run": self.rng.choice(self.runs)}
        if page == "launch":
            query = {"method": self.rng.choice(METHODS)}
        await self.open(page, query)

    async def launch(self, what: dict[str, str]) -> None:
        """Opens Launch, and presses the button."""
        await self.open("launch", what)
        if button := self.buttons.get("launch"):
            self.tally.launched += 1
            await self.ask("launch, pressed", press=button)

    async def open(self, page: str, query: dict[str, Any]) -> None:
        self.page, self.query = "" if page == "home" else page, urlencode(query)
        await self.ask(page)

    async def ask(self, what: str, press: str = "") -> None:
        """Asks for a run of the page's script, and waits for its end."""
        self.stop()
        self.ended, self.to_page = asyncio.get_running_loop().create_future(), ""
        began = time.monotonic()
        await self.send(press=press)
        try:
            how = await asyncio.wait_for(self.ended, PATIENCE)
        except TimeoutError:
            how = "no end in time"
        self.tally.pages.setdefault(what, []).append(time.monotonic() - began)
        if how:
            self.tally.errors[f"{what}: {how}"] += 1

    async def send(self, fragment: str = "", press: str = "") -> None:
        message = BackMsg()
        asked = message.rerun_script
        asked.query_string, asked.page_name = self.query, self.page
        asked.cached_message_hashes.extend(self.hashes)
        asked.context_info.timezone, asked.context_info.locale = "UTC", "en"
        asked.context_info.url = f"{self.address.replace('ws', 'http', 1)}/{self.page}"
        asked.context_info.color_scheme = "light"
        if fragment:
            asked.fragment_id, asked.is_auto_rerun = fragment, True
        if press:
            asked.widget_states.widgets.add(id=press, trigger_value=True)
        await self.socket.send(message.SerializeToString())

    async def read(self) -> None:
        with suppress(websockets.ConnectionClosed):
            async for data in self.socket:
                self.tally.received += len(data)
                self.take(ForwardMsg.FromString(data))
            return
        self.tally.errors["the connection was closed"] += 1

    def take(self, message: ForwardMsg) -> None:
        kind, fragments = message.WhichOneof("type"), message.metadata.run.fragment_ids
        if message.metadata.cacheable:
            self.hashes.add(message.hash)
        if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            if element.WhichOneof("type") == "exception":
                self.tally.errors[f"exception: {element.exception.type}"] += 1
            elif element.WhichOneof("type") == "button":
                self.buttons[element.button.id.rpartition("-")[2]] = element.button.id
        elif kind == "auto_rerun":
            self.timer(message.auto_rerun.fragment_id, message.auto_rerun.interval)
        elif kind == "script_finished":
            self.finished(message.script_finished, fragments)
        elif kind == "page_not_found":
            self.tally.errors["page not found"] += 1
        elif kind == "new_session" and not fragments:  # the whole script; it starts its timers anew
            self.stop()

    def finished(self, how: int, fragments: Iterable[str]) -> None:
        """0: the whole script; 1: it could not be compiled; 2: it begins again; 3: these fragments."""
        if how == ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY:
            now = time.monotonic()
            self.tally.ticks += [now - self.ticking.pop(one) for one in fragments if one in self.ticking]
        elif how == ForwardMsg.FINISHED_SUCCESSFULLY and self.ended and not self.ended.done():
            self.ended.set_result("")
        elif how == ForwardMsg.FINISHED_WITH_COMPILE_ERROR and self.ended and not self.ended.done():
            self.ended.set_result("compile error")

    def timer(self, fragment: str, interval: float) -> None:
        async def tick() -> None:
            while True:
                await asyncio.sleep(interval)
                if fragment not in self.ticking:
                    self.ticking[fragment] = time.monotonic()
                    await self.send(fragment)

        if fragment in self.timers:
            self.timers.pop(fragment).cancel()
        self.timers[fragment] = asyncio.create_task(tick())

    def stop(self) -> None:
        for timer in self.timers.values():
            timer.cancel()
        self.timers, self.ticking = {}, {}
