"""The app in a process of its own, started by its command on a free port, and stopped as a terminal does it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOG = "app.log"  # in its home
STARTS, STOPS = 120.0, 20.0  # seconds, at most


@contextmanager
def started(home: Path, *settings: str, says: str = "") -> Iterator[int]:
    """Its port, once it answers, and has said something that matches `says`. `settings`: of `make app`, such as
    NAMES=room.example."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    environment |= {"HEADROOM_HOME": str(home), "STREAMLIT_SERVER_HEADLESS": "true", "PYTHONUNBUFFERED": "1"}
    environment.pop("OMP_NUM_THREADS", None)
    with (home / LOG).open("w") as log:
        command = ["make", "app", f"PORT={port}", *settings]
        app = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + STARTS
        while not (_answers(port) and re.search(says, said(home))):
            assert app.poll() is None, f"the app ended: {said(home)[-2000:]}"
            assert time.monotonic() < end, "the app does not answer"
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(app.pid, signal.SIGINT)
        try:
            app.wait(STOPS)
        except subprocess.TimeoutExpired:
            os.killpg(app.pid, signal.SIGKILL)


def said(home: Path) -> str:
    """What it wrote to its terminal."""
    return (home / LOG).read_text()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
