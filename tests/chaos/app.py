"""The real app on a home of its own, as a process that can be hurt: its Ray and workers are found and killed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which("cc")


class App:
    """`streamlit run streamlit_app.py`, no page of which is ever opened.

    Args:
        toy: in its place, the engine alone, for toys.
        clock: a file that says by how many seconds its clock is off, beside clock.so; None for a true clock.
    """

    def __init__(self, home: Path, log: Path, clock: Path | None = None, toy: bool = False):
        self.home, self.log, self.clock, self.toy = home, log, clock, toy
        self.seen: set[psutil.Process] = set()  # everything that it has ever started
        self.process: subprocess.Popen | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        own = {"HEADROOM_HOME": str(self.home), "HEADROOM_CPUS_PER_RUN": "1", "OMP_NUM_THREADS": "1"}
        if self.clock is not None:
            own |= {"LD_PRELOAD": str(self.clock.with_name("clock.so")), "HEADROOM_CLOCK": str(self.clock)}
        app = ["streamlit", "run", "streamlit_app.py", "--server.headless", "true", "--server.address", "127.0.0.1"]
        app = ["tests.chaos.toy"] if self.toy else [*app, "--server.port", str(port)]
        command = [sys.executable, "-m", *app]
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | own, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip

    def tree(self) -> list[psutil.Process]:
        """Itself and what it has started, as far as that still hangs together."""
        if not self.alive:
            return []
        assert self.process is not None
        try:
            one = psutil.Process(self.process.pid)
            found = [one, *one.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        self.seen.update(found)
        return found

    def servers(self, name: str) -> list[psutil.Process]:
        """Of its Ray, 'raylet' or 'gcs_server'."""
        return [process for process in self.tree() if _name(process) == name]

    def workers(self) -> list[psutil.Process]:
        """Those that work on a run, else those that wait for one."""
        rays = [process for process in self.tree() if _name(process).startswith("ray::")]
        return [one for one in rays if _name(one).startswith("ray::work")] or [
            one for one in rays if "IDLE" in _name(one)
        ]

    def kill(self) -> None:
        self.tree()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def sleep(self, seconds: float, rng: random.Random, until: Callable[[float], None]) -> None:
        """All of it stands still, and wakes in any order."""
        asleep = self.tree()
        for process in asleep:
            _signal(process, signal.SIGSTOP)
        until(seconds)
        rng.shuffle(asleep)
        for process in asleep:
            _signal(process, signal.SIGCONT)

    def left(self) -> list[str]:
        """What still lives of it."""
        living = [one for one in self.seen if one.is_running() and _status(one) not in (psutil.STATUS_ZOMBIE, "")]
        return [f"{one.pid} {_name(one)}" for one in living]


def wrong_clock(folder: Path) -> Path | None:
    """Makes in this folder what gives apps a clock that can be set; None where there is no C compiler."""
    if COMPILER is None:
        return None
    source = Path(__file__).with_name("clock.c")
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-o", folder / "clock.so", source, "-ldl"], check=True)
    (folder / "clock").write_text("0")
    return folder / "clock"


def _name(process: psutil.Process) -> str:
    try:
        words = process.cmdline()
        return process.name() if not words or not words[0].startswith("ray::") else words[0].strip()
    except psutil.Error:
        return ""


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.Error:
        return ""


def _signal(process: psutil.Process, which: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(which)
