"""What a run needs and is not on this machine: it is downloaded before the run begins, as events show."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from peftcore import errors, task
from peftcore.backbone import weights
from peftcore.events import Download
from peftcore.fetch import places, transfer, weight_files
from peftcore.fetch.transfer import Tell
from peftcore.spec import RunSpec

LOOK_SECONDS = 0.1  # how often a stop is looked for
TELL_SECONDS = 0.5  # between two events
RECENT_SECONDS = 5.0  # over which the speed is taken
LEAVE_SECONDS = 0.5  # that a stopped download gets to write down what has come


class _Stopped(Exception):
    """Raised inside a download that nobody is waiting for any more."""


def arrivals(spec: RunSpec, with_weights: bool = True) -> Iterator[Download]:
    """Downloads the data set and the backbone's weights of a run where they are not here, and yields its progress.

    Closing it, or an interrupt, stops the download; what has come is kept, and the next download resumes there.

    Raises:
        DataUnavailable, WeightsUnavailable: they cannot be had; and what the names of a task or a backbone raise.
    """
    if not task.here(spec.task):
        yield from _progress(spec.task.partition("?")[0], partial(task.fetch, spec.task))
    if with_weights and spec.pretrained and not spec.weights and not places.here(spec.backbone):
        yield from _progress(spec.backbone, partial(_weights, spec.backbone))


@contextmanager
def bar(title: str) -> Iterator[Tell]:
    """A progress bar on a terminal that follows a download."""
    from tqdm import tqdm

    with tqdm(desc=title, unit="B", unit_scale=True, disable=None) as shown:

        def tell(done: int, total: int | None) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield tell


def _weights(name: str, tell: Tell) -> None:
    from peftcore.fetch import backbones, hub

    if not name.startswith(weights.REMOTE):
        if places.repository(name):
            backbones.fetch(name, tell=tell)
        return  # timm knows another address, and fetches it when it builds the backbone
    if name.startswith("local-dir:"):
        return
    from huggingface_hub.errors import EntryNotFoundError

    repo, _, revision = name.partition(":")[2].partition("@")
    for file in weight_files.ON_THE_HUB:
        try:
            hub.fetch(repo, file, tell, revision=revision or "main")
            return
        except EntryNotFoundError:
            continue
        except (*transfer.NETWORK, OSError, errors.DataUnavailable) as error:
            cause = error if isinstance(error, errors.HeadroomError) else transfer.why(error)
            raise errors.WeightsUnavailable(places.why_no_weights(name, cause)) from error


def _progress(what: str, fetch: Callable[[Tell], object]) -> Iterator[Download]:
    """Runs `fetch` in a thread of its own, since a network may keep its own thread waiting for long."""
    stop, ended = threading.Event(), threading.Event()
    faults: list[BaseException] = []
    last: tuple[int, int | None] = (0, None)
    times: deque[tuple[float, int]] = deque()

    def tell(done: int, total: int | None) -> None:
        nonlocal last
        if stop.is_set():
            raise _Stopped
        last = done, total

    def work() -> None:
        try:
            fetch(tell)
        except BaseException as error:
            faults.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="headroom-download", daemon=True).start()
    shown = time.monotonic()
    try:
        yield Download(what, 0, None, 0.0)  # however fast it comes, so that a run that downloaded shows it
        while not ended.wait(LOOK_SECONDS):
            now, (done, total) = time.monotonic(), last
            if now - shown >= TELL_SECONDS:
                shown = now
                yield Download(what, done, total, _speed(times, now, done))
    finally:
        stop.set()
        ended.wait(LEAVE_SECONDS)
    if faults:
        raise faults[0]


def _speed(times: deque[tuple[float, int]], now: float, done: int) -> float:
    """Bytes a second over the last seconds; `times` is what was known at each."""
    if times and times[-1][1] > done:  # another file
        times.clear()
    times.append((now, done))
    while times[0][0] < now - RECENT_SECONDS:
        times.popleft()
    (first, before), (last, after) = times[0], times[-1]
    return (after - before) / (last - first) if last > first else 0.0
