"""Runs that cost next to nothing and end with "weights" that depend on each of their steps, and a host for them.

`python -m tests.chaos.toy` is the app without its pages: an engine on the store of HEADROOM_HOME.
"""

from __future__ import annotations

import hashlib
import signal
import sys
import time
from collections.abc import Callable, Collection, Generator
from typing import Any

from peftcore import events

PAUSE = 0.03  # seconds of a step


def run(settings: dict[str, Any], resume: bytes | None) -> Generator[events.Event]:
    """A chain of hashes, `steps` long, with a checkpoint after each `every`; none where that is 0."""
    first, _, chain = (resume or b"0:").partition(b":")
    if "ray" in sys.modules:
        yield events.Progress(sys.modules["ray"].get_runtime_context().get_node_id(), int(first), settings["steps"])
    for step in range(int(first), settings["steps"]):
        chain = hashlib.sha256(chain + f"{settings['seed']} {step}".encode()).digest()
        time.sleep(PAUSE)
        yield events.Step(step, 0, loss=1.0, lr=0.1, grad_norm=1.0, images_per_second=1.0, seconds=PAUSE)
        if settings["every"] and (step + 1) % settings["every"] == 0:
            yield events.Checkpoint(0, step, blob=f"{step + 1}:".encode() + chain)
    yield events.Finished(0.5, 0.5, 1.0, {}, [], blob=chain)


def race(
    settings: list[dict[str, Any]], resume: list[bytes | None], left_out: Callable[[], Collection[int]]
) -> Generator[tuple[int, events.Event]]:
    """The same of several, in turns."""
    streams = {which: run(one, resume[which]) for which, one in enumerate(settings)}
    while streams:
        for which in list(streams):
            event = None if which in left_out() else next(streams[which], None)
            if event is None:
                del streams[which]
            else:
                yield which, event


def specs() -> dict[str, list[dict[str, Any]]]:
    """As round.specs."""
    alone = {"long": (250, 25), "short": (60, 20), "no checkpoint": (120, 0)}
    found = {name: [{"steps": steps, "every": every, "seed": 0}] for name, (steps, every) in alone.items()}
    return found | {"toy race": [{"steps": 100, "every": 30, "seed": seed, "forward": "same"} for seed in (1, 2, 3)]}


if __name__ == "__main__":
    from peftcore.engine import Engine
    from peftcore.store import Store

    name = "tests.chaos.toy"
    Engine(Store(), function=f"{name}:run", race=f"{name}:race", forward=lambda one: one.get("forward")).start()
    signal.pause()
