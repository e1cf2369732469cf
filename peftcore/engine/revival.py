"""A GCS that is killed while Ray starts is started again, so that the start comes to an end.

Ray's client waits for such a GCS inside a call that nothing ends, as long as it is patient (see cluster.py), and then
ends the whole process. A new GCS at the same address knows nothing of the node: Ray gives up on it, and can be started
anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
from threading import Event, Thread

import psutil

SERVER = "gcs_server"
PORT = "--gcs_server_port="
LOOK_SECONDS = 0.1
NULL = subprocess.DEVNULL


class Revival:
    """Looks after the GCS while it is entered. What it started ends with it, at the latest with this process."""

    def __init__(self) -> None:
        self._over = Event()
        self._thread = Thread(target=self._watch, name="headroom-revival", daemon=True)
        self._made: list[subprocess.Popen] = []

    def __enter__(self) -> Revival:
        self._before = set(psutil.Process().children())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for process in self._made:
            process.kill()
            process.wait()

    @property
    def was_needed(self) -> bool:
        """Whether a GCS was killed: Ray is not to be relied on then, whatever it says of its start."""
        return bool(self._made)

    def _watch(self) -> None:
        how: tuple[list[str], dict[str, str]] | None = None
        while not self._over.wait(LOOK_SECONDS):
            living = [child for child in psutil.Process().children() if _is_gcs(child) and child not in self._before]
            if living and how is None:
                with contextlib.suppress(psutil.Error):
                    how = _as_it_listens(living[0])
            elif how and not living:
                # It is to end with this thread, as Ray's own servers do with the one that started them.
                with_us = _end_with_parent if sys.platform == "linux" else None
                again = subprocess.Popen(how[0], env=how[1], preexec_fn=with_us, stdout=NULL, stderr=NULL)
                self._made.append(again)


def _as_it_listens(server: psutil.Process) -> tuple[list[str], dict[str, str]] | None:
    """A command line and an environment that make the same server at the same port, which it chose itself; None while
    it does not listen, where Ray gives up by itself."""
    ports = [one.laddr.port for one in server.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    if not ports:
        return None
    words = [word for word in server.cmdline() if not word.startswith(PORT)]
    return [*words, f"{PORT}{ports[0]}"], server.environ()


def _is_gcs(process: psutil.Process) -> bool:
    try:
        return process.name() == SERVER and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
