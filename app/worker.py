"""A process beside the app that computes what a visitor asks for, within limits, and can be ended at any moment.

Whatever a link makes the app compute could take for ever, or all memory: here it takes a process that is replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from peftcore.errors import HeadroomError
from peftcore.figures.words import si_bytes

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 60  # of a CPU's time, that a call may take
PATIENCE = 3  # times as long it may take by the clock, where the machine is busy
BYTES = 3_000_000_000  # that a call may take beside what the process had
START_SECONDS = 120.0
POLL_SECONDS = 0.1


class OverLimit(HeadroomError):
    """A call took more time or memory than it may."""


class Left(Exception):
    """Nobody waits for it any more."""


@dataclass(frozen=True)
class Call:
    """A function of a module with arguments that can be pickled, and what it may take."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    seconds: int = SECONDS
    size: int = BYTES


class Worker:
    """One process, started when it is first needed and after each time that it was ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._pipe: Connection | None = None
        self._born = 0  # bytes of a new one

    def __call__(self, call: Call, is_wanted: Callable[[], bool], told: Callable[..., object]) -> Any:
        """What the call returns.

        Raises:
            OverLimit: it took more than it may. Left: nobody wanted it any more. And what the call raises.
        """
        process, pipe = self._started()
        system = psutil.Process(process.pid)
        began, before = monotonic(), system.memory_info().rss
        pipe.send((call.function, call.args, call.seconds, call.size))
        try:
            while True:
                if pipe.poll(POLL_SECONDS):
                    kind, value = pipe.recv()
                    if kind == "result":
                        if system.memory_info().rss - self._born > BYTES:  # what one call leaves, the next ones have
                            self.end()
                        return value
                    if kind == "error":
                        error, trace = value
                        if not isinstance(error, HeadroomError):
                            log.error("a call failed in its process\n%s", trace)
                        raise _too_large(call.size) if _no_memory(error) else error
                    told(*value)
                if not is_wanted():
                    raise Left
                if monotonic() - began > PATIENCE * call.seconds:
                    raise _too_long(call.seconds)
                if system.memory_info().rss - before > call.size:
                    raise _too_large(call.size)
        except (EOFError, OSError, psutil.Error):
            code = process.wait(START_SECONDS)
            self.end()
            raise (_too_long(call.seconds) if code == -signal.SIGXCPU else _too_large(call.size)) from None
        except (OverLimit, Left):
            self.end()
            raise

    def end(self) -> None:
        """Ends the process and what it started, at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def _started(self) -> tuple[subprocess.Popen, Connection]:
        if self._process is None or self._pipe is None or self._process.poll() is not None:
            self.end()
            self._pipe, theirs = Pipe()
            command = [sys.executable, "-m", "app.worker_process", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
            theirs.close()
            try:
                if not self._pipe.poll(START_SECONDS):
                    raise TimeoutError("a worker process did not start")
                self._pipe.recv()
                self._born = psutil.Process(self._process.pid).memory_info().rss
            except (EOFError, OSError, psutil.Error):
                self.end()
                raise
        return self._process, self._pipe


def _no_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def _too_long(seconds: int) -> OverLimit:
    return OverLimit(
        f"This took more than {seconds} s of a processor, so it was stopped. Take a smaller backbone, or fewer and "
        "simpler settings; on the command line there is no such limit."
    )


def _too_large(size: int) -> OverLimit:
    return OverLimit(
        f"This took more than {si_bytes(size)} of memory, so it was stopped. Take a smaller backbone or a smaller "
        "batch; on the command line there is no such limit."
    )
