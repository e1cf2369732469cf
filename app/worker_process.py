"""What runs in a worker process: `python -m app.worker_process FD` takes calls from the pipe FD, one at a time.

It limits itself before each call, so that neither a call that never ends nor an app that was killed leaves it working.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SLACK = 2_000_000_000  # bytes of addresses beside those of the work itself: threads reserve much more than they use
ORPHANED_SECONDS = 2.0

_told: ContextVar[Callable[..., object]] = ContextVar("told", default=lambda *said: None)


def say(*said: Any) -> None:
    """Tells whoever waits how far the work is. Where nobody waits any more, this may be the end of it."""
    _told.get()(*said)


@contextlib.contextmanager
def telling(told: Callable[..., object]) -> Any:
    """Within it, `say` calls `told`."""
    token = _told.set(told)
    try:
        yield
    finally:
        _told.reset(token)


def main(pipe: Connection) -> None:
    """Answers calls until the app closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the app's to answer
    logging.getLogger("streamlit").setLevel(logging.ERROR)  # which misses a browser
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    import torch

    from app import libraries
    from app.room import who

    libraries.load()
    limited = not torch.cuda.is_available()  # CUDA reserves addresses by the hundred gigabytes
    pipe.send(("ready", None))
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            function, args, seconds, size = pipe.recv()
            _limit(seconds, size if limited else 0)
            try:
                with telling(lambda *said: pipe.send(("said", said))), who.handed_over():
                    answer = ("result", function(*args))
            except Exception as error:
                answer = ("error", (error, traceback.format_exc()))
            finally:
                _limit(0, 0)
            _send(pipe, answer)


def _send(pipe: Connection, answer: tuple[str, Any]) -> None:
    try:
        pipe.send(answer)
    except BrokenPipeError:
        raise
    except Exception as error:  # an answer that cannot be pickled
        pipe.send(("error", (RuntimeError(f"{type(error).__name__}: {error}"), traceback.format_exc())))


def _limit(seconds: int, size: int) -> None:
    """Soft limits from now on: CPU seconds, after which the system ends the process, and bytes; 0 for no limit."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime) + 1
    _set(resource.RLIMIT_CPU, spent + seconds if seconds else resource.RLIM_INFINITY)
    _set(resource.RLIMIT_AS, _addresses() + size + SLACK if size else resource.RLIM_INFINITY)


def _set(which: int, soft: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS takes no limit of addresses; the app watches memory as well
        resource.setrlimit(which, (soft, hard))


def _addresses() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _end_with(app: int) -> None:
    while os.getppid() == app:
        time.sleep(ORPHANED_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    # As a module of its own name, not __main__: what is called imports `say` from there.
    from app import worker_process

    worker_process.main(Connection(int(sys.argv[1])))
