"""Half an hour of a room, and a thousand live updates in a browser: does memory stay flat?

    make soak                                            # 30 minutes, 20 people; 1,000 updates of one run's page
    python scripts/soak.py --minutes 2 --people 5 --updates 100

The room is that of load.py; the server's memory is told every minute, and its growth from the second half's slope. In
the browser one page shows a run that works, whose steps are written into the store here; told is the heap of the page's
JavaScript after garbage collection, before and after so many steps were drawn.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "scripts"))

import load  # noqa: E402
from find_browser import find  # noqa: E402
from person import Person, Tally  # noqa: E402

from peftcore.engine.lease import Lease  # noqa: E402
from peftcore.store import Store, gallery  # noqa: E402

EVERY = 10.0  # seconds between two actions of a person
GROWTH_MB = 50.0  # of the browser's heap, that is allowed
EXAMPLE = "lora-digits"


async def room(server: load.Server, people: int, minutes: float, runs: list[int]) -> list[tuple[float, float]]:
    """Minutes since the beginning and megabytes of the server."""
    tally, began = Tally(), time.monotonic()
    until = began + 60 * minutes
    everybody = [Person(server.address, tally, seed, runs) for seed in range(people)]
    memory: list[tuple[float, float]] = []

    async def watch() -> None:
        while time.monotonic() < until:
            memory.append(((time.monotonic() - began) / 60, server.rss / 1e6))
            print(f"  {memory[-1][0]:5.1f} min  {memory[-1][1]:6.0f} MB, {len(tally.seconds)} pages", flush=True)
            await asyncio.sleep(min(60.0, 6 * minutes))

    await asyncio.gather(watch(), *(one.live(until, EVERY) for one in everybody))
    print(f"  errors: {dict(tally.errors) or 'none'}")
    return memory


def steps(store: Store, updates: int, engine: str) -> tuple[int, Any]:
    """A run that works, and what writes its next steps: those of a recorded example, again and again."""
    recorded = gallery.record(EXAMPLE)
    run = store.create_run(recorded["spec"], engine=engine)
    store.set_status(run, "running")
    started = next(event for event in recorded["events"] if event["kind"] == "started")
    store.append(run, [{**started, "steps": updates}])
    shown = [event for event in recorded["events"] if event["kind"] == "step"]

    def write(step: int) -> None:
        store.append(run, [{**shown[step % len(shown)], "step": step + 1, "seconds": float(step)}])

    return run, write


def browser(server: load.Server, store: Store, updates: int) -> tuple[float, float]:
    """Megabytes of the page's heap before and after."""
    from playwright.sync_api import sync_playwright

    lease = Lease(store.folder / "engines")  # the app's engine takes over a run that nobody works on
    run, write = steps(store, updates, lease.id)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(300_000)
        for step in range(10):
            write(step)
        page.goto(f"{server.address.replace('ws', 'http', 1)}/runs?run={run}")
        page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for(state="attached")
        session = page.context.new_cdp_session(page)

        def heap() -> float:
            session.send("HeapProfiler.collectGarbage")
            metrics = session.send("Runtime.getHeapUsage")
            return float(metrics["usedSize"]) / 1e6

        before = heap()
        for step in range(10, updates):
            write(step)
            page.get_by_text(f"step {step + 1:,} of").first.wait_for(state="attached")
        after = heap()
        chromium.close()
    store.set_status(run, "cancelled")
    lease.release()
    return before, after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--home", help="a HEADROOM_HOME with finished runs, which is copied")
    options = parser.parse_args()
    home = load.prepared(options.home)
    server = load.Server(home, work=False)
    try:
        if options.updates:
            before, after = browser(server, Store(home), options.updates)
            print(f"{options.updates} live updates: the heap went from {before:.1f} to {after:.1f} MB "
                  f"({after - before:+.1f}; {GROWTH_MB:g} are allowed)", flush=True)  # fmt: skip
        print(f"{options.people} people for {options.minutes:g} min, an action every {EVERY:g} s")
        memory = np.array(asyncio.run(room(server, options.people, options.minutes, load.runs_of(home))))
        half = memory[len(memory) // 2 :]
        slope = np.polyfit(half[:, 0], half[:, 1], 1)[0] if len(half) > 2 else float("nan")
        print(f"In the second half the server grew by {slope:.1f} MB a minute")
    finally:
        server.end()


if __name__ == "__main__":
    main()
