"""What the heaviest links of Memory cost somebody else: how long a visitor waits for the bill of a run meanwhile.

    python scripts/heavy_links.py            # three people with such a link, and one who wants a bill
    python scripts/heavy_links.py --links 6  # six of them

Starts the app on an empty store. The first bill is asked for alone, the others while the links are being worked at;
each is of a method that nobody asked for before. A bill is there when the script of Launch has ended.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from load import Server
from person import Person, Tally

from peftcore.registry import METHODS

HUGE = {"backbone": "vit_giant_patch14_dinov2", "batch": "1024", "precision": "fp32", "task": "digits"}
BILLS = ({"method": "lora"}, {"method": "ssf"}, {"method": "bitfit"}, {"method": "vpt"}, {"method": "adapter"})
APART = 10.0  # seconds between two bills


class Visitor(Person):
    """A person who says how long a page took, and stays until told to go."""

    def __init__(self, address: str, number: int):
        super().__init__(address, Tally(), number, [])

    async def waits(self, page: str, query: dict[str, Any]) -> float:
        began = time.monotonic()
        await self.open(page, query)
        return time.monotonic() - began

    @property
    def errors(self) -> dict[str, int]:
        return dict(self.tally.errors)


async def measured(address: str, links: int) -> None:
    guests = [Visitor(address, number) for number in range(links)]
    visitor = Visitor(address, links)
    async with visitor.joined() as visitor.socket:
        readers = [asyncio.create_task(visitor.read())]
        first, *others = BILLS
        await visitor.waits("launch", {"method": "linear"})  # what is computed once for everybody
        print(f"alone: {await visitor.waits('launch', first):.2f} s", flush=True)
        holding = [asyncio.create_task(held(guest, number)) for number, guest in enumerate(guests)]
        for bill in others:
            await asyncio.sleep(APART)
            seconds = await visitor.waits("launch", bill)
            at_work = sum(not task.done() for task in holding)
            print(f"beside {links} links, {at_work} still at work: {seconds:.2f} s", flush=True)
        ended = [task.result() for task in holding if task.done()]
        print(f"of the links {len(ended)} ended: {', '.join(f'{seconds:.1f} s' for seconds in ended) or 'none'}")
        print(f"errors: {visitor.errors or 'none'}; of the links: {[guest.errors for guest in guests]}")
        for task in (*holding, *readers):
            task.cancel()


async def held(guest: Visitor, number: int) -> float:
    """A link that no other guest has: all methods at once, of the largest backbone."""
    query = HUGE | {"methods": ",".join(METHODS.names()), "batch": str(int(HUGE["batch"]) - number)}
    async with guest.joined() as guest.socket:
        reader = asyncio.create_task(guest.read())
        seconds = await guest.waits("memory", query)
        reader.cancel()
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        server = Server(Path(home), work=False)
        try:
            asyncio.run(measured(server.address, arguments.links))
        finally:
            server.end()


if __name__ == "__main__":
    main()
