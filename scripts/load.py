"""A room of people at once, in Streamlit's own protocol: how long pages take, what fails, what it costs the server.

    make load                                                  # 50 people for 10 minutes, an action every 10 s, work
    python scripts/load.py --people 20 --minutes 1 --every 3   # a smaller room, in more of a hurry
    python scripts/load.py --no-work --home FOLDER             # on a copy of this store, and nothing runs beside

Starts the app on a copy of a store (by default an empty one), joins with so many websockets, and lets each do something
every so many seconds: open a page, look at a run, launch one. A page's time is that from the request to the end of its
script. Fragments that rerun on a timer do so here as they do in a browser. The seconds of the server's processor say
more than the clock on a machine that does other work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import psutil
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.typing import Subprotocol

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PATIENCE = 120.0  # seconds after which a page counts as an error
OPENED = {"home": 3, "launch": 4, "runs": 5, "compare": 1, "atlas": 2, "heads": 2, "memory": 1, "tasks": 1, "learn": 1}
LAUNCHES = 0.04  # of all actions, where there is work
LONG = {"method": "lora", "epochs": "1000"}  # what works beside the pages all the time
NO_RAY = {"RAY_ADDRESS": "127.0.0.1:9"}  # where nothing is to work beside them: no Ray answers there
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
        kind = message.WhichOneof("type")
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
            self.finished(message.script_finished)
        elif kind == "page_not_found":
            self.tally.errors["page not found"] += 1
        elif kind == "new_session" and not self.ticking:
            self.stop()

    def finished(self, how: int) -> None:
        """0: the whole script; 1: it could not be compiled; 2: it begins again; 3: a fragment."""
        if how == ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY:
            for fragment in list(self.ticking):
                self.tally.ticks.append(time.monotonic() - self.ticking.pop(fragment))
                break
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


class Server:
    """The app, on a copy of a store; `without` an engine nothing works beside its pages."""

    def __init__(self, home: Path, work: bool):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {**os.environ, "HEADROOM_HOME": str(home), **({} if work else NO_RAY)}
        self.log = (home / "server.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, *os.environ.get("LOAD_STREAMLIT", "-m streamlit").split(), "run", "streamlit_app.py",
             "--server.port", str(self.port), "--server.headless", "true"],
            cwd=ROOT, env=environment, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.address = f"ws://127.0.0.1:{self.port}"
        self.system = psutil.Process(self.process.pid)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        raise SystemExit(f"the app did not start; see {self.log.name}")

    @property
    def cpu(self) -> float:
        """Seconds of the processor that the app's own process took."""
        times = self.system.cpu_times()
        return times.user + times.system

    @property
    def rss(self) -> int:
        return self.system.memory_info().rss

    def end(self) -> None:
        for child in self.system.children(recursive=True):
            with suppress(psutil.Error):
                child.terminate()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def prepared(home: str | None) -> Path:
    """A copy of a store in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="headroom-load-"))
    if home:
        there, here = (sqlite3.connect(Path(one) / "headroom.sqlite3") for one in (home, folder))
        with closing(there), closing(here):
            there.backup(here)
    return folder


def runs_of(folder: Path) -> list[int]:
    from peftcore.store import Store

    return [record.id for record in Store(folder).runs(status="finished")]


async def play(server: Server, options: argparse.Namespace, runs: list[int]) -> dict[str, Any]:
    """Lets people in, and returns what was measured."""
    tally = Tally()
    warm = Person(server.address, Tally(), 0, runs)
    warm.first = LONG if options.work else None
    await warm.go_round()  # imports and caches: one visitor was there before
    cpu, rss, began = server.cpu, server.rss, time.monotonic()
    until = began + 60 * options.minutes
    launches = LAUNCHES if options.work else 0.0
    people = [Person(server.address, tally, seed, runs, launches) for seed in range(1, options.people + 1)]
    await asyncio.gather(*(one.live(until, options.every) for one in people))
    wall, seconds = time.monotonic() - began, tally.seconds or [0.0]
    at = server.rss
    return {
        "people": options.people, "minutes": round(wall / 60, 2), "every": options.every, "work": options.work,
        "pages": len(tally.seconds), "errors": dict(tally.errors), "launched": tally.launched,
        "p50": float(np.quantile(seconds, 0.5)), "p95": float(np.quantile(seconds, 0.95)), "most": max(seconds),
        "ticks": len(tally.ticks), "tick_p95": float(np.quantile(tally.ticks or [0.0], 0.95)),
        "cpu_seconds": server.cpu - cpu, "cpu_share": (server.cpu - cpu) / wall,
        "cpu_ms_per_page": 1000 * (server.cpu - cpu) / max(1, len(tally.seconds) + len(tally.ticks)),
        "rss_mb": at / 1e6, "rss_mb_per_person": (at - rss) / 1e6 / options.people,
        "mb_received_per_page": tally.received / 1e6 / max(1, len(tally.seconds)),
        "load": os.getloadavg()[0],
        "by_page": {
            page: {"count": len(some), "p50": float(np.median(some)), "p95": float(np.quantile(some, 0.95))}
            for page, some in sorted(tally.pages.items())
        },
    }  # fmt: skip


def say(found: dict[str, Any]) -> None:
    """The numbers, for people."""
    with_work = "with" if found["work"] else "without"
    print(f"{found['people']} people for {found['minutes']} min, an action every {found['every']:g} s, {with_work} "
          f"running work; load of the machine {found['load']:.1f}")  # fmt: skip
    print(
        f"  {found['pages']} pages: p50 {found['p50']:.2f} s, p95 {found['p95']:.2f} s, longest {found['most']:.1f} s"
    )
    print(f"  {found['ticks']} timed updates: p95 {found['tick_p95']:.2f} s; {found['launched']} launches; "
          f"errors: {found['errors'] or 'none'}")  # fmt: skip
    print(f"  server: {found['cpu_seconds']:.1f} s of CPU, {found['cpu_share']:.0%} of a core, "
          f"{found['cpu_ms_per_page']:.0f} ms a page or update; {found['rss_mb']:.0f} MB, "
          f"{found['rss_mb_per_person']:.1f} MB per person; {found['mb_received_per_page']:.2f} MB a page")  # fmt: skip
    for page, row in found["by_page"].items():
        print(f"    {page:16} {row['count']:5}  p50 {row['p50']:.2f}  p95 {row['p95']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two actions of a person")
    parser.add_argument("--work", action=argparse.BooleanOptionalAction, default=True, help="runs beside the pages")
    parser.add_argument("--home", help="a HEADROOM_HOME with finished runs, which is copied")
    parser.add_argument("--json", type=Path, help="where the numbers are written")
    options = parser.parse_args()
    home = prepared(options.home)
    server = Server(home, options.work)
    try:
        found = asyncio.run(play(server, options, runs_of(home)))
    finally:
        server.end()
    say(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
