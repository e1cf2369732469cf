"""What is done to an app in the middle of its work. Each takes the round and says what it hit, or why it could not."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil

from tests.chaos.app import App

if TYPE_CHECKING:
    from tests.chaos.round import Round


def worker(round: Round) -> str:
    """kill -9 of the process of a run."""
    return _kill(round, App.workers)


def raylet(round: Round) -> str:
    return _kill(round, lambda one: one.servers("raylet"))


def gcs(round: Round) -> str:
    return _kill(round, lambda one: one.servers("gcs_server"))


def app(round: Round) -> str:
    """kill -9 of the app, which is started again after a while, or, where there are two, after a longer one."""
    one = round.app()
    if not one.alive:
        return "it was dead already"
    one.kill()
    round.wait(round.rng.uniform(0, 12 if len(round.apps) > 1 else 2))
    one.start()
    return "the app"


def power(round: Round) -> str:
    """kill -9 of all processes at once."""
    hit = 0
    for one in round.apps:
        for process in reversed(one.tree()):
            hit += _hit(process)
        one.kill()
    for one in round.apps:
        one.start()
    return f"{hit} processes"


def sleep(round: Round) -> str:
    """The machine falls asleep and wakes."""
    seconds = round.rng.uniform(2, 12)
    round.app().sleep(seconds, round.rng, round.wait)
    return f"{seconds:.0f} s"


def clock(round: Round) -> str:
    """Somebody sets the clock of the machine, by up to a year."""
    if round.clock is None:
        return "no C compiler here"
    offset = round.rng.choice((-1, 1)) * round.rng.choice((60, 3600, 86400, 365 * 86400))
    round.clock.write_text(str(offset))
    return f"by {offset:+d} s"


def disk_full(round: Round) -> str:
    """No byte more fits on the home's disk for a while."""
    if not round.mounted:
        return "a disk of one's own cannot be mounted here"
    filler = round.home / "filler"
    try:
        with filler.open("wb") as file:
            while True:
                file.write(bytes(65536))
                file.flush()
    except OSError:
        pass
    round.wait(round.rng.uniform(2, 8))
    filler.unlink(missing_ok=True)
    return "until it was freed"


def read_only(round: Round) -> str:
    """The app comes back, and its disk may not be written."""
    if not round.mounted:
        return "a disk of one's own cannot be mounted here"
    for one in round.apps:
        one.kill()
    round.store.close()
    round.wait(3)  # until the processes of its Ray have let go of their files
    remounted = subprocess.run(["mount", "-o", "remount,ro", round.home], capture_output=True, text=True)
    for one in round.apps:
        one.start()
    round.wait(round.rng.uniform(10, 20))
    subprocess.run(["mount", "-o", "remount,rw", round.home], check=True)
    return remounted.stderr.strip() or "until it could be written"


def locked(round: Round) -> str:
    """Another program keeps the database locked for longer than anybody waits."""
    db = sqlite3.connect(round.home / "headroom.sqlite3", timeout=5, isolation_level=None)
    with contextlib.closing(db):
        db.execute("BEGIN IMMEDIATE")
        round.wait(23)
        db.execute("ROLLBACK")
    return "for 23 s"


NONE = "there was none"
LONGEST_START = 90.0  # seconds
KINDS = {worker: 9, app: 6, raylet: 5, gcs: 4, power: 2, sleep: 2, disk_full: 2, read_only: 1, locked: 0.5}


def _kill(round: Round, find: Callable[[App], list[psutil.Process]]) -> str:
    """Of one of the apps, once it has such a process: Ray may be starting again."""
    hurt, end = round.app(), time.monotonic() + LONGEST_START
    while not (found := find(hurt)) and time.monotonic() < end:
        round.wait(0.5)
    if not found:
        return NONE
    one = round.rng.choice(found)
    began = time.time() - one.create_time() if one.is_running() else 0
    return f"{began:.1f} s old" if _hit(one) else "it had gone"


def _hit(process: psutil.Process) -> bool:
    try:
        process.kill()
    except psutil.Error:
        return False
    return True
