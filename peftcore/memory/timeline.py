"""Which storages were alive when, and what each was for: the ledger's record, from which peak and curve are read."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peftcore.events import COMPONENTS


@dataclass(slots=True, eq=False)
class Lifetime:
    """One storage: its bytes, the ticks between which it was alive, and what it was for.

    `role` is a component where that is fixed; else the storage is an activation until `kept_until`, the last tick at
    which autograd held it, and workspace otherwise.
    """

    nbytes: int
    born: int
    died: int | None = None
    role: str | None = None
    made: tuple[str, str, int] = ("", "", 0)  # the module under way, the operator, and which of its results
    keepers: int = 0
    kept_until: int = -1
    module: str = ""
    kind: str = ""
    dtype: str = ""
    pieces: dict[int, tuple[int, ...]] = field(default_factory=dict)  # what was saved of it: offset -> shape
    reasons: tuple[str, ...] = ()
    reference: weakref.ref | None = None

    def component(self) -> str:
        """What the storage is for now."""
        return self.role or ("activations" if self.keepers else "workspace")

    def spans(self, last: int) -> list[tuple[str, int, int]]:
        """(component, first tick, last tick) up to the tick `last`: what dies after an operator was alive in it."""
        end = last if self.died is None else self.died
        if self.role:
            return [(self.role, self.born, end)]
        kept = end if self.keepers else min(self.kept_until, end)
        return [("activations", self.born, kept), ("workspace", max(kept + 1, self.born), end)]

    def row(self) -> dict[str, Any]:
        """What was kept and why, as a report lists it. Equal parts of a storage share a shape: qkv (3, B, h, N, d)."""
        shapes = list(self.pieces.values())
        needed = sum(map(math.prod, shapes)) * getattr(torch, self.dtype).itemsize
        shape = [len(shapes), *shapes[0]] if len(shapes) > 1 and len(set(shapes)) == 1 else list(shapes[0])
        view = () if needed >= self.nbytes else ("only a part is needed, but it is a view and all of it stays",)
        maker = {"module": self.module, "kind": self.kind, "made": list(self.made)}
        size = {"shape": shape, "dtype": self.dtype, "bytes": self.nbytes}
        return {**maker, **size, "reason": "; ".join((*self.reasons, *view))}


class Kept:
    """What autograd holds in place of a saved tensor, for exactly as long; it records when that ends."""

    __slots__ = ("tensor", "version", "life", "module", "timeline")

    def __init__(self, tensor: Tensor, life: Lifetime | None, module: str, kind: str, timeline: Timeline):
        self.tensor, self.version, self.life, self.module = tensor, tensor._version, life, module
        self.timeline = timeline
        if life is not None:
            life.keepers += 1
            if not life.pieces:
                life.module, life.kind, life.dtype = module or "loss", kind, str(tensor.dtype).removeprefix("torch.")
            life.pieces.setdefault(tensor.storage_offset(), tuple(tensor.shape))

    def __del__(self) -> None:
        if self.life is not None:
            self.life.keepers -= 1
            self.life.kept_until = self.timeline.tick


class Timeline:
    """The storages of one kind of device over ticks, one per operator, each with its phase and the running module."""

    def __init__(self, device: str):
        self.device = device
        self.lives: list[Lifetime] = []
        self.phases, self.places = ["forward"], [""]
        self.live_bytes = 0
        self.alive: dict[int, Lifetime] = {}

    @property
    def tick(self) -> int:
        return len(self.phases) - 1

    def meet(self, tensor: Tensor, role: str | None = None, born: int | None = None) -> Lifetime | None:
        """The life of a tensor's storage, begun where it is new; None where it has no storage here."""
        if tensor.layout != torch.strided or tensor.device.type != self.device:
            return None
        storage = tensor.untyped_storage()
        life, nbytes, key = self.alive.get(id(storage)), storage.nbytes(), id(storage)
        if life is None:
            if role is None and isinstance(tensor, nn.Parameter):  # a weight outside the model that was named
                born, role = 0, "trainable_weights" if tensor.requires_grad else "frozen_weights"
            life = Lifetime(nbytes, self.tick if born is None else born, role=role)
            life.reference = weakref.ref(storage, lambda _: self._bury(key))
            self.alive[key] = life
            self.lives.append(life)
            self.live_bytes += nbytes
        elif nbytes > life.nbytes:  # resized in place: counted at its largest
            self.live_bytes += nbytes - life.nbytes
            life.nbytes = nbytes
        return life

    def _bury(self, key: int) -> None:
        life = self.alive.pop(key)
        life.died = self.tick
        self.live_bytes -= life.nbytes

    def end(self) -> None:
        """What is still alive is no longer followed."""
        for life in self.lives:
            life.reference = None
        self.alive.clear()

    def levels(self) -> np.ndarray:
        """Bytes by component at each tick, (components, ticks) int64."""
        change = np.zeros((len(COMPONENTS), self.tick + 2), dtype=np.int64)
        for life in self.lives:
            for role, first, last in life.spans(self.tick):
                if first <= last:
                    change[COMPONENTS.index(role), [first, last + 1]] += (life.nbytes, -life.nbytes)
        return change.cumsum(axis=1)[:, :-1]

    def peak(self) -> dict[str, Any]:
        """Bytes by component, their total, phase, module and tick at the first moment of the highest total."""
        table = self.levels()
        top = int(table.sum(axis=0).argmax())
        return {**self._moment(table, top), "total": int(table[:, top].sum()), "tick": top}

    def curve(self, points: int = 240) -> list[dict[str, Any]]:
        """At most `points` moments: both ends of every phase, the peak, and the highest of each stretch between."""
        table, ticks = self.levels(), self.tick + 1
        total = table.sum(axis=0)
        changes = {t for t in range(1, ticks) if self.phases[t] != self.phases[t - 1]}
        chosen = {0, ticks - 1, int(total.argmax()), *changes, *(t - 1 for t in changes)}
        stretches = np.array_split(np.arange(ticks), min(ticks, max(points - len(chosen), 1)))
        chosen |= set(range(ticks)) if ticks <= points else {int(part[total[part].argmax()]) for part in stretches}
        return [{"t": t / max(ticks - 1, 1), **self._moment(table, t)} for t in sorted(chosen)]

    def _moment(self, table: np.ndarray, t: int) -> dict[str, Any]:
        amounts = dict(zip(COMPONENTS, table[:, t].tolist(), strict=True))
        return {**amounts, "phase": self.phases[t], "where": self.places[t]}
