"""Measurements of a run that take a while: begun by a button, seen under way, stopped, and kept with the run.

Measuring has a thread and a model of its own: it puts hooks on the model, which nobody else may use meanwhile. What one
reader measured, all see, and the next visit shows it at once.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Any, NamedTuple

import streamlit as st

from app import background, errors, state, subjects, words
from app.desk import Desk
from app.room import who
from app.worker_process import say
from peftcore.errors import HeadroomError, NotMeasurable
from peftcore.store import measured

IMAGES = 200  # of validation, the first ones


class Stopped(Exception):
    """The reader pressed Stop."""


class Given(NamedTuple):
    """Of a run: its adapter, its spec, and the heads that it switched off, by layer."""

    adapter: bytes | None
    spec: Mapping[str, Any]
    off: Sequence[Sequence[int]]


class Key(NamedTuple):
    """Which measurement: of which model, by a name that says what is measured and on how many images."""

    subject: subjects.Subject
    finished: float | None
    name: str

    @classmethod
    def of(cls, run: subjects.Run, what: str, images: int | None = None) -> Key:
        # An example has no such time: its weights say whether they are still those that were measured.
        stamp = float(zlib.crc32(subjects.adapter(run.subject) or b"")) if run.example else run.finished
        return cls(run.subject, stamp, f"{what}-val-{IMAGES if images is None else images}")

    @property
    def run(self) -> int | str:
        """As `measured` names it: a run's number, or an example's name."""
        return int(self.subject.id) if self.subject.id.isdigit() else self.subject.id


class Measurement:
    """A measurement under way: who began it, how far it is, and what stops it."""

    def __init__(self) -> None:
        self.by = who.me()
        self.share, self.stopping = 0.0, threading.Event()
        self._first: tuple[float, float] | None = None  # when the first share was told, and which: loading is over

    @property
    def is_mine(self) -> bool:
        """Whether this person may stop it: for others, who wait for the same, it goes on."""
        me = who.me()
        return who.is_alone() or (me is not None and (me.is_teacher or (self.by is not None and me.id == self.by.id)))

    def begin(self) -> None:
        """At the beginning, and again where it was left because nobody waited."""
        self.share, self._first = 0.0, None

    def progress(self, share: float) -> None:
        if self.stopping.is_set():
            raise Stopped
        self.share, self._first = share, self._first or (monotonic(), share)
        say(share)  # where nobody waits any more, this is the end of it

    def part(self, first: float, last: float) -> Callable[[float], None]:
        """Progress of one of several measurements, which has this part of the whole."""
        return lambda share: self.progress(first + (last - first) * share)

    def text(self, what: str) -> str:
        if not self.share:
            return f"{what}: waiting for its turn, then loading the model."
        began, first = self._first or (monotonic(), self.share)
        if (done := self.share - first) < 0.01:  # too little to tell
            return f"{what}: {100 * self.share:.0f} %."
        left = (monotonic() - began) / done * (1 - self.share)
        return f"{what}: {100 * self.share:.0f} %, about {words.duration(left)} left."


Work = Callable[[Given, Measurement], Mapping[str, Any]]


def button(label: str, name: str, key: Key, run: subjects.Run, work: Work, *, main: bool = False) -> Future | None:
    """A button that begins a measurement; returns it, where anybody began it or it was kept. `name`: in the widget's
    key, 'heads_NAME'. `main`: the button stands out until then."""

    def begin() -> None:
        measurement, store = Measurement(), state.store()
        _measurements()[key] = measurement
        cut = subjects.events(run.subject, "heads_cut")
        given = Given(subjects.adapter(run.subject), run.spec, cut[-1]["off"] if cut else [])

        def measure() -> Any:
            measurement.begin()
            found = or_error(work, given, measurement)
            if isinstance(found, Exception):
                return found
            return measured.keep(store, key.run, key.name, found, key.finished)

        _bench().ask(key, measure)

    job = _job(key)
    st.button(
        label, key=f"heads_{name}", icon=":material/science:", on_click=begin, disabled=job is not None,
        type="primary" if main and job is None else "secondary",
    )  # fmt: skip
    return job


def found(key: Key) -> Any:
    """The result of a measurement that is over, or was kept; None where there is none."""
    job = _job(key)
    if job is None or not job.done() or isinstance(job.result(), Stopped | HeadroomError):
        return None
    return job.result()


def _job(key: Key) -> Future | None:
    if (job := _bench().jobs.get(key)) is None:
        found = measured.kept(state.store(), key.run, key.name, key.finished)
        if found is not None:
            job = _bench().know(key, found)
    return job


def _stop(key: Key) -> None:
    """Ends a measurement at its next step; it can be begun again."""
    _measurements()[key].stopping.set()
    _bench().forget(key)


def wait(job: Future, key: Key, name: str, what: str, place: Any) -> Any:
    """The result, with progress until it is there; None where there was an error, which stands in its place."""
    if not job.done():
        measurement, waiting = _measurements()[key], place.empty()
        with waiting.container(horizontal=True, vertical_alignment="center"):
            bar = st.empty()
            if measurement.is_mine:
                st.button("Stop", key=f"heads_stop_{name}", icon=":material/stop:", on_click=_stop, args=(key,))
        background.wait(job, lambda: bar.progress(measurement.share, measurement.text(what)), waiting)
        waiting.empty()
    found = job.result()
    if isinstance(found, Stopped | HeadroomError):
        _bench().forget(key)
        with place:
            errors.show(found) if isinstance(found, HeadroomError) else st.info(f"Stopped: {what.lower()}.")
        return None
    return found


@st.cache_resource(show_spinner=False)
def _bench() -> Desk:
    return Desk()


@st.cache_resource(show_spinner=False)
def _measurements() -> dict[Key, Measurement]:
    return {}


def or_error(work: Work, given: Given, measurement: Measurement) -> Mapping[str, Any] | Exception:
    try:
        return work(given, measurement)
    except (Stopped, HeadroomError) as error:
        return error


def load(given: Given, images: int | None = None) -> tuple[Any, Any, Any]:
    """A model of one's own, the first validation images (B, 3, H, W) and their labels."""
    import torch

    from peftcore import adapters
    from peftcore.backbone.preprocess import prepare
    from peftcore.task import load_task

    if given.adapter is None:
        raise NotMeasurable("This run has not come to its end, so there is no trained model of it to measure yet.")
    spec = given.spec
    model, val = adapters.from_bytes(given.adapter), load_task(spec["task"]).val
    how = {"norm": spec.get("normalisation", "backbone"), "resize": spec.get("resize", "stretch")}
    count = IMAGES if images is None else images
    x = prepare(val.images[:count], model.backbone, **how)
    return model, x, torch.tensor(val.labels[:count])
