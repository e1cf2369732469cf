"""Toys as runs of a real local Ray, and how to wait for what they do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from peftcore.engine import Engine
from peftcore.store import Store

HERE = Path(__file__).parent
TOY = "engine_toys:toy"
RACE = {"race": "engine_toys:toy_race", "forward": lambda settings: settings.get("forward")}
ENDLESS = {"steps": 10_000, "pause": 0.01}
PATIENCE = 60  # seconds after which something that has to happen is said not to


def started(folder: Path) -> Iterator[Engine]:
    """An engine on a Ray of its own, ready; gone when it is asked for again."""
    before = {name: os.environ.pop(name, None) for name in ("RAY_ADDRESS", "PYTHONPATH")}
    os.environ["PYTHONPATH"] = str(HERE)
    engine = Engine(Store(folder), num_cpus=1, function=TOY, **RACE).start()
    early = engine.submit({"steps": 2})
    assert engine.state == "starting" and engine.store.run(early).status == "queued"
    assert engine.wait_ready(90), engine.state
    assert engine.state == "ready" and engine.slots == 1
    assert os.environ["PYTHONPATH"] == str(HERE)  # what children needed is taken back
    assert ended(engine, early).status == "finished"  # submitted before Ray was there
    yield engine
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    engine.shutdown()


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ended(engine, run):
    until(lambda: engine.store.run(run).ended)
    return engine.store.run(run)


def working(engine, run):
    """Waits for the first event; returns the process that works on the run."""
    until(lambda: engine.store.events(run))
    assert engine.store.run(run).status == "running"
    return engine.store.events(run)[0]["done"]


def steps(engine, run):
    return [event["step"] for event in engine.store.events(run, kinds="step")]
