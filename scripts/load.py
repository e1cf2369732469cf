"""A room of people at once, in Streamlit's own protocol: how long pages take, what fails, what it costs the server.

    make load                                                  # 50 people for 10 minutes, an action every 10 s, work
    python scripts/load.py --people 20 --minutes 1 --every 3   # a smaller room, in more of a hurry
    python scripts/load.py --watch --minutes 2                 # all look at one run that works
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
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from person import PATIENCE, Person, Tally  # noqa: E402

from peftcore.store import Store  # noqa: E402

LAUNCHES = 0.04  # of all actions, where there is work
LONG = {"method": "lora", "epochs": "1000"}  # what works beside the pages all the time
NO_RAY = {"RAY_ADDRESS": "127.0.0.1:9"}  # where nothing is to work beside them: no Ray answers there


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
    return [record.id for record in Store(folder).runs(status="finished")]


async def at_work(home: Path) -> int:
    """The run that works; where Ray starts for the first time it takes a while to begin."""
    for _ in range(120):
        if found := Store(home).runs(status="running"):
            return found[0].id
        await asyncio.sleep(0.5)
    raise SystemExit("No run has begun in a minute: nothing to watch.")


async def play(server: Server, options: argparse.Namespace, home: Path, runs: list[int]) -> dict[str, Any]:
    """Lets people in, and returns what was measured."""
    tally = Tally()
    warm = Person(server.address, Tally(), 0, runs)
    warm.first = LONG if options.work else None
    await warm.go_round()  # imports and caches: one visitor was there before
    cpu, rss, began = server.cpu, server.rss, time.monotonic()
    until = began + 60 * options.minutes
    launches = LAUNCHES if options.work else 0.0
    people = [Person(server.address, tally, seed, runs, launches) for seed in range(1, options.people + 1)]
    if options.watch:
        run = await at_work(home)
        await asyncio.gather(*(one.watch(run, until) for one in people))
    else:
        await asyncio.gather(*(one.live(until, options.every) for one in people))
    wall, seconds = time.monotonic() - began, tally.seconds or [0.0]
    at = server.rss
    return {
        "people": options.people, "minutes": round(wall / 60, 2), "every": options.every,
        "work": options.work, "watch": options.watch,
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
    do = (
        "at one run that works" if found["watch"] else f"an action every {found['every']:g} s, {with_work} running work"
    )
    print(f"{found['people']} people for {found['minutes']} min, {do}; load of the machine {found['load']:.1f}")
    print(
        f"  {found['pages']} pages: p50 {found['p50']:.2f} s, p95 {found['p95']:.2f} s, longest {found['most']:.1f} s"
    )
    print(f"  {found['ticks']} timed updates: p95 {found['tick_p95']:.2f} s; "
          f"{found['launched']} launches; "
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
    parser.add_argument(
        "--watch", action="store_true", help="everybody looks at the one run that works, and does nothing"
    )
    parser.add_argument("--home", help="a HEADROOM_HOME with finished runs, which is copied")
    parser.add_argument("--json", type=Path, help="where the numbers are written")
    options = parser.parse_args()
    home = prepared(options.home)
    server = Server(home, options.work)
    try:
        found = asyncio.run(play(server, options, home, runs_of(home)))
    finally:
        server.end()
    say(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
