"""Follows a run by reading the store: each look reads only the events that came since the last one.

One follower of a run serves all who watch it: an event is read and parsed once, and each watcher is given what has been
seen, which does not change any more. Nothing but the page's own thread calls Streamlit; the threads that work for a run
write to the store alone.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from app.room import who
from peftcore.store import RunRecord, Store

KINDS = ("started", "progress", "download", "step", "evaluation", "step_memory", "side_entropy", "heads_cut")
MOST_POINTS = 1500  # of a curve; a longer run is thinned evenly
MOST_FOLLOWED = 200  # runs of all sessions; a race follows several
RECENT = 40  # steps from which the speed is computed


@dataclass
class Follower:
    """What is known of one run."""

    seq: int = 0
    started: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    download: dict[str, Any] | None = None  # while it is the newest event
    step_memory: dict[str, Any] | None = None
    side_entropy: dict[str, Any] | None = None  # the newest
    kinds: tuple[str, ...] = KINDS
    cut: dict[str, Any] | None = None
    scores: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    _frame: pd.DataFrame | None = None

    def look(self, store: Store, run: int) -> Follower:
        for event in store.events(run, after=self.seq, kinds=self.kinds):
            self.seq = event["seq"]
            self._take(event)
        return self

    def _take(self, event: dict[str, Any]) -> None:
        self.download = None
        match event["kind"]:
            case "step":
                self._forget_from(event["step"])
                self.steps.append(event)
                self.progress = None
            case "evaluation":
                self.evaluations = [
                    e for e in self.evaluations if (e["step"], e["split"]) != (event["step"], event["split"])
                ]
                self.evaluations.append(event)
            case "scores":
                self.scores = [earlier for earlier in self.scores if earlier["step"] != event["step"]] + [event]
            case "heads_cut":
                self.cut = event
            case kind:
                setattr(self, kind, event)

    def _forget_from(self, step: int) -> None:
        """A resumed run tells the steps after its checkpoint again."""
        while self.steps and self.steps[-1]["step"] >= step:
            self.steps.pop()
        self.evaluations = [e for e in self.evaluations if e["step"] < step]
        self.scores = [e for e in self.scores if e["step"] < step]
        if self.cut and self.cut["step"] >= step:
            self.cut = None
        if self.side_entropy and self.side_entropy["step"] >= step:
            self.side_entropy = None

    @property
    def total(self) -> int:
        """Steps of the whole run; 0 until they are known."""
        return self.started["steps"] if self.started else 0

    @property
    def done(self) -> int:
        return self.steps[-1]["step"] if self.steps else 0

    def seen(self) -> Follower:
        """What it has seen so far, for good."""
        steps, evaluations = list(self.steps), list(self.evaluations)
        return replace(self, steps=steps, evaluations=evaluations, scores=list(self.scores), _frame=None)

    def frame(self) -> pd.DataFrame:
        """One row per step, thinned where there are very many; steps whose memory was traced stay."""
        if self._frame is None:
            self._frame = self._rows()
        return self._frame

    def _rows(self) -> pd.DataFrame:
        every = -(-len(self.steps) // MOST_POINTS) or 1
        last = len(self.steps) - 1
        rows = [s for i, s in enumerate(self.steps) if i % every == 0 or i == last or s["memory"]]
        return pd.DataFrame(
            rows, columns=["step", "epoch", "loss", "lr", "grad_norm", "images_per_second", "seconds", "memory"]
        )

    def evaluation_frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.evaluations, columns=["step", "split", "accuracy", "loss"])

    def seconds_left(self) -> float | None:
        """From the speed of the newest steps, evaluations between them included; None before there are enough."""
        recent = self.steps[-RECENT:]
        if len(recent) < 5 or not self.total:
            return None
        speed = (recent[-1]["step"] - recent[0]["step"]) / max(1e-6, recent[-1]["seconds"] - recent[0]["seconds"])
        silent = max(0.0, time.time() - recent[-1]["time"])
        return max(0.0, (self.total - self.done) / speed - silent)


class _Shared:
    """A follower, and what it has seen."""

    def __init__(self, kinds: tuple[str, ...]):
        self.follower = Follower(kinds=kinds)
        self.seen = self.follower.seen()
        self.lock = threading.Lock()

    def look(self, store: Store, record: RunRecord) -> Follower:
        with self.lock:
            if self.follower.look(store, record.id).seq != self.seen.seq:
                self.seen = self.follower.seen()
            return self.seen


_followers: OrderedDict[tuple[str, int, bool], _Shared] = OrderedDict()
_lock = threading.Lock()


def follow(store: Store, record: RunRecord) -> Follower:
    """What a run has told so far."""
    may = who.rights()  # what a challenge keeps from one is not kept from the teacher
    key = (str(store.folder), record.id, may is not None and may.sealed(record))
    with _lock:
        if key not in _followers:
            # Scores are many numbers, so they are read where the page shows them: for a method that switches heads off.
            _followers[key] = _Shared((*KINDS, "scores") if "off" in record.spec["method"] else KINDS)
            while len(_followers) > MOST_FOLLOWED:
                _followers.popitem(last=False)
        _followers.move_to_end(key)
        shared = _followers[key]
    return shared.look(store, record)
