"""One long-lived thread in which Ray lives: it starts Ray, carries out commands, sees Ray die and starts it again."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import psutil

from peftcore import errors
from peftcore.engine import cluster
from peftcore.engine.pool import Pool

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # how often requests of other processes are looked for, and whether Ray lives
RECOVER_SECONDS = 5.0  # how often a cluster is asked, and runs of other engines that have died meanwhile are looked for
AGAIN_SECONDS = 15.0  # after Ray did not start (a machine too busy, a cluster away), until the next try; runs wait
LEAVE_SECONDS = 5.0  # that those who follow runs have to let go of Ray before it goes


class Host:
    """Ray, on this machine or as a cluster at `address`; its methods return at once, in any thread.

    Args:
        folder: of Ray's own files. num_cpus: of a Ray of our own; None for all.
        make_pool: makes a pool, once Ray is there.
        began: called in the thread whenever Ray is there anew.
        duties: called in the thread in this order, each again after so many seconds.
        is_busy: whether somebody still follows a run, who has to let go of it before Ray ends.

    `leave` is set where followers have to let go; each life of Ray has its own.
    """

    def __init__(
        self,
        folder: Path,
        address: str | None,
        num_cpus: int | None,
        make_pool: Callable[[], Pool],
        *,
        began: Callable[[], None],
        duties: Sequence[tuple[float, Callable[[], None]]],
        is_busy: Callable[[], bool],
    ):
        self.folder, self.address, self.num_cpus = folder, address, num_cpus
        self.pool: Pool | None = None  # until Ray is there
        self.reason: str | None = None  # why there is no Ray
        self.is_hopeless = False  # there will be none
        self.ready = threading.Event()  # Ray is there, or does not start
        self.leave = threading.Event()
        self._make_pool, self._began, self._duties, self._is_busy = make_pool, began, duties, is_busy
        self._owns_ray = False
        self._servers: list[psutil.Process] = []  # without which Ray is dead, and below, what they have started
        self._family: set[psutil.Process] = set()
        self._closing = threading.Event()
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to start Ray in the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="headroom-engine", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends Ray, and waits until it is gone."""
        self._closing.set()
        self.leave.set()
        self._commands.put(lambda: None)
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(30)

    def do(self, command: Callable[[], None]) -> None:
        """Has a command carried out in the thread, as soon as it can."""
        self._commands.put(command)

    @property
    def takes_runs(self) -> bool:
        """Whether Ray is there and alive, and will stay."""
        there = self.reason is None and self.pool is not None and not self._closing.is_set()
        return there and cluster.alive(self._servers)

    def _live(self) -> None:
        while not self._closing.is_set():
            self.reason = self._begin()
            self.ready.set()
            self._serve()
            self._end()

    def _begin(self) -> str | None:
        """Starts Ray; returns why there is none."""
        self.leave = threading.Event()
        try:
            self._owns_ray = not cluster.running()
            self._servers = cluster.start(self.folder, self.address, self.num_cpus)
            self.pool = self._prepared()
            _do(self._began)
        except errors.HeadroomError as error:
            self.is_hopeless = isinstance(error, cluster.NotInstalled)
            return str(error)
        except Exception as error:
            log.exception("the engine did not start")
            return f"{type(error).__name__}: {error}"
        return None

    def _prepared(self) -> Pool:
        """A pool, made beside this thread: what asks a GCS that has just died waits for it without end."""
        made: Future[Pool] = Future()

        def make() -> None:
            try:
                made.set_result(self._make_pool())
            except Exception as error:
                made.set_exception(error)

        threading.Thread(target=make, name="headroom-pool", daemon=True).start()
        while not made.done():
            with contextlib.suppress(TimeoutError):
                return made.result(POLL_SECONDS)
            if not cluster.alive(self._servers):
                raise errors.EngineUnavailable("Ray died as it started. It is tried again.")
        return made.result()

    def _serve(self) -> None:
        """Carries out commands until the app closes, Ray dies, or it is time to try again to start it."""
        began = looked = asked = time.monotonic()
        due = [began + seconds for seconds, _ in self._duties]
        while not self._closing.is_set():
            with contextlib.suppress(queue.Empty):
                _do(self._commands.get(timeout=POLL_SECONDS))
            now = time.monotonic()
            if now - looked < POLL_SECONDS:
                continue
            looked = now
            if self.reason and not self.is_hopeless and now - began >= AGAIN_SECONDS:
                return
            if now - asked >= RECOVER_SECONDS:
                asked, self._family = now, cluster.family(self._servers)
            if not self.reason and not self._answers(asks=asked == now):
                self.ready.clear()
                return
            for n, (seconds, duty) in enumerate(self._duties):
                if now >= due[n]:
                    due[n] = now + seconds
                    _do(duty)

    def _answers(self, asks: bool) -> bool:
        """Whether Ray lives; `asks`: a cluster elsewhere, which takes longer."""
        if not cluster.alive(self._servers):
            log.error("Ray died; it is started again")
            return False
        if asks and self.address and not cluster.answers(self.address):
            log.error("the Ray cluster at %s is gone", self.address)
            return False
        return True

    def _end(self) -> None:
        self.leave.set()
        deadline = time.monotonic() + LEAVE_SECONDS
        while self._is_busy() and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._owns_ray and cluster.running():
            import ray

            family = self._family | cluster.family(self._servers)
            _do(ray.shutdown)
            cluster.end(family)


def _do(command: Callable[[], None]) -> None:
    try:
        command()
    except (Exception, SystemExit):  # Ray raises the latter in any thread once it is gone itself
        log.exception("the engine could not do something")
